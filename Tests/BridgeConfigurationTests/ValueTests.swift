import BridgeConfiguration
import Mapping
import Testing

/// Every key of docs/configuration.md with values that are none of its own.
@Suite("values of another kind, out of range, or none") struct ValueTests {
  /// A configuration with one value replaced: VALUE stands on line 2, or where `text` has it.
  private static func found(_ text: String, _ value: String) -> [ConfigurationProblem] {
    problemList(text.replacingOccurrences("VALUE", value))
  }

  private static let streams = "streams: [{ name: S, subjects: [\"s.>\"] }]\n"
  private static let rules =
    "rules: [{ name: r, match: { namespace: a.b, operations: [insert] }, subject: s.x }]\n"
  private static let streamKeys = """
    rules: [{ name: r, match: { namespace: a.b, operations: [insert] }, subject: s.x }]
    streams: [{ name: S, subjects: ["s.>"], KEY: VALUE }]
    """
  private static let consumerKeys = """
    rules: [{ name: r, match: { namespace: a.b, operations: [insert] }, subject: s.x }]
    streams: [{ name: S, subjects: ["s.>"], consumers: [{ durable_name: c, KEY: VALUE }] }]
    """
  private static let ruleKeys = """
    streams: [{ name: S, subjects: ["s.>"] }]
    rules: [{ name: r, match: { namespace: a.b }, subject: s.x, KEY: VALUE }]
    """

  /// Wrong for every key that takes one value.
  private static let noScalars = ["[a]", "{ a: b }", "null", "~", ""]
  private static let noDurations = ["soon", "-1s", "5", "1w", "1.5h", "0s"]
  private static let noFlags = ["maybe", "2", "\"\""]

  private static let sections: [(String, [String])] = [
    ("source: { uri: VALUE }", ["h", "http://h"] + noScalars),
    ("source: { name: VALUE }", ["a b", "\"\"", "a$"] + noScalars),
    ("source: { reader: VALUE }", ["oplogs", "5", "Oplog"] + noScalars),
    ("source: { read_concern: VALUE }", ["linearizable", "true"] + noScalars),
    ("source: { start: VALUE }", ["tomorrow", "-1", "5", "1.2.3"] + noScalars),
    ("source: { on_position_lost: VALUE }", ["ignore", "halts"] + noScalars),
    (
      "nats: { servers: VALUE }",
      ["{ a: b }", "[]", "[http://h]", "[\"nats://h:0\"]", "[[a]]", "null", "[null]"]
    ),
    ("nats: { ignore_discovered_servers: VALUE }", noFlags + noScalars),
    ("nats: { name: VALUE }", noScalars),
    ("nats: { inbox_prefix: VALUE }", ["a.*", "$A", "a..b"] + noScalars),
    ("nats: { credentials_file: VALUE }", ["/nowhere/x"] + noScalars),
    ("nats: { nkey_seed_file: VALUE }", ["/nowhere/x"] + noScalars),
    ("nats: { token: VALUE }", noScalars),
    ("nats: { token_file: VALUE }", ["/nowhere/x"] + noScalars),
    ("nats: { user: VALUE, password: p }", noScalars),
    ("nats: { user: u, password: VALUE }", noScalars),
    ("nats: { tls: { ca_file: VALUE } }", ["/nowhere/x"] + noScalars),
    ("nats: { tls: { handshake_first: VALUE } }", noFlags + noScalars),
    ("nats: { tls: VALUE }", ["true", "[a]", "null"]), ("nats: VALUE", ["x", "[a]", "null"]),
    ("bridge: { name: VALUE }", ["a.b", "a b", "\"\""] + noScalars),
    ("bridge: { state_bucket: VALUE }", ["a.b", "$KV"] + noScalars),
    ("bridge: { checkpoint_interval: VALUE }", ["1ms", "2h"] + noDurations + noScalars),
    ("kv: VALUE", ["[{ bucket: b.c }]", "[{}]", "[b]", "null", "x"]),
    ("kv: [{ bucket: b, ttl: VALUE }]", ["1ms"] + noDurations.dropLast() + noScalars),
    ("kv: [{ bucket: b, limit_marker_ttl: VALUE }]", ["500ms"] + noScalars),
    ("kv: [{ bucket: b, history: VALUE }]", ["0", "65", "x"] + noScalars),
    ("kv: [{ bucket: b, replicas: VALUE }]", ["0", "6"] + noScalars),
    ("kv: [{ bucket: b, storage: VALUE }]", ["ram"] + noScalars),
    ("kv: [{ bucket: b, max_bytes: VALUE }]", ["-2", "x"] + noScalars),
    ("kv: [{ bucket: b, max_value_size: VALUE }]", ["-2", "1 GB"] + noScalars),
    ("redaction: { key: VALUE }", ["short"] + noScalars),
    ("unmatched: VALUE", ["drop", "ignored", "5"] + noScalars),
    ("dead_letter: { stream: VALUE }", ["a.b", "a b"] + noScalars),
    ("dead_letter: { subject: VALUE }", ["\"dlq.{x}\"", "\"\"", "dlq..x"] + noScalars),
    ("http: { listen: VALUE }", ["8080", "h:-1", "h:65536", "h"] + noScalars),
    ("http: { token: VALUE }", noScalars), ("http: VALUE", ["off", "null", "8080"]),
    ("log: { level: VALUE }", ["verbose", "1", "INFO"] + noScalars),
    ("log: { format: VALUE }", ["yaml"] + noScalars),
  ]

