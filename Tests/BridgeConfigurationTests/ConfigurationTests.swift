import BSON
import BridgeConfiguration
import JSON
import Mapping
import Oplog
import Testing

@Suite("Configurations")
struct ConfigurationTests {
  /// The repository's `config` folder, from this file's place.
  static func shipped(_ name: String) -> String {
    let parts = #filePath.split(separator: "/").dropLast(3)
    return "/" + parts.joined(separator: "/") + "/config/\(name)"
  }

  @Test("the shipped files are right", arguments: ["chat.yaml", "minimal.yaml"])
  func shippedFiles(_ name: String) throws {
    let configuration = try BridgeConfiguration.load(path: Self.shipped(name), environment: [:])
    #expect(configuration.nats.servers.map(\.description) == ["nats://127.0.0.1:4222"])
    #expect(configuration.source.uri.description == "mongodb://127.0.0.1:27017/?replicaSet=rs0")
    #expect(configuration.http.listen.description == "127.0.0.1:8080")
  }

  @Test("the chat example follows the environment") func chatExample() throws {
    let configuration = try BridgeConfiguration.load(
      path: Self.shipped("chat.yaml"),
      environment: [
        "MONGODB_URI": "mongodb://db:1/?replicaSet=x", "NATS_URL": "nats://a:1, nats://b:2",
        "TAILRACE_HTTP": "0.0.0.0:9", "NATS_REPLICAS": "3",
      ])
    #expect(configuration.source.uri.reveal() == "mongodb://db:1/?replicaSet=x")
    #expect(configuration.nats.servers.map(\.description) == ["nats://a:1", "nats://b:2"])
    #expect(configuration.http.listen.port == 9)
    #expect(configuration.streams.map(\.name) == ["CHAT", "PRESENCE"])
    #expect(configuration.streams[0].settings["num_replicas"] == .int(3))
    #expect(configuration.streams[0].settings["max_age"] == .int(604_800_000_000_000))
    #expect(configuration.streams[1].settings["max_msgs_per_subject"] == .int(1))
    #expect(configuration.rules.map(\.name).first == "message-created")
    #expect(configuration.rules.first?.group == "messages")
    #expect(configuration.rules.last?.streamIndex == 1)
  }

  @Test("what is left out has the documented default") func defaults() throws {
    let c = try configuration(
      """
      streams: [{ name: S, subjects: [s.x] }]
      rules: [{ name: r, match: { namespace: a.b }, subject: s.x }]
      """)
    #expect(c.source.uri.reveal() == "mongodb://127.0.0.1:27017/?replicaSet=rs0")
    #expect(c.source.name == nil)
    #expect(c.source.readConcern == .majority)
    #expect(c.source.start == .now)
    #expect(c.nats.servers.map(\.description) == ["nats://127.0.0.1:4222"])
    #expect(c.nats.name == "tailrace")
    #expect(c.nats.authentication == .none)
    #expect(!c.nats.tls.isRequired && !c.nats.ignoresDiscoveredServers)
    #expect(c.bridge.name == "tailrace")
    #expect(c.bridge.stateBucket == "TAILRACE")
    #expect(c.bridge.checkpointInterval == .seconds(1))
    #expect(c.streams == [StreamSpec(name: "S", subjects: ["s.x"])])
    #expect(c.unmatched == .ignore)
    #expect(c.deadLetter.stream == "TAILRACE_DLQ")
    #expect(c.deadLetter.subject.text == "dlq.{rule}")
    #expect(c.deadLetterStream == nil)
    #expect(c.http.listen.description == "127.0.0.1:8080")
    #expect(c.http.token == nil)
    #expect(c.log.level == .info)
    #expect(c.log.format == .json)
    let rule = try #require(c.rules.first)
    #expect(rule.group == "r")
    #expect(rule.operations == .documents)
    #expect(!rule.continues)
    #expect(rule.id == .positional)
    #expect(rule.envelope == .cloudEvents)
    #expect(rule.json == .simplified)
    #expect(rule.filter == .everything)
    #expect(rule.eventType == nil)
    #expect(rule.onInvalid == .deadLetter)
    #expect(rule.streamIndex == 0)
  }

