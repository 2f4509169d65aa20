import BridgeConfiguration
import JSON
import Mapping
import Testing

@Suite("delivery") struct DeliveryTests {
  private func rule(_ text: String, kv: String = "[{ bucket: presence }]") throws -> Rule {
    let configuration = try configuration(
      """
      streams: [{ name: S, subjects: ["s.>"] }]
      kv: \(kv)
      rules:
        - { name: r, match: { namespace: a.b }, \(text) }
      """)
    return try #require(configuration.rules.first)
  }

  @Test func `to a stream, unless it says otherwise`() throws {
    #expect(try rule("subject: s.x").route == .stream(StreamID(0)))
    #expect(try rule("subject: s.x, delivery: jetstream").route == .stream(StreamID(0)))
  }

  @Test func `signals`() throws {
    let signal = try rule("subject: typing.x, delivery: core, core: { max_age: 2500ms }")
    #expect(signal.route == .core && signal.streamIndex == nil)
    #expect(signal.maximumAge == 2500 && signal.onInvalid == .drop && !signal.takesSnapshots)
    #expect(try rule("subject: typing.x, delivery: core").maximumAge == 10_000)
  }

  @Test func `entries of a bucket, which is a stream behind the others`() throws {
    let entry = try rule(
      #"delivery: kv, kv: { bucket: presence, key: "u/{documentKey._id}.state", ttl: 30s }"#)
    #expect(entry.route == .keyValue(BucketID(1)) && entry.streamIndex == 1)
    #expect(entry.subject.text == "$KV.presence.u/{documentKey._id}.state" && entry.keyTTL == 30)
  }

  @Test func `a bucket's stream`() throws {
    let configuration = try configuration(
      """
      kv:
        - { bucket: presence, ttl: 1m, history: 5, replicas: 3, storage: memory, max_bytes: 1MiB,
            max_value_size: 2KiB, limit_marker_ttl: 30s }
        - { bucket: other }
      rules:
        - name: r
          match: { namespace: a.b }
          delivery: kv
          kv: { bucket: other, key: "{documentKey._id}", ttl: 5s }
      """)
    let (first, second) = (configuration.streams[0], configuration.streams[1])
    #expect(first.name == "KV_presence" && first.bucket == "presence")
    #expect(first.subjects == ["$KV.presence.>"] && first.ownership == .exclusive)
    for (key, value): (String, JSONValue) in [
      ("max_msgs_per_subject", 5), ("max_age", 60_000_000_000), ("num_replicas", 3),
      ("storage", "memory"), ("max_bytes", 1_048_576), ("max_msg_size", 2048),
      ("allow_rollup_hdrs", true), ("deny_delete", true), ("discard", "new"),
      ("duplicate_window", 60_000_000_000), ("allow_msg_ttl", true),
      ("subject_delete_marker_ttl", 30_000_000_000),
    ] {
      #expect(first.settings[key] == value, "\(key)")
    }
    #expect(second.settings["max_msgs_per_subject"] == 1 && second.settings["max_age"] == 0)
    // For the rule's entries.
    #expect(second.settings["allow_msg_ttl"] == true)
  }

  @Test(arguments: [
    ("", "the key is the same for every event"), ("a", "the key is the same for every event"),
    ("{documentKey._id}.", "the key ends with a dot"),
    (".{documentKey._id}", "the key has an empty token"),
    ("a b{documentKey._id}", "a key can't hold a space"),
    ("a*{documentKey._id}", "a key can't hold *"),
    ("{fullDocument._id}", "fullDocument._id has no value in a update event"),
    ("_kv{documentKey._id}", "keys that begin with _kv belong to NATS"),
  ])
  func `keys that can't be`(_ key: String, _ why: String) {
    let yaml = """
      kv: [{ bucket: b }]
      rules: [{ name: r, match: { namespace: a.b }, delivery: kv, kv: { bucket: b, key: "\(key)" } }]
      """
    let found = problemList(yaml).map(\.message)
    #expect(found.contains { $0.contains(why) }, "\(found)")
  }

  @Test func `streams are needed only by rules that publish to them`() {
    let signals = """
      rules: [{ name: r, match: { namespace: a.b }, subject: typing.x, delivery: core }]
      """
    #expect(problems(signals) == [])
    let both =
      signals + "\n" + """
        kv: []
        """
    #expect(problems(both) == [])
    let mixed = """
      rules:
        - { name: r, match: { namespace: a.b }, subject: typing.x, delivery: core }
        - { name: s, match: { namespace: a.c }, subject: s.x }
      """
    #expect(problems(mixed).contains { $0.contains("rules[1] has no stream") })
  }
}