  private static let ofStreams: [(String, [String])] = [
    ("ownership", ["mine", "Shared"] + noScalars), ("publish", ["quick"] + noScalars),
    ("on_loss", ["refil", "stop"] + noScalars),
    ("consumers", ["x", "{ a: b }", "null", "[x]", "[null]"]),
    ("num_replicas", ["0", "6", "-1", "three", "1.5", "true"] + noScalars),
    ("storage", ["ram", "File", "1"] + noScalars), ("retention", ["limit"] + noScalars),
    ("discard", ["none"] + noScalars), ("compression", ["gzip", "zstd", "true"] + noScalars),
    ("max_age", ["soon", "-1s", "-1", "5", "1w", "99ms"] + noScalars),
    ("duplicate_window", ["soon", "-1", "50ms"] + noScalars),
    ("subject_delete_marker_ttl", ["x", "-1", "500ms"] + noScalars),
    ("max_bytes", ["1 GB", "-2", "x"] + noScalars), ("max_msg_size", ["2GiB", "-2"] + noScalars),
    ("max_msgs", ["many", "-2", "1.5", "1k"] + noScalars),
    ("max_msgs_per_subject", ["x", "-2"] + noScalars), ("max_consumers", ["x"] + noScalars),
    ("first_seq", ["-1", "x"] + noScalars), ("allow_direct", ["yes", "1"] + noScalars),
    ("allow_atomic", noFlags + noScalars), ("deny_delete", noFlags + noScalars),
    ("description", noScalars),
    ("placement", ["x", "[a]", "null", "{ cluster: [a] }", "{ tags: a }"]),
    ("metadata", ["x", "[a]", "null", "{ a: [b] }"]), ("republish", ["x", "{ src: a..b }"]),
    ("subject_transform", ["x", "[a]"]), ("consumer_limits", ["5", "{ inactive_threshold: x }"]),
  ]
  private static let ofConsumers: [(String, [String])] = [
    ("ack_policy", ["explict", "yes", "manual"] + noScalars),
    ("ack_wait", ["x", "-1"] + noScalars),
    ("max_deliver", ["x", "-2"] + noScalars), ("max_ack_pending", ["x", "-2"] + noScalars),
    ("deliver_policy", ["first", "by_start_sequence", "by_start_time"] + noScalars),
    ("opt_start_seq", ["0", "-1", "x"] + noScalars), ("opt_start_time", ["now"] + noScalars),
    ("replay_policy", ["fast"] + noScalars), ("filter_subject", ["a..b", "\"$JS.x\""] + noScalars),
    ("filter_subjects", ["s.a", "[s..a]", "[s.a, s.a]", "null"]),
    ("backoff", ["5s", "[x]", "[-1]"]),
    ("num_replicas", ["-1", "6", "2"] + noScalars), ("max_expires", ["1us", "-1"] + noScalars),
    ("inactive_threshold", ["-1", "x"] + noScalars), ("sample_freq", ["x", "200%"] + noScalars),
    ("headers_only", noFlags + noScalars), ("priority_policy", ["first"] + noScalars),
    ("pause_until", ["later"] + noScalars), ("rate_limit_bps", ["-1", "5"] + noScalars),
    ("mem_storage", noFlags), ("metadata", ["x", "{ a: [b] }"]), ("priority_groups", ["a"]),
  ]
  private static let ofRules: [(String, [String])] = [
    ("group", ["a b", "\"\""] + noScalars), ("id", ["a", "\"\"", "\"{x}\""] + noScalars),
    ("event_type", ["a b"] + noScalars), ("schema", ["/nowhere/s.json"] + noScalars),
    ("on_invalid", ["ignore"] + noScalars), ("on_id_conflict", ["ignore"] + noScalars),
    ("snapshot", noFlags + noScalars), ("skip_empty_updates", noFlags + noScalars),
    ("continue", noFlags + noScalars), ("stream", ["T"] + noScalars),
    ("delivery", ["core", "kv"] + noScalars), ("kv", ["x", "null"]), ("outbox", ["x", "null"]),
    ("payload", ["x", "null"]), ("payload", scalars("envelope", ["plain"])),
    ("payload", scalars("json", ["bson", "Simplified"])),
    ("payload", scalars("full_document", ["on", "true"])),
    ("payload", scalars("full_document_before_change", ["always"])),
    ("payload", scalars("disambiguated_paths", ["maybe"])),
    (
      "payload",
      [
        "{ include: x }", "{ include: null }", "{ include: [x] }", "{ exclude: [[a]] }",
        "{ exclude: null }", "{ rename: [a] }", "{ rename: x }", "{ redact: x }", "{ set: [a] }",
        "{ redact: { fullDocument.a: gone } }", "{ exclude: [updateDescription.updatedfields.a] }",
      ]
    ),
  ]