  @Test("every key that is served") func everyKey() throws {
    let c = try configuration(
      """
      source: { uri: "mongodb+srv://u@h/db", name: prod, reader: oplog, read_concern: local,
                start: "1732360000.42", on_position_lost: halt }
      nats: { servers: tls://h, name: n, token: t, tls: { handshake_first: true }, ignore_discovered_servers: true }
      bridge: { name: b, state_bucket: B, checkpoint_interval: 500ms }
      streams: [{ name: S, subjects: [s.>], ownership: shared, publish: fast, on_loss: halt }]
      kv: []
      rules:
        - name: r
          group: g
          match: { namespace: a.*, operations: [insert, drop_database, create_indexes], where: {} }
          subject: s.{operationType}
          id: "{ns.db}:{clusterTime}"
          payload: { envelope: change_event, json: canonical, include: [fullDocument.a],
                     exclude: [wallTime], rename: {}, redact: {}, full_document: off }
          event_type: t
          on_invalid: halt
          on_id_conflict: drop
          continue: true
          delivery: jetstream
          stream: S
      unmatched: dead_letter
      dead_letter: { stream: D, subject: "d.{rule}.{error}" }
      http: { listen: "[::1]:0", token: h }
      log: { level: debug, format: text }
      """)
    #expect(c.streams.first?.onLoss == .halt)
    #expect(c.source.name == "prod")
    #expect(c.source.readConcern == .local)
    #expect(c.source.start == .position(OplogPosition(seconds: 1_732_360_000, increment: 42)))
    #expect(c.nats.servers.first?.requiresTLS == true)
    #expect(c.nats.authentication == .token(Secret("t")))
    #expect(c.nats.tls.handshakeFirst && c.nats.tls.isRequired && c.nats.ignoresDiscoveredServers)
    #expect(c.bridge.checkpointInterval == .milliseconds(500))
    #expect(c.streams.first?.ownership == .shared)
    #expect(c.streams.first?.publish == .fast)
    let rule = try #require(c.rules.first)
    #expect(rule.group == "g")
    #expect(rule.operations.operations == [.insert, .dropDatabase, .createIndexes])
    #expect(rule.continues)
    #expect(rule.id == .template(try Template(id: "{ns.db}:{clusterTime}")))
    #expect(rule.envelope == .changeEvent)
    #expect(rule.json == .canonical)
    #expect(rule.filter.include == ["fullDocument.a"])
    #expect(rule.filter.exclude == ["wallTime"])
    #expect(rule.eventType == "t")
    #expect(rule.onInvalid == .halt)
    #expect(rule.onIDConflict == .drop)
    #expect(c.unmatched == .deadLetter)
    #expect(c.deadLetter.subject.pattern == "d.*.*")
    #expect(c.http.listen.description == "[::1]:0")
    #expect(c.http.token == Secret("h"))
    #expect(c.log.level == .debug)
    #expect(c.log.format == .text)
  }

