import Bridge
import BridgeConfiguration
import JSON
import Oplog
import Testing

@Suite("Whose a message is")
struct OwnMessageTests {
  /// Lends the marks of a header block that holds these lines.
  func marks<R>(_ lines: String..., body: (MessageMarks) throws -> R) rethrows -> R {
    let block = Array("NATS/1.0\r\n\(lines.map { $0 + "\r\n" }.joined())\r\n".utf8)
    return try block.withUnsafeBytes { try body(MessageMarks($0)) }
  }

  func text(_ bytes: UnsafeRawBufferPointer?) -> String? {
    bytes.map { String(decoding: $0, as: UTF8.self) }
  }

  @Test("header lines are read, the first of a name, whatever is around") func reading() {
    marks(
      "Nats-Msg-Id:  rs0:1.2.3 ", "Tailrace-Position: 1.2.3", "Tailrace-Rule: r",
      "Tailrace-Bridge: a", "Tailrace-Bridge: b", "Tailrace-Bridges: c", "ce-id: x",
      "Tailrace-Snapshot: true", "Tailrace-Error: schema_invalid"
    ) { marks in
      #expect(text(marks.id) == "rs0:1.2.3" && text(marks.rule) == "r")
      #expect(text(marks.bridge) == "a")
      #expect(marks.position == EventPosition("1.2.3"))
      #expect(marks.isSnapshot && marks.isDeadLetter && !marks.isReplayed && !marks.isCopy)
    }
    for block in ["", "NATS/1.0", "NATS/1.0\r\n\r\n", "NATS/1.0\r\nTailrace-", "\n\n:\n"] {
      Array(block.utf8).withUnsafeBytes { bytes in
        let marks = MessageMarks(bytes)
        #expect(!marks.isOfBridge && marks.id == nil)
      }
    }
  }

  @Test("a letter's own id is read as that of the message it would have been") func letterID() {
    marks("Nats-Msg-Id: rs0:1.2.3%letter:a:r:1.2.3", "Tailrace-Rule: r") {
      #expect(text($0.id) == "rs0:1.2.3")
    }
    marks("Nats-Msg-Id: a%20b%6Cetter:x", "Tailrace-Rule: r") {
      #expect(text($0.id) == "a%20b%6Cetter:x")
    }
  }

  /// Header lines, and whose the message is in a stream that is one's own, and in a shared one.
  static let owners: [([String], MessageOwner, MessageOwner)] = [
    ([], .nobody, .nobody),
    (["Nats-Msg-Id: 1.created"], .nobody, .nobody),
    (["Tailrace-Bridge: a"], .nobody, .nobody),
    (["Tailrace-Position: 1.2.3", "Tailrace-Rule: r"], .thisBridge, .unnamed),
    (["Tailrace-Rule: r", "Tailrace-Bridge: a"], .thisBridge, .thisBridge),
    (["Tailrace-Position: x", "Tailrace-Bridge: a"], .thisBridge, .thisBridge),
    (["Tailrace-Rule: r", "Tailrace-Bridge: b"], .anotherBridge, .anotherBridge),
    (["Tailrace-Rule: r", "Tailrace-Bridge: ab"], .anotherBridge, .anotherBridge),
    (["Tailrace-Rule: r", "Tailrace-Bridge:"], .anotherBridge, .anotherBridge),
    (["Tailrace-Rule: r", "Tailrace-Bridge: A"], .anotherBridge, .anotherBridge),
    (["Tailrace-Rule: r", "tailrace-bridge: b"], .thisBridge, .unnamed),
    // Copied by the server out of another stream.
    (
      ["Nats-Stream-Source: S 1", "Tailrace-Rule: r", "Tailrace-Bridge: a"], .anotherBridge,
      .anotherBridge
    ),
    (["Nats-Stream: S", "Tailrace-Rule: r"], .anotherBridge, .anotherBridge),
  ]

  @Test("the owner", arguments: owners)
  func owner(_ lines: [String], _ exclusive: MessageOwner, _ shared: MessageOwner) {
    let block = Array("NATS/1.0\r\n\(lines.map { $0 + "\r\n" }.joined())\r\n".utf8)
    block.withUnsafeBytes { bytes in
      let marks = MessageMarks(bytes)
      #expect(
        MessageOwnership.InStream(bridge: "a", isExclusive: true).owner(of: marks) == exclusive)
      #expect(MessageOwnership.InStream(bridge: "a", isExclusive: false).owner(of: marks) == shared)
    }
  }

  /// On an exclusive stream, whose messages name no bridge: the id must be the one of the position.
  @Test(
    "ids of another source, and of another position",
    arguments: [
      ("rs0:1.2.3", "1.2.3", "positional", true), ("rs0:1.2.3:second", "1.2.3", "positional", true),
      ("rs1:1.2.3", "1.2.3", "positional", false), ("rs0:1.2.4", "1.2.3", "positional", false),
      ("rs0:1.2.34", "1.2.3", "positional", false), ("rs:1.2.3", "1.2.3", "positional", false),
      ("rs00:1.2.3:second", "1.2.3", "positional", false), ("rs1:1.2.3", "1.2.3", "gone", false),
      // Of a rule's own ids, also of those that an earlier configuration gave it.
      ("7.created", "1.2.3", "template", true), ("7.created", "1.2.3", "positional", true),
      ("rooms:1.2.3", "1.2.3", "template", true), ("rs0:7", "1.2.3", "positional", true),
      ("", "1.2.3", "positional", true),
    ])
  func ids(_ id: String, _ position: String, _ rule: String, _ isOurs: Bool) throws {
    let configuration = try BridgeConfiguration.parse(
      yaml: """
        source: {uri: "mongodb://h"}
        nats: {servers: ["nats://h"]}
        streams: [{name: S, subjects: ["s.>"]}]
        rules:
          - {name: positional, match: {namespace: a.b}, subject: s.a, stream: S}
          - {name: template, match: {namespace: a.c}, subject: s.b, stream: S, id: "{documentKey._id}.created"}
        """, file: "test", environment: [:])
    let ownership = MessageOwnership.InStream(
      bridge: "a", isExclusive: true, ids: PositionalIDs(source: "rs0", rules: configuration.rules))
    let block = Array(
      """
      NATS/1.0\r\nNats-Msg-Id: \(id)\r\nTailrace-Position: \(position)\r\nTailrace-Rule: \(rule)\r\n\r\n
      """.utf8)
    block.withUnsafeBytes { bytes in
      let owner = ownership.owner(of: MessageMarks(bytes))
      #expect(owner == (isOurs ? .thisBridge : .anotherBridge))
    }
  }
}

