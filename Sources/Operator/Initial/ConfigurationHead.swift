/// What every configuration of `tailrace init` begins with, below the line that says where it comes from.
enum ConfigurationHead {
  /// Of a replica set on this machine.
  static let defaultURI = "  uri: ${MONGODB_URI:-mongodb://127.0.0.1:27017/?replicaSet=rs0}"

  /// Ends with an empty line, whose end is left to what follows.
  ///
  /// - Parameters:
  ///   - uri: the lines of `source.uri`, indented.
  ///   - bridge: its name.
  static func yaml(uri: String, bridge: String) -> String {
    """
    #
    #   tailrace validate                    checks this file
    #   tailrace doctor                      checks the servers, and the rights on them
    #   tailrace run --dry-run --from oldest reads the oplog, publishes nothing, and reports
    #   tailrace run                         runs it
    #
    # ${NAME} and ${NAME:-default} come from the environment. Any secret can come from a file: uri_file.

    source:
      # A replica set. The user needs the rights in docs/permissions.md.
    \(uri)
      # Only what no failover can take back.
      read_concern: majority
      # Where to begin the first time: now, oldest, snapshot, or <seconds>.<increment>.
      start: now

    nats:
      servers: ["${NATS_URL:-nats://127.0.0.1:4222}"]
      # One of these, where the server asks for it:
      # credentials_file: /etc/tailrace/tailrace.creds
      # nkey_seed_file: /etc/tailrace/tailrace.nk
      # token_file: /etc/tailrace/nats-token

    bridge:
      # Its identity: two processes with one name are leader and standby.
      name: \(ProposedNames.scalar(bridge))

    """
  }
}