  @Test("JetStream's fields pass through in order, durations and sizes as numbers")
  func passThrough() throws {
    let c = try configuration(
      """
      streams:
        - name: S
          subjects: [s.>]
          max_age: 1h30m
          duplicate_window: 120000000000
          max_bytes: 10MiB
          max_msg_size: 65536
          num_replicas: 3
          storage: file
          allow_direct: true
          description: "10"
          placement: { cluster: c, tags: [a, b] }
          consumer_limits: { inactive_threshold: 5m }
          some_new_field_of_a_later_server: [1, 1.5, ~, true, x, "true", 0x10]
          consumers:
            - { durable_name: d, ack_wait: 30s, backoff: [1s, 1m], max_bytes: 1KiB, max_deliver: 5 }
      rules: [{ name: r, match: { namespace: a.b }, subject: s.x }]
      """)
    #expect(
      c.streams[0].settings.description == #"{"max_age":5400000000000,"#
        + #""duplicate_window":120000000000,"max_bytes":10485760,"max_msg_size":65536,"#
        + #""num_replicas":3,"storage":"file","allow_direct":true,"description":"10","#
        + #""placement":{"cluster":"c","tags":["a","b"]},"#
        + #""consumer_limits":{"inactive_threshold":300000000000},"#
        + #""some_new_field_of_a_later_server":[1,1.5,null,true,"x","true","0x10"]}"#)
    #expect(
      c.streams[0].consumers.map(\.description) == [
        #"{"durable_name":"d","ack_wait":30000000000,"backoff":[1000000000,60000000000],"#
          + #""max_bytes":1024,"max_deliver":5}"#
      ])
  }

  @Test("aliases and merge keys share what rules have in common") func aliases() throws {
    let c = try configuration(
      """
      streams: [{ name: S, subjects: [s.>] }]
      rules:
        - &common
          name: one
          match: { namespace: a.b }
          subject: s.one
          on_invalid: drop
        - <<: *common
          name: two
          subject: s.two
      """)
    #expect(c.rules.map(\.name) == ["one", "two"])
    #expect(c.rules.map(\.subject.text) == ["s.one", "s.two"])
    #expect(c.rules.map(\.onInvalid) == [.drop, .drop])
  }

  @Test(
    "subjects and the streams that cover them",
    arguments: [
      ("chat.>", "chat.{documentKey._id}.created", true),
      ("chat.*.created", "chat.{documentKey._id}.created", true),
      ("chat.*.created", "chat.room-{documentKey._id}.created", true),
      ("chat.*", "chat.{documentKey._id}.created", false),
      ("chat.>", "chat", false),
      (">", "anything.at.all", true),
      ("chat.general", "chat.{documentKey._id}", false),
      ("chat.b", "chat.{ns.coll}", true),
      ("chat.a.b", "chat.{ns.db}.{ns.coll}", true),
      ("*.*", "chat.{ns.coll}", true),
      ("chat.insert", "chat.{operationType}", false),
      ("chats.>", "chat.x", false),
    ])
  func coverage(_ filter: String, _ subject: String, _ covered: Bool) {
    let found = problems(
      """
      streams: [{ name: S, subjects: ["\(filter)"] }]
      rules:
        - name: r
          match: { namespace: a.b }
          subject: "\(subject)"
      dead_letter: { subject: "\(filter == ">" ? "x" : "dlq.{rule}")" }
      """
    ).filter { !$0.contains("dead letters") }
    #expect(found.isEmpty == covered, "\(found)")
    if !covered { #expect(found.first?.hasPrefix("5:14: stream S takes") == true) }
  }

  @Test("operations a rule takes are covered one by one") func coverageByOperation() {
    let yaml = """
      streams: [{ name: S, subjects: [s.insert, s.update] }]
      rules: [{ name: r, match: { namespace: a.b, operations: [insert, update] }, subject: "s.{operationType}" }]
      """
    #expect(problems(yaml) == [])
    #expect(
      problems(yaml.replacing("[insert, update] }", with: "[insert, delete] }")) == [
        "2:86: stream S takes s.insert or s.update, which does not cover s.delete"
      ])
  }

  @Test("the hash changes with what determines messages, and with nothing else") func hash() throws
  {
    let yaml = """
      source: { name: rs0 }
      streams: [{ name: S, subjects: [s.>] }]
      rules: [{ name: r, match: { namespace: a.b }, subject: s.x }]
      """
    let hash = try configuration(yaml).hash
    #expect(hash.count == 16)
    #expect(try configuration(yaml).hash == hash)
    for (old, new) in [
      ("name: rs0", "name: rs1"), ("a.b", "a.c"), ("s.x", "s.y"), ("name: r,", "name: q,"),
      ("name: S", "name: T"), ("subject: s.x", "subject: s.x, id: '{ns.db}'"),
      ("subject: s.x", "subject: s.x, payload: { json: relaxed }"),
      ("subject: s.x", "subject: s.x, payload: { exclude: [fullDocument.a] }"),
      ("subject: s.x", "subject: s.x, payload: { include: [fullDocument.a] }"),
      ("subject: s.x", "subject: s.x, payload: { envelope: document }"),
      ("subject: s.x", "subject: s.x, event_type: e"),
      ("subject: s.x", "subject: s.x, continue: true"),
      ("subject: s.x", "subject: s.x, on_invalid: drop"),
      ("subject: s.x", "subject: s.x, on_id_conflict: drop"),
      ("source:", "unmatched: dead_letter\nsource:"),
      ("source:", "dead_letter: { subject: 'dlq.{error}' }\nsource:"),
    ] {
      #expect(try configuration(yaml.replacing(old, with: new)).hash != hash, "\(new)")
    }
    for (old, new) in [
      ("subject: s.x", "subject: s.x, group: g"), ("source:", "log: { level: debug }\nsource:"),
      ("[s.>] }", "[s.>], max_age: 1d }"), ("a.b }", "a.b }, stream: S"),
    ] {
      #expect(try configuration(yaml.replacing(old, with: new)).hash == hash, "\(new)")
    }
  }

  @Test(
    "durations",
    arguments: [
      ("10ms", 10), ("500ms", 500), ("30s", 30_000), ("10m", 600_000), ("1h", 3_600_000),
      ("1m30s", 90_000),
    ])
  func durations(_ text: String, _ milliseconds: Int) throws {
    let c = try configuration(base + "bridge: {checkpoint_interval: \(text)}")
    #expect(c.bridge.checkpointInterval == .milliseconds(milliseconds))
  }
}
