import Bridge
import JSON
import JetStream
import Testing

@Suite("What a change of a stream would lose") struct StreamLossTests {
  private let present: JSONValue = [
    "name": "CHAT", "subjects": ["chat.>", "old.*"], "retention": "limits", "discard": "old",
    "max_msgs": -1, "max_bytes": 1_000_000, "max_age": 0, "max_msgs_per_subject": 5,
    "duplicate_window": 120_000_000_000,
  ]

  private func causes(_ changes: JSONValue) -> [StreamLoss.Cause] {
    StreamLoss.possible(from: present, to: present.merging(changes).0)
  }

  @Test func `higher limits, and what has nothing to do with messages, lose nothing`() {
    #expect(causes([:]).isEmpty)
    #expect(causes(["max_bytes": 2_000_000, "max_msgs_per_subject": 6]).isEmpty)
    #expect(causes(["max_bytes": -1, "max_msgs_per_subject": 0]).isEmpty)
    #expect(causes(["duplicate_window": 1, "max_msg_size": 10, "num_replicas": 3]).isEmpty)
    #expect(causes(["subjects": ["old.*", "chat.>", "new.>"]]).isEmpty)
  }

  @Test(arguments: [
    ("max_msgs", 10), ("max_bytes", 999_999), ("max_age", 1_000_000_000),
    ("max_msgs_per_subject", 4),
  ])
  func `a lower limit, or one where there was none`(_ field: String, _ limit: Int64) {
    var wanted = present
    wanted[field] = .int(limit)
    #expect(StreamLoss.possible(from: present, to: wanted) == [.limit(field)])
  }

  @Test func `room is not made where new messages are discarded; age and subjects have no choice`()
  {
    #expect(causes(["discard": "new", "max_msgs": 1, "max_bytes": 1]).isEmpty)
    #expect(causes(["discard": "new", "max_age": 5]) == [.limit("max_age")])
    #expect(
      causes(["discard": "new", "max_msgs_per_subject": 1]) == [.limit("max_msgs_per_subject")])
  }

  @Test func `subjects that no other one covers`() {
    #expect(causes(["subjects": ["chat.>"]]) == [.subject("old.*")])
    #expect(causes(["subjects": ["chat.a.>", "old.*"]]) == [.subject("chat.>")])
    #expect(causes(["subjects": [">"]]).isEmpty)
  }

  @Test func `another retention`() {
    #expect(causes(["retention": "interest"]) == [.retention])
  }

  @Test func `a start makes all the rest`() {
    let wanted = present.merging([
      "subjects": ["chat.>", "new.>"], "max_age": 5, "max_bytes": 2_000_000, "max_msgs": 7,
    ]).0
    let losses = [
      StreamLoss(.limit("max_age"), messages: 3, "three"),
      StreamLoss(.subject("old.*"), messages: 1, "one"),
      StreamLoss(.limit("max_msgs"), messages: 0, losesStored: false, "none"),
    ]
    let config = StreamLoss.withholding(losses, from: present, to: wanted)
    #expect(config["max_age"] == 0)
    #expect(config["max_bytes"] == 2_000_000)
    #expect(config["max_msgs"] == 7)
    #expect(config["subjects"] == ["chat.>", "new.>", "old.*"])
  }

  @Test func `settings as people write them`() {
    let wanted = present.merging([
      "max_age": 604_800_000_000_000, "max_bytes": 1_048_576, "subjects": ["chat.>", "new.>"],
      "consumer_limits": ["max_ack_pending": 5], "placement": ["tags": ["ssd", "eu"]],
      "sealed": false,
    ]).0
    let changes = SettingChange.list(from: present, to: wanted) { _ in .changes }
    #expect(
      changes.map(\.description) == [
        "subjects: +new.> -old.*", "max_bytes: 1000000 -> 1MiB", "max_age: 0 -> 7d",
        #"consumer_limits: none -> {"max_ack_pending":5}"#,
        #"placement: none -> {"tags":["ssd","eu"]}"#,
      ])
    let nested = SettingChange.list(
      from: ["metadata": ["a": "1", "b": "2"]], to: ["metadata": ["a": "1", "b": "3", "c": "4"]]
    ) { _ in .changes }
    #expect(nested.map(\.description) == ["metadata.b: 2 -> 3", "metadata.c: none -> 4"])
  }
}
