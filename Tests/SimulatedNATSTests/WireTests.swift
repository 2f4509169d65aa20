import JSON
import SimulatedJetStream
import SimulatedNATS
import TestRandom
import Testing

@Suite struct WireTests {
  private static let newest = ServerVersion(2, 15, 1)

  private static let conversation = """
    CONNECT \(SimulatedClients.options)\r
    PING\r
    SUB in.> 7\r
    SUB q.* workers 8\r
    \(request("$JS.API.STREAM.CREATE.T", #"{"name":"T","subjects":["t.>"]}"#))\
    HPUB t.a in.2 29 34\r
    NATS/1.0\r
    Nats-Msg-Id: 17\r
    \r
    hallo\r
    \(request("t.b", "x\r\ny"))\
    \(request("nobody"))\
    PUB q.1 0\r
    \r
    UNSUB 8\r
    PUB q.1 0\r
    \r
    PING\r

    """

  /// Wherever the network cuts the stream, the server does the same.
  @Test func `operations may come in any pieces`() throws {
    let whole = SimulatedClients(Self.newest)
    let first = whole.accept()
    let expected = try whole.send(Self.conversation, on: first)
    #expect(expected.count { $0.kind == .message } == 5, "\(expected)")
    var random = SeededRandom(seed: 1)
    for round in 0..<300 {
      let clients = SimulatedClients(Self.newest)
      let number = clients.accept()
      var rest = Array(Self.conversation.utf8)[...]
      var heard: [Frame] = []
      while !rest.isEmpty {
        let piece = rest.prefix(round == 0 ? 1 : 1 + random.below(200))
        rest.removeFirst(piece.count)
        clients.server.receive(Array(piece), on: number)
        heard += try clients.frames(of: number)
      }
      #expect(heard == expected)
    }
  }

  @Test func `one member of a group gets a message, and all of them some`() throws {
    let clients = SimulatedClients(Self.newest)
    let one = try clients.connect()
    let other = try clients.connect()
    try clients.send("SUB q.* g 1\r\nSUB q.* g 2\r\nSUB q.* g 3\r\nSUB q.> 4\r\n", on: one)
    try clients.send("SUB q.* g 5\r\n", on: other)
    var counts: [String: Int] = [:]
    for _ in 0..<40 {
      let mine = try clients.send("PUB q.a 0\r\n\r\n", on: one)
      let theirs = try clients.frames(of: other)
      let group = (mine + theirs).filter { $0.sid != "4" }
      #expect(group.count == 1)
      #expect(mine.count { $0.sid == "4" } == 1)
      for frame in group { counts[frame.sid, default: 0] += 1 }
    }
    #expect(counts.keys.sorted() == ["1", "2", "3", "5"])
  }

  @Test func `a connection that is gone has no subscriptions`() throws {
    let clients = SimulatedClients(Self.newest)
    let one = try clients.connect()
    let other = try clients.connect()
    try clients.send("SUB in.1 1\r\n", on: one)
    try clients.send("SUB service 1\r\n", on: other)
    #expect(try clients.send(request("service"), on: one).isEmpty)
    clients.server.disconnect(other)
    let answer = try clients.send(request("service"), on: one)
    #expect(answer.map(\.headers) == ["NATS/1.0 503|Nats-Subject: service"])
    #expect(clients.server.openConnections() == [one])
  }

  @Test func `what breaks the protocol ends the connection`() throws {
    for (text, error) in [
      ("FOO\r\n", "'Unknown Protocol Operation'"), ("PUB a b c d\r\n", ""),
      ("PUB a 2000000\r\n", "'Maximum Payload Violation'"),
      ("PUB a 3\r\nabcd\r\n", "'Unknown Protocol Operation'"), ("HPUB a 30 20\r\n", ""),
      ("SUB a b c d\r\n", ""),
    ] {
      let clients = SimulatedClients(Self.newest)
      let number = try clients.connect()
      let frames = try clients.send(text, on: number)
      #expect(frames.map(\.payload) == (error.isEmpty ? [] : [error]), "\(text)")
      #expect(clients.server.isClosedByServer(number), "\(text)")
      #expect(clients.server.takeClosed() == [number], "\(text)")
      #expect(try clients.send("PING\r\n", on: number).isEmpty, "\(text)")
    }
  }

  @Test func `what a user may not do is refused, and the connection stays`() throws {
    let clients = SimulatedClients(Self.newest)
    clients.server.refuses = { _, isPublish, subject in isPublish && subject == "secret" }
    let number = try clients.connect()
    let frames = try clients.send("PUB secret 1\r\nx\r\nPING\r\n", on: number)
    #expect(frames.map(\.kind) == [.error, .pong])
    #expect(frames[0].payload == #"'Permissions Violation for Publish to "secret"'"#)
  }

  @Test func `a stream made again at once is another one`() throws {
    let clients = SimulatedClients(Self.newest)
    func made() throws -> Int64 {
      _ = try clients.model.createStream(StreamConfiguration(name: "T", subjects: ["t"]))
      defer { try? clients.model.deleteStream("T") }
      return try clients.model.stream(named: "T").created
    }
    #expect(try made() < made())
  }

  @Test func `times are written as servers write them`() {
    #expect(Timestamp.text(0) == "1970-01-01T00:00:00Z")
    #expect(Timestamp.text(1_795_948_047_352_090_974) == "2026-11-29T10:27:27.352090974Z")
    #expect(Timestamp.text(951_782_399_100_000_000) == "2000-02-28T23:59:59.1Z")
    #expect(Timestamp.text(951_782_400_000_000_010) == "2000-02-29T00:00:00.00000001Z")
    #expect(Timestamp.text(-1) == "1969-12-31T23:59:59.999999999Z")
  }
}
