import JSON
import JetStream
import NATS
import NIOCore
import TestPages
import TestServers
import Testing

/// The code on the pages of NATS and JetStream, run against a server.
@Suite("Documentation pages") struct PageTests {
  @Test func `what the page of NATS shows`() async throws {
    try await TestServer.with(ServerBinary.newest) { server in
      let address = server.address
      let logger = quiet
      // page
      let connection = try await NATSConnection.connect(
        to: [try NATSServerAddress(url: "nats://\(address)")], logger: logger)
      // end
      // page
      let rooms = try await connection.subscribe("chat.rooms.>")
      try await connection.publish("chat.rooms.r1", payload: "hello")
      let first = try await rooms.next()
      // end
      #expect(first.map { String(buffer: $0.payload) } == "hello")
      let questions = try await connection.subscribe("chat.count")
      async let answering: Void = {
        if let question = try await questions.next(), let reply = question.reply {
          try await connection.publish(reply, payload: "3")
        }
      }()
      // page
      let answer = try await connection.request("chat.count", payload: Array("r1".utf8))
      // end
      try await answering
      #expect(String(buffer: answer.payload) == "3")
      await connection.close()
    }
  }

  @Test func `what the page of JetStream shows`() async throws {
    try await withJetStream(ServerBinary.newest) { client in
      let connection = client.connection
      let body = Array(#"{"text":"hello"}"#.utf8)
      // page
      let jetStream = JetStreamClient(connection)
      let (_, stream) = try await jetStream.ensureStream(
        "CHAT", settings: ["subjects": ["chat.>"], "duplicate_window": 120_000_000_000])
      // end
      #expect(stream.lastSequence == 0)
      // page
      let headers = NATSHeaders(["Nats-Msg-Id": "m1.created"])
      let ack = try await jetStream.publish("chat.messages.m1", headers: headers, payload: body)
      let again = try await jetStream.publish("chat.messages.m1", headers: headers, payload: body)
      // end
      #expect(!ack.isDuplicate && again.isDuplicate)
      #expect(ack.sequence == 1 && again.sequence == 1)
      // page
      let bucket = KeyValueBucket(jetStream, name: "STATE")
      try await bucket.ensure(replicas: 1)
      let revision = try await bucket.put("leader", Array("a".utf8), expecting: 0)
      // end
      #expect(revision == 1)
      let refusal = await #expect(throws: JetStreamError.self) {
        try await bucket.put("leader", Array("b".utf8), expecting: 0)
      }
      #expect(refusal?.code == 10071)
    }
  }

  @Test(arguments: ["NATS", "JetStream"])
  func `pages show what was run`(module: String) throws {
    let code = try PageCode(module: module, test: #filePath)
    #expect(code.shown.count == 3)
    for block in code.shown { #expect(code.run.contains(block), "not run: \(block)") }
  }
}
