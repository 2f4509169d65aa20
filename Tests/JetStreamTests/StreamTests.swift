import JSON
import JetStream
import NATS
import TestServers
import Testing

@Suite struct StreamTests {
  @Test(arguments: ServerBinary.available)
  func `a stream is created once and updated only where it differs`(version: String) async throws {
    try await withJetStream(version) { jetStream in
      let settings: JSONValue = [
        "subjects": ["t.>"], "storage": "file", "duplicate_window": 60_000_000_000,
      ]
      let (first, info) = try await jetStream.ensureStream("T", settings: settings)
      #expect(first == .created)
      #expect(info.subjects == ["t.>"])
      let (second, _) = try await jetStream.ensureStream("T", settings: settings)
      #expect(second == .unchanged)
      let (third, changed) = try await jetStream.ensureStream(
        "T", settings: ["max_msgs": 5, "duplicate_window": 60_000_000_000])
      #expect(third == .updated(["max_msgs"]))
      #expect(changed.config["max_msgs"]?.integer() == 5)
      #expect(changed.subjects == ["t.>"])
    }
  }

  @Test(arguments: ServerBinary.available.filter { $0 != "2.9.10" })
  func `an update leaves fields alone that it doesn't name`(version: String) async throws {
    try await withJetStream(version) { jetStream in
      _ = try await jetStream.request(
        "STREAM.CREATE.T",
        [
          "name": "T", "subjects": ["t.>"], "storage": "file", "description": "by hand",
          "metadata": ["owner": "somebody"], "compression": "s2",
        ])
      let (_, info) = try await jetStream.ensureStream("T", settings: ["max_msgs": 7])
      #expect(info.config["description"]?.stringValue == "by hand")
      #expect(info.config["metadata"]?["owner"]?.stringValue == "somebody")
      #expect(info.config["compression"]?.stringValue == "s2")
      #expect(info.config["max_msgs"]?.integer() == 7)
    }
  }

  @Test(arguments: ServerBinary.available)
  func `messages are read back from the leader with their headers`(version: String) async throws {
    try await withJetStream(version) { jetStream in
      _ = try await jetStream.ensureStream("T", settings: ["subjects": ["t.>"], "storage": "file"])
      for n in 1...3 {
        _ = try await jetStream.connection.request(
          "t.\(n)", headers: ["Nats-Msg-Id": "m\(n)", "X": "é \(n)"],
          payload: Array("body \(n)".utf8))
      }
      let second = try #require(try await jetStream.message(in: "T", at: 2))
      #expect(second.subject == "t.2")
      #expect(second.header("Nats-Msg-Id") == "m2")
      #expect(second.header("X") == "é 2")
      #expect(second.payload == Array("body 2".utf8))
      #expect(try await jetStream.message(in: "T", at: 9) == nil)
      #expect(try await jetStream.lastMessage(in: "T", subject: "t.*")?.sequence == 3)
      #expect(try await jetStream.nextMessage(in: "T", from: 2, subject: "t.>")?.sequence == 2)
      #expect(try await jetStream.stream("NONE") == nil)
    }
  }

  @Test(arguments: ServerBinary.available)
  func `a lost compare-and-set carries the server's code`(version: String) async throws {
    try await withJetStream(version) { jetStream in
      let bucket = KeyValueBucket(jetStream, name: "STATE")
      try await bucket.ensure(replicas: 1)
      try await bucket.ensure(replicas: 1)
      #expect(try await bucket.get("a") == nil)
      let first = try await bucket.put("a", Array("one".utf8), expecting: 0)
      #expect(try await bucket.get("a")?.value == Array("one".utf8))
      let second = try await bucket.put("a", Array("two".utf8), expecting: first)
      #expect(second > first)
      do {
        _ = try await bucket.put("a", Array("three".utf8), expecting: first)
        Issue.record("a stale write went through")
      } catch let error as JetStreamError {
        #expect(error.code == JetStreamCode.wrongLastSequence)
      }
      #expect(try await bucket.get("a")?.value == Array("two".utf8))
      #expect(try await bucket.revision("never") == 0)
      let missing = KeyValueBucket(jetStream, name: "MISSING")
      #expect(try await missing.revision("never") == 0)
    }
  }

  @Test func `an API error says what was asked and what came back`() async throws {
    try await withJetStream(ServerBinary.newest) { jetStream in
      do {
        _ = try await jetStream.ensureStream(
          "T", settings: ["subjects": ["t.>"], "num_replicas": 9])
        Issue.record("nine replicas on one server")
      } catch let error as JetStreamError {
        #expect(error.operation.contains("STREAM.CREATE.T"))
        #expect(error.code != 0)
      }
    }
  }
}
