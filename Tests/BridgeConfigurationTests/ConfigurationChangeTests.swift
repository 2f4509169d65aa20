import BridgeConfiguration
import Foundation
import Mapping
import Testing

/// Which keys change while the bridge runs: a table over every key that there is.
@Suite struct ConfigurationChangeTests {
  /// A whole file from the lines of each top-level key.
  private static func file(_ changes: [String: String] = [:]) -> String {
    let parts = [
      "source": "source: {}", "nats": "nats: {}", "bridge": "bridge: {}",
      "streams": #"streams: [{ name: S, subjects: ["s.>"] }, { name: T, subjects: ["t.>"] }]"#,
      "rules": "rules: [{ name: r, match: { namespace: a.b }, subject: s.x, stream: S }]",
      "unmatched": "", "redaction": "", "dead_letter": "", "http": "", "log": "",
    ]
    return parts.merging(changes) { $1 }.sorted { $0.key < $1.key }.map(\.value)
      .joined(separator: "\n")
  }

  private struct Change {
    var key: String
    var before: String
    var after: String
  }

  /// Beside which files of secrets and certificates stand.
  private static let folder: String = {
    let path = NSTemporaryDirectory() + "tailrace-change-\(UUID().uuidString)"
    try? FileManager.default.createDirectory(
      atPath: path, withIntermediateDirectories: true)
    for name in ["one", "two"] {
      let text =
        name == "one"
        ? "mongodb://h/?replicaSet=one-0123456789" : "mongodb://h/?replicaSet=two-0123456789"
      try? text.write(toFile: "\(path)/\(name)", atomically: true, encoding: .utf8)
    }
    return path
  }()

  /// Every key that takes effect at a start only, with two values.
  private static let fixed: [Change] = [
    Change(
      key: "source.uri", before: "source: { uri: 'mongodb://h/?replicaSet=a' }",
      after: "source: { uri: 'mongodb://h/?replicaSet=b' }"),
    Change(
      key: "source.uri_file", before: "source: { uri_file: one }",
      after: "source: { uri_file: two }"),
    Change(key: "source.name", before: "source: {}", after: "source: { name: x }"),
    Change(
      key: "source.reader", before: "source: {}", after: "source: { reader: change_stream }"),
    Change(
      key: "source.read_concern", before: "source: {}", after: "source: { read_concern: local }"),
    Change(key: "source.start", before: "source: {}", after: "source: { start: oldest }"),
    Change(
      key: "source.on_position_lost", before: "source: {}",
      after: "source: { on_position_lost: snapshot }"),
    Change(
      key: "nats.servers", before: "nats: {}", after: "nats: { servers: ['nats://other:4222'] }"),
    Change(key: "nats.name", before: "nats: {}", after: "nats: { name: x }"),
    Change(key: "nats.inbox_prefix", before: "nats: {}", after: "nats: { inbox_prefix: _X }"),
    Change(
      key: "nats.ignore_discovered_servers", before: "nats: {}",
      after: "nats: { ignore_discovered_servers: true }"),
    Change(
      key: "nats.credentials_file", before: "nats: { credentials_file: one }",
      after: "nats: { credentials_file: two }"),
    Change(
      key: "nats.nkey_seed_file", before: "nats: { nkey_seed_file: one }",
      after: "nats: { nkey_seed_file: two }"),
    Change(key: "nats.token", before: "nats: { token: a }", after: "nats: { token: b }"),
    Change(
      key: "nats.token_file", before: "nats: { token_file: one }",
      after: "nats: { token_file: two }"),
    Change(
      key: "nats.user", before: "nats: { user: a, password: p }",
      after: "nats: { user: b, password: p }"),
    Change(
      key: "nats.password", before: "nats: { user: a, password: p }",
      after: "nats: { user: a, password: q }"),
    Change(
      key: "nats.password_file", before: "nats: { user: a, password_file: one }",
      after: "nats: { user: a, password_file: two }"),
    Change(
      key: "nats.tls.ca_file", before: "nats: { tls: { ca_file: one } }",
      after: "nats: { tls: { ca_file: two } }"),
    Change(
      key: "nats.tls.cert_file", before: "nats: { tls: { cert_file: one, key_file: one } }",
      after: "nats: { tls: { cert_file: two, key_file: one } }"),
    Change(
      key: "nats.tls.key_file", before: "nats: { tls: { cert_file: one, key_file: one } }",
      after: "nats: { tls: { cert_file: one, key_file: two } }"),
    Change(
      key: "nats.tls.handshake_first", before: "nats: { tls: { ca_file: one } }",
      after: "nats: { tls: { ca_file: one, handshake_first: true } }"),
    Change(key: "bridge.name", before: "bridge: {}", after: "bridge: { name: x }"),
    Change(key: "bridge.state_bucket", before: "bridge: {}", after: "bridge: { state_bucket: X }"),
    Change(
      key: "bridge.checkpoint_interval", before: "bridge: {}",
      after: "bridge: { checkpoint_interval: 2s }"),
    Change(key: "cutover.grace", before: "cutover: {}", after: "cutover: { grace: 9s }"),
    Change(key: "cutover.window", before: "cutover: {}", after: "cutover: { window: 9s }"),
    Change(key: "bridge.lease", before: "bridge: {}", after: "bridge: { lease: 9s }"),
    Change(
      key: "redaction.key", before: "redaction: { key: 0123456789abcdef }",
      after: "redaction: { key: fedcba9876543210 }"),
    Change(
      key: "redaction.key_file", before: "redaction: { key_file: one }",
      after: "redaction: { key_file: two }"),
    Change(key: "dead_letter.stream", before: "", after: "dead_letter: { stream: D }"),
    Change(key: "dead_letter.subject", before: "", after: "dead_letter: { subject: 'd.{rule}' }"),
    Change(key: "http.listen", before: "", after: "http: { listen: '127.0.0.1:1' }"),
    Change(key: "http.token", before: "http: { token: a }", after: "http: { token: b }"),
    Change(
      key: "http.token_file", before: "http: { token_file: one }",
      after: "http: { token_file: two }"),
    Change(key: "log.format", before: "log: {}", after: "log: { format: text }"),
  ]