@Suite("Whose a stream is, and whether it can serve")
struct StreamClaimTests {
  static let claims: [(owner: String?, isExclusive: Bool, keepsMetadata: Bool, StreamClaim)] = [
    (nil, true, true, .claim), (nil, true, false, .settled), (nil, false, true, .settled),
    ("", true, true, .claim), ("a", true, true, .settled), ("a", false, true, .release),
    ("b", true, true, .refused(owner: "b")), ("b", false, true, .contested(owner: "b")),
    // What was written once is heeded, whichever server is asked.
    ("b", true, false, .refused(owner: "b")), ("a", false, false, .release),
  ]

  @Test("the metadata's owner", arguments: claims)
  func claim(_ owner: String?, _ isExclusive: Bool, _ keeps: Bool, _ expected: StreamClaim) {
    var config: JSONValue = ["name": "S", "metadata": ["_nats.ver": "2.15.1", "team": "chat"]]
    if let owner { config["metadata"]?[StreamClaim.key] = .string(owner) }
    #expect(
      StreamClaim.decide(
        config, bridge: "a", isExclusive: isExclusive, serverKeepsMetadata: keeps) == expected)
  }

  /// What a stream's configuration has, and a word of the refusal: as one's own stream, as a shared one.
  static let settings: [(JSONValue, exclusive: String?, shared: String?)] = [
    ([:], nil, nil),
    (["sources": [], "republish": ["src": "s.>", "dest": "copy.>"]], nil, nil),
    (["mirror": ["name": "M"]], "mirror", "mirror"), (["sealed": true], "sealed", "sealed"),
    (["no_ack": true], "no_ack", "no_ack"),
    (["persist_mode": "async"], "persist_mode", "persist_mode"),
    (["storage": "memory"], "memory", "memory"),
    (["allow_msg_counter": true], "allow_msg_counter", "allow_msg_counter"),
    (["allow_msg_counter": false], nil, nil),
    (["sources": [["name": "M"]]], "sources", nil),
    (
      ["subject_transform": ["src": "s.a.*", "dest": "t.{{wildcard(1)}}"]], "subject_transform",
      "subject_transform"
    ),
    (["subject_transform": ["src": "", "dest": "t.>"]], "subject_transform", "subject_transform"),
    (["subject_transform": ["src": "u.>", "dest": "t.>"]], nil, nil),
    (["republish": ["src": ">", "dest": "mine.>"]], "republish", "republish"),
    (["republish": ["src": "", "dest": "$1.copy"]], "republish", "republish"),
    (["republish": ["src": "u.>", "dest": "mine.>"]], nil, nil),
  ]

  @Test("settings", arguments: settings)
  func fitness(_ config: JSONValue, _ exclusive: String?, _ shared: String?) {
    for (isExclusive, word) in [(true, exclusive), (false, shared)] {
      let refusal = StreamFitness(
        config, subjects: ["s.>"], isExclusive: isExclusive, exclusiveSubjects: ["mine.copy"]
      ).refusal
      if let word {
        #expect(refusal?.contains(word) == true)
      } else {
        #expect(refusal == nil)
      }
    }
  }

  @Test("what verification says of it") func notes() {
    func notes(_ config: JSONValue, _ isExclusive: Bool) -> [String] {
      StreamFitness(config, subjects: ["s.>"], isExclusive: isExclusive).notesForVerification
    }
    #expect(notes([:], true).isEmpty)
    #expect(notes(["sources": [["name": "M"]]], true).count == 1)
    #expect(notes(["sources": [["name": "M"]]], false).count == 1)
    #expect(notes(["subject_transform": ["src": ">", "dest": "t.>"]], true).count == 1)
    #expect(notes(["subject_transform": ["src": "u.>", "dest": "t.>"]], true).count == 1)
  }

  /// What the stream has, what is wanted, and what it gets.
  static let subjects: [([String], [String], [String])] = [
    ([], ["a"], ["a"]), (["a", "b.*"], ["a"], ["a", "b.*"]),
    (["a.>"], ["a.b", "c"], ["a.>", "c"]),
    (["a.b", "x"], ["a.>"], ["x", "a.>"]), (["a.*"], ["a.*.c"], ["a.*", "a.*.c"]),
    (["a.*"], ["a.>"], ["a.>"]), (["a.>"], ["a"], ["a.>", "a"]), ([">"], ["a.>"], [">"]),
  ]

  @Test("subjects that others gave a shared stream stay, and none overlaps", arguments: subjects)
  func union(_ present: [String], _ wanted: [String], _ expected: [String]) {
    #expect(SharedSubjects.union(present, wanted) == expected)
  }
}