  private static func scalars(_ key: String, _ values: [String]) -> [String] {
    (values + noScalars).map { "{ \(key): \($0) }" }
  }

  @Test("of sections", arguments: sections) func inSections(_ text: String, _ values: [String]) {
    for value in values {
      let found = Self.found(Self.streams + text + "\n" + Self.rules, value)
      #expect(Self.isTold(found), "\(text) with \(value): \(found)")
    }
  }

  @Test("of streams, consumers and rules") func lists() {
    for (text, keys) in [
      (Self.streamKeys, Self.ofStreams), (Self.consumerKeys, Self.ofConsumers),
      (Self.ruleKeys, Self.ofRules),
    ] {
      for (key, values) in keys {
        for value in values {
          let found = Self.found(text.replacingOccurrences("KEY", key), value)
          #expect(Self.isTold(found), "\(key) with \(value): \(found)")
        }
      }
    }
  }

  /// On line 2, with a remedy.
  private static func isTold(_ found: [ConfigurationProblem]) -> Bool {
    !found.isEmpty && found.allSatisfy { $0.line == 2 && $0.column > 0 && $0.remedy.count > 5 }
  }

  @Test("nothing behind a section or a list is none; a null takes out what is merged in")
  func nothing() throws {
    let c = try configuration(
      """
      http:
      log:
      nats: { tls: }
      streams:
        - name: S
          subjects: ["s.>"]
          consumers:
          # - durable_name: c
      rules:
        - &common
          name: one
          match: { namespace: a.b, operations: [insert] }
          subject: s.one
          group: g
          payload:
            exclude:
            # - fullDocument.x
        - <<: *common
          name: two
          group: null
          match: { namespace: a.c, operations: [insert] }
      """)
    #expect(c.rules.map(\.group) == ["g", "two"] || c.rules.map(\.group) == ["g", nil])
    #expect(c.warnings == [])
  }

  @Test("what variables leave empty counts as left out") func empty() throws {
    let c = try configuration(
      base + "http: { token: \"${NONE:-}\" }\nbridge: { checkpoint_interval: \"${NONE:-}\" }")
    #expect(c.http.token == nil && c.bridge.checkpointInterval == .seconds(1))
  }
}

extension String {
  fileprivate func replacingOccurrences(_ part: String, _ other: String) -> String {
    split(separator: part, omittingEmptySubsequences: false).joined(separator: other)
  }
}
