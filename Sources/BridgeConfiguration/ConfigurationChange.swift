import JSON
import Mapping

/// The changes of a file that take effect while the bridge runs: rules with their schemas, `unmatched`, and
/// the log level. Everything else is read at a start only.
extension BridgeConfiguration {
  /// Keys that can change while the bridge runs; `rules` with everything in them.
  package static let liveKeys = ["rules", "unmatched", "log.level"]

  /// This configuration with the changes of `new` that take effect.
  ///
  /// - Throws: every other key that differs, with its place in the new file.
  public func reloaded(
    with new: BridgeConfiguration
  ) throws(ConfigurationProblems) -> BridgeConfiguration {
    let problems = ProblemList(file: new.file)
    for key in FixedKey.all where !key.isSame(self, new) { problems.refuse(key.name, new) }
    for name in streamDifferences(new) { problems.refuse(name, new) }
    guard problems.isEmpty else { throw problems.sorted }
    var next = self
    next.rules = new.rules.map { rule in
      var rule = rule
      // Streams may be in another order.
      if let index = rule.streamIndex {
        let name = new.streams[index].name
        rule.route = rule.route.moved(to: streams.firstIndex { $0.name == name } ?? index)
      }
      return rule
    }
    next.schemas = new.schemas
    next.unmatched = new.unmatched
    next.log.level = new.log.level
    next.warnings = new.warnings
    next.keyPositions = new.keyPositions
    return next
  }

  /// Whether every event has the same messages or other outcome with both.
  public func hasSameRules(as other: BridgeConfiguration) -> Bool {
    rules == other.rules && unmatched == other.unmatched
      && schemas.map { $0?.digest } == other.schemas.map { $0?.digest }
  }

  /// Keys of streams that differ. A stream that was added or removed counts as a whole.
  private func streamDifferences(_ new: BridgeConfiguration) -> [String] {
    var names: [String] = []
    for (index, stream) in new.streams.enumerated() {
      let buckets = new.streams.count { $0.bucket != nil }
      let firstBucket = new.streams.count - buckets
      let isBucket = stream.bucket != nil
      let place = isBucket ? "kv[\(index - firstBucket)]" : "streams[\(index)]"
      guard let old = streams.first(where: { $0.name == stream.name }) else {
        names.append("\(place).\(isBucket ? "bucket" : "name")")
        continue
      }
      if old.subjects != stream.subjects { names.append("\(place).subjects") }
      if old.ownership != stream.ownership { names.append("\(place).ownership") }
      if old.publish != stream.publish { names.append("\(place).publish") }
      if old.onLoss != stream.onLoss { names.append("\(place).on_loss") }
      if old.consumers != stream.consumers { names.append("\(place).consumers") }
      let fields = old.settings.objectValue ?? []
      let others = stream.settings.objectValue ?? []
      for field in others where old.settings[field.key] != field.value {
        names.append("\(place).\(field.key)")
      }
      for field in fields where stream.settings[field.key] == nil {
        names.append("\(place).\(field.key)")
      }
    }
    let kept = Set(new.streams.map(\.name))
    for stream in streams where !kept.contains(stream.name) {
      let key = stream.bucket == nil ? "streams" : "kv"
      if !names.contains(key) { names.append(key) }
    }
    return names
  }
}

extension ProblemList {
  fileprivate func refuse(_ key: String, _ file: BridgeConfiguration) {
    add(
      file.position(of: key), "\(key) can't change while the bridge runs",
      "Restart the bridge, or put the old value back")
  }
}

extension BridgeConfiguration {
  /// The position of a key in the file; of an absent one, that of the mapping it belongs to.
  func position(of key: String) -> TextPosition {
    var path = key
    while true {
      if let place = keyPositions[path] { return place }
      guard let dot = path.lastIndex(where: { $0 == "." || $0 == "[" }) else { break }
      path = String(path[..<dot])
    }
    return TextPosition(line: 1, column: 1)
  }