  /// Keys of streams; the rest of them is JetStream's own.
  private static let streamKeys: [Change] = [
    Change(key: "streams[0].subjects", before: "", after: #"{ name: S, subjects: ["s.>", u] }"#),
    Change(
      key: "streams[0].ownership", before: "",
      after: #"{ name: S, subjects: ["s.>"], ownership: shared }"#),
    Change(
      key: "streams[0].publish", before: "",
      after: #"{ name: S, subjects: ["s.>"], publish: atomic }"#),
    Change(
      key: "streams[0].on_loss", before: "",
      after: #"{ name: S, subjects: ["s.>"], on_loss: halt }"#),
    Change(
      key: "streams[0].consumers", before: "",
      after: #"{ name: S, subjects: ["s.>"], consumers: [{ durable_name: c }] }"#),
    Change(
      key: "streams[0].max_age", before: "",
      after: #"{ name: S, subjects: ["s.>"], max_age: 1d }"#),
  ]

  private func refused(_ before: String, _ after: String) throws -> [ConfigurationProblem] {
    let file = "\(Self.folder)/t.yaml"
    let running = try configuration(before, file: file)
    let new = try configuration(after, file: file)
    do throws(ConfigurationProblems) {
      _ = try running.reloaded(with: new)
      return []
    } catch {
      return error.problems
    }
  }

  @Test func `the table has every key`() throws {
    let keys = try configuration(Self.file()).keysRead
    let sections: Set = [
      "source", "nats", "nats.tls", "bridge", "cutover", "redaction", "dead_letter", "http", "log",
      "streams", "rules",
    ]
    // Absent from the file.
    let reserved: Set = ["kv"]
    let known =
      Set(Self.fixed.map(\.key)).union(BridgeConfiguration.liveKeys).union(sections)
      .union(reserved)
    let streams = keys.filter { $0.hasPrefix("streams[0].") }
    #expect(keys.filter { !$0.hasPrefix("streams[") }.subtracting(known) == [])
    #expect(known.subtracting(keys) == [])
    #expect(
      streams
        == Set(Self.streamKeys.map(\.key).filter { $0 != "streams[0].max_age" })
        .union(["streams[0].name"]))
    #expect(Set(FixedKey.all.map(\.name)) == Set(Self.fixed.map(\.key)))
  }

  @Test func `what takes effect at a start only is refused by its key`() throws {
    for change in Self.fixed {
      let section = String(change.key.prefix { $0 != "." })
      let before = Self.file([section: change.before])
      let after = Self.file([section: change.after])
      let problems = try refused(before, after)
      #expect(
        problems.map(\.message) == ["\(change.key) can't change while the bridge runs"],
        "\(change.key)")
      // The same file changes nothing.
      #expect(try refused(before, before).isEmpty && refused(after, after).isEmpty)
    }
  }

  @Test func `buckets are made at a start`() throws {
    for (before, after, key) in [
      ("[{ bucket: b }]", "[{ bucket: b, history: 5 }]", "kv[0].max_msgs_per_subject"),
      ("[{ bucket: b }]", "[{ bucket: b }, { bucket: c }]", "kv[1].bucket"),
      ("[{ bucket: b }, { bucket: c }]", "[{ bucket: c }]", "kv"),
    ] {
      let problems = try refused(Self.file() + "\nkv: \(before)", Self.file() + "\nkv: \(after)")
      #expect(problems.map(\.message) == ["\(key) can't change while the bridge runs"])
    }
  }

  @Test func `streams are made at a start`() throws {
    for change in Self.streamKeys {
      let after = Self.file([
        "streams": #"streams: [\#(change.after), { name: T, subjects: ["t.>"] }]"#
      ])
      let problems = try refused(Self.file(), after)
      #expect(
        problems.map(\.message) == ["\(change.key) can't change while the bridge runs"],
        "\(change.key)")
    }
    let more = Self.file([
      "streams":
        #"streams: [{ name: S, subjects: ["s.>"] }, { name: T, subjects: ["t.>"] }, { name: U, subjects: [u] }]"#
    ])
    #expect(
      try refused(Self.file(), more).map(\.message).first?.hasPrefix("streams[2].name") == true)
    let fewer = Self.file(["streams": #"streams: [{ name: S, subjects: ["s.>"] }]"#])
    #expect(
      try refused(Self.file(), fewer).map(\.message).first?.hasPrefix("streams can't") == true)
  }

  @Test func `the place of a refused key is that in the new file`() throws {
    let after = Self.file(["nats": "nats:\n  servers: ['nats://a:1']\n  name: x"])
    let problems = try refused(Self.file(), after)
    let lines = after.split(separator: "\n", omittingEmptySubsequences: false)
    #expect(problems.count == 2)
    for problem in problems {
      let key = problem.message.split(separator: " ")[0].split(separator: ".")[1]
      #expect(lines[problem.line - 1].dropFirst(problem.column - 1).hasPrefix(key))
    }
  }

  @Test func `rules, schemas, unmatched and the log level change`() throws {
    let file = "\(Self.folder)/t.yaml"
    let running = try configuration(Self.file(), file: file)
    let next = try running.reloaded(
      with: configuration(
        Self.file([
          "rules":
            "rules: [{ name: q, match: { namespace: a.c }, subject: t.x, stream: T }]",
          "unmatched": "unmatched: dead_letter", "log": "log: { level: debug }",
        ]), file: file))
    #expect(next.rules.map(\.name) == ["q"] && next.unmatched == .deadLetter)
    #expect(next.log.level == .debug && !next.hasSameRules(as: running))
    // The level alone, and what is written in another way, changes no rule.
    let level = try running.reloaded(
      with: configuration(
        Self.file([
          "log": "log: { level: error, format: json }", "nats": "nats: { name: tailrace }",
          "bridge": "bridge: { checkpoint_interval: 1000ms }",
        ]), file: file))
    #expect(level.log.level == .error && level.hasSameRules(as: running))
  }

  @Test func `streams in another order are the same streams`() throws {
    let running = try configuration(Self.file())
    let next = try running.reloaded(
      with: configuration(
        Self.file([
          "streams": #"streams: [{ name: T, subjects: ["t.>"] }, { name: S, subjects: ["s.>"] }]"#
        ])))
    #expect(next.hasSameRules(as: running))
    #expect(next.streams.map(\.name) == ["S", "T"] && next.rules[0].streamIndex == 0)
  }

  @Test func `a secret's file may hold another secret`() throws {
    let name = "\(Self.folder)/rotated"
    try "first-secret".write(toFile: name, atomically: true, encoding: .utf8)
    let text = Self.file(["nats": "nats: { token_file: rotated }"])
    let running = try configuration(text, file: "\(Self.folder)/t.yaml")
    try "second-secret".write(toFile: name, atomically: true, encoding: .utf8)
    let next = try running.reloaded(with: configuration(text, file: "\(Self.folder)/t.yaml"))
    #expect(next.hasSameRules(as: running))
  }
}
