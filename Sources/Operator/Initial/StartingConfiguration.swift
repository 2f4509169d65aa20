/// The configuration that `tailrace init` writes: whole, commented, and for a person to edit.
public struct StartingConfiguration: Sendable {
  /// The database whose changes it takes.
  public var database: String

  public init(database: String) { self.database = database }

  /// Names are ASCII here, so that they are tokens of subjects and names of streams as they are; `$` would begin a
  /// variable.
  public static func isPlain(_ database: String) -> Bool {
    !database.isEmpty && database.utf8.count <= 63
      && database.unicodeScalars.allSatisfy { scalar in
        scalar.isASCII
          && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar) || scalar == "_"
            || scalar == "-")
      }
  }

  public var yaml: String {
    """
    # tailrace: changes of the database \(database) arrive in the stream \(stream).
    \(ConfigurationHead.yaml(uri: ConfigurationHead.defaultURI, bridge: database))
    streams:
      - name: \(ProposedNames.scalar(stream))
        subjects: ["\(prefix).>"]
        # 3 in a cluster of three servers or more.
        num_replicas: ${NATS_REPLICAS:-1}
        max_age: 7d
        # How long servers recognise a message's id.
        duplicate_window: 10m

    # The first rule that matches takes the event.
    rules:
      - name: everything
        match:
          namespace: "\(database).*"
          operations: [insert, update, replace, delete]
        # For a collection orders: \(prefix).orders.insert.<_id>
        subject: "\(prefix).{ns.coll}.{operationType}.{documentKey._id}"
        payload:
          # cloudevents, document, change_event, cloudevents_structured, debezium
          envelope: cloudevents
          # What must not leave the database:
          # exclude: [fullDocument.password]
        # Bodies that break it become dead letters. tailrace schema infer writes one.
        # schema: schemas/everything.json
        stream: \(ProposedNames.scalar(stream))

    http:
      # The page, /healthz, /metrics. Loopback only.
      listen: 127.0.0.1:8080

    """
  }

  private var prefix: String {
    var taken = ProposedNames.takenPrefixes
    return ProposedNames.unique(database, &taken)
  }

  private var stream: String {
    var taken = ProposedNames.takenStreams
    return ProposedNames.unique(prefix.uppercased(), &taken)
  }
}