  /// The place of each key, by its path: `nats.tls.ca_file`, `streams[0].max_age`.
  static func keyPositions(_ root: ConfigNode) -> [String: TextPosition] {
    var found: [String: TextPosition] = [:]
    func walk(_ node: ConfigNode, _ path: String) {
      switch node {
      case .scalar: break
      case .sequence(let items, _):
        for (index, item) in items.enumerated() {
          found["\(path)[\(index)]"] = item.position
          walk(item, "\(path)[\(index)]")
        }
      case .mapping(let entries, _):
        for (key, value) in entries {
          let name = path.isEmpty ? key.text : "\(path).\(key.text)"
          found[name] = key.position
          walk(value, name)
        }
      }
    }
    walk(root, "")
    return found
  }
}

/// A key that takes effect only at a start, and how it is compared.
///
/// A secret in a file is equal as long as the file is the same: its content may change at any time.
package struct FixedKey: Sendable {
  package let name: String
  let isSame: @Sendable (BridgeConfiguration, BridgeConfiguration) -> Bool

  private init<Value: Equatable & Sendable>(
    _ name: String, _ value: @escaping @Sendable (BridgeConfiguration) -> Value
  ) {
    self.name = name
    isSame = { value($0) == value($1) }
  }

  package static let all: [FixedKey] = [
    FixedKey("source.uri") { $0.source.uri.file == nil ? $0.source.uri.reveal() : nil },
    FixedKey("source.uri_file") { $0.source.uri.file },
    FixedKey("source.name") { $0.source.name },
    FixedKey("source.reader") { $0.source.reader },
    FixedKey("source.read_concern") { $0.source.readConcern },
    FixedKey("source.start") { $0.source.start },
    FixedKey("source.on_position_lost") { $0.source.onPositionLost },
    FixedKey("nats.servers") { $0.nats.servers },
    FixedKey("nats.name") { $0.nats.name },
    FixedKey("nats.inbox_prefix") { $0.nats.inboxPrefix },
    FixedKey("nats.ignore_discovered_servers") { $0.nats.ignoresDiscoveredServers },
    FixedKey("nats.credentials_file") { $0.nats.authentication.credentialsFile },
    FixedKey("nats.nkey_seed_file") { $0.nats.authentication.seedFile },
    FixedKey("nats.token") { $0.nats.authentication.token?.inline },
    FixedKey("nats.token_file") { $0.nats.authentication.token?.file },
    FixedKey("nats.user") { $0.nats.authentication.user },
    FixedKey("nats.password") { $0.nats.authentication.password?.inline },
    FixedKey("nats.password_file") { $0.nats.authentication.password?.file },
    FixedKey("nats.tls.ca_file") { $0.nats.tls.caFile },
    FixedKey("nats.tls.cert_file") { $0.nats.tls.certificateFile },
    FixedKey("nats.tls.key_file") { $0.nats.tls.keyFile },
    FixedKey("nats.tls.handshake_first") { $0.nats.tls.handshakeFirst },
    FixedKey("bridge.name") { $0.bridge.name },
    FixedKey("bridge.state_bucket") { $0.bridge.stateBucket },
    FixedKey("bridge.checkpoint_interval") { $0.bridge.checkpointInterval },
    FixedKey("bridge.lease") { $0.bridge.lease },
    FixedKey("cutover.grace") { $0.cutover.grace },
    FixedKey("cutover.window") { $0.cutover.window },
    FixedKey("redaction.key") { $0.redactionKey?.inline },
    FixedKey("redaction.key_file") { $0.redactionKey?.file },
    FixedKey("dead_letter.stream") { $0.deadLetter.stream },
    FixedKey("dead_letter.subject") { $0.deadLetter.subject.text },
    FixedKey("http.listen") { $0.http.listen },
    FixedKey("http.token") { $0.http.token?.inline },
    FixedKey("http.token_file") { $0.http.token?.file },
    FixedKey("log.format") { $0.log.format },
  ]
}

extension Secret {
  /// The text of a secret in the configuration itself.
  fileprivate var inline: String? { file == nil ? reveal() : nil }
}

extension NATSSettings.Authentication {
  fileprivate var credentialsFile: String? {
    if case .credentials(let file) = self { file } else { nil }
  }
  fileprivate var seedFile: String? { if case .nkeySeed(let file) = self { file } else { nil } }
  fileprivate var token: Secret? { if case .token(let token) = self { token } else { nil } }
  fileprivate var user: String? { if case .user(let user, _) = self { user } else { nil } }
  fileprivate var password: Secret? {
    if case .user(_, let password) = self { password } else { nil }
  }
}
