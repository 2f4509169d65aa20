import Bytes
import JSON
import JetStream
import NATS
import NIOCore
import SimulatedJetStream
import SimulatedNATS
import TestServers
import Testing

/// Our own client, over a socket, sees what a real server would show it.
@Suite(.timeLimit(.minutes(5))) struct ClientTests {
  static let versions = ["2.15.1", "2.12.8", "2.10.26"]

  private func with(
    _ version: String, _ body: (LoopbackServer, JetStreamClient) async throws -> Void
  ) async throws {
    try await LoopbackServer.with(version) { server in
      let connection = try await server.connect()
      try await body(server, JetStreamClient(connection))
      await connection.close()
    }
  }

  @Test(arguments: versions)
  func `messages between connections`(version: String) async throws {
    try await with(version) { server, jetStream in
      let one = jetStream.connection
      #expect(one.info.version.description == version)
      #expect(one.info.jetstream && one.info.headers)
      let other = try await server.connect()
      let subscription = try await other.subscribe("service.*.>")
      try await other.flush()
      let asked = Task {
        let message = try await subscription.next()
        if let message, let reply = message.reply {
          try await other.publish(reply, headers: message.headers, payload: Array("pong".utf8))
        }
        return message
      }
      let answer = try await one.request(
        "service.a.b", headers: ["A": "b"], payload: Array("ping".utf8))
      #expect(String(buffer: answer.payload) == "pong")
      #expect(answer.headers?["A"] == "b")
      #expect(try await asked.value?.subject == "service.a.b")
      #expect(await failure { try await one.request("nobody.there") }?.code == .noResponders)
      await other.close()
      try await Task.sleep(for: .milliseconds(20))
      #expect(await failure { try await one.request("service.a.b") }?.code == .noResponders)
    }
  }

  @Test(arguments: versions)
  func `streams are made, read and made again`(version: String) async throws {
    try await with(version) { _, jetStream in
      let settings: JSONValue = ["subjects": ["t.>"], "metadata": ["a": "b"]]
      let (made, info) = try await jetStream.ensureStream("T", settings: settings)
      #expect(made == .created)
      #expect(info.leader != nil || info.raw["did_create"]?.boolValue == true)
      let (again, _) = try await jetStream.ensureStream("T", settings: settings)
      #expect(again == .unchanged)
      let ack = try await jetStream.publish(
        "t.a", headers: ["Nats-Msg-Id": "1"], payload: Array("hallo".utf8))
      #expect(ack.stream == "T" && ack.sequence == 1 && !ack.isDuplicate)
      let second = try await jetStream.publish("t.a", headers: ["Nats-Msg-Id": "1"], payload: [])
      #expect(second.sequence == 1 && second.isDuplicate)
      let stored = try #require(try await jetStream.message(in: "T", at: 1))
      #expect(stored.payload == Array("hallo".utf8) && stored.header("Nats-Msg-Id") == "1")
      #expect(stored.time.hasSuffix("Z"))
      let present = try #require(try await jetStream.stream("T"))
      #expect(present.lastAt == stored.time && present.lastSequence == 1 && present.leader == "sim")
      #expect(present.answeredAt ?? "" >= stored.time)
      #expect(try await jetStream.message(in: "T", at: 2) == nil)
      #expect(try await jetStream.nextMessage(in: "T", from: 1)?.sequence == 1)
      #expect(try await jetStream.streams(overlapping: "t.*") == ["T"])
      #expect(try await jetStream.deleteMessage(in: "T", at: 1))
      #expect(try await !jetStream.deleteMessage(in: "T", at: 1))
      _ = try await jetStream.request("STREAM.DELETE.T")
      #expect(try await jetStream.stream("T") == nil)
      let (_, other) = try await jetStream.ensureStream("T", settings: settings)
      #expect(other.created > info.created)
      let account = try await jetStream.request("INFO")
      #expect(account["streams"]?.integer(Int.self) == 1)
      #expect(account["limits"]?["max_streams"]?.integer(Int.self) == -1)
    }
  }

  @Test(arguments: versions)
  func `a bucket's values are written by one of two writers`(version: String) async throws {
    try await with(version) { _, jetStream in
      let bucket = KeyValueBucket(jetStream, name: "state")
      #expect(try await !bucket.exists)
      #expect(try await bucket.get("k") == nil)
      try await bucket.ensure(replicas: 1)
      let first = try await bucket.put("k", [1], expecting: 0)
      do {
        _ = try await bucket.put("k", [2], expecting: 0)
        Issue.record("the second writer won, too")
      } catch let error as JetStreamError {
        #expect(error.code == JetStreamCode.wrongLastSequence)
      }
      let second = try await bucket.put("k", [3], expecting: first)
      let entry = try #require(try await bucket.get("k"))
      #expect(entry.value == [3] && entry.revision == second)
    }
  }

  @Test(arguments: versions, PublishProtocol.allCases)
  func `lanes store everything once and in order`(version: String, mode: PublishProtocol)
    async throws
  {
    guard mode.isKnown(to: version) else { return }
    try await with(version) { _, jetStream in
      var settings: JSONValue = ["subjects": ["t.>"]]
      if PublishProtocol.atomic.isKnown(to: version) { settings["allow_atomic"] = true }
      if PublishProtocol.fast.isKnown(to: version) { settings["allow_batched"] = true }
      _ = try await jetStream.ensureStream("T", settings: settings)
      let count = mode == .single ? 50 : 2500
      try await LaneDriver(jetStream.connection, mode, base: 0, count: count).run()
      let info = try #require(try await jetStream.stream("T"))
      #expect(info.lastSequence == UInt64(count) && info.messages == UInt64(count))
      for sequence in [1, 2, count / 2, count] {
        let message = try #require(try await jetStream.message(in: "T", at: UInt64(sequence)))
        #expect(String(decoding: message.payload, as: UTF8.self) == "{\"n\":\(sequence - 1)}")
      }
      // A lane that believes in the wrong tail stores nothing.
      guard mode != .single else { return }
      do {
        try await LaneDriver(jetStream.connection, mode, base: 3, count: 5, id: "other").run()
        Issue.record("\(mode) went through behind a sequence that is not the last")
      } catch let error as JetStreamError {
        #expect(error.code == JetStreamCode.wrongLastSequence)
      }
    }
  }

  @Test(arguments: versions)
  func `a consumer is pulled from`(version: String) async throws {
    try await with(version) { _, jetStream in
      let connection = jetStream.connection
      _ = try await jetStream.ensureStream("T", settings: ["subjects": ["t.>"]])
      for n in 0..<5 {
        _ = try await jetStream.publish("t.\(n)", headers: ["N": "\(n)"], payload: [UInt8(n)])
      }
      try await jetStream.makeConsumer("d", of: "T", ["ack_policy": "none"])
      #expect(try await jetStream.consumer("d", of: "T")?["durable_name"] == "d")
      #expect(try await jetStream.consumer("e", of: "T") == nil)
      let inbox = connection.newInbox()
      let subscription = try await connection.subscribe(inbox)
      try await connection.publish(
        "$JS.API.CONSUMER.MSG.NEXT.T.d", reply: inbox,
        payload: Array(#"{"batch":7,"expires":200000000}"#.utf8))
      for n in 0..<5 {
        let message = try #require(try await subscription.next())
        #expect(message.subject == "t.\(n)" && message.headers?["N"] == "\(n)")
        #expect(message.reply?.hasPrefix("$JS.ACK.T.d.1.\(n + 1).\(n + 1).") ?? false)
        #expect(message.reply?.hasSuffix(".\(4 - n)") ?? false)
      }
      let end = try #require(try await within { try await subscription.next() })
      #expect(end.headers?.status == 408)
      #expect(end.headers?["Nats-Pending-Messages"] == "2")
    }
  }

  @Test func `a server that is about to stop says so`() async throws {
    try await with("2.15.1") { server, jetStream in
      let announced = jetStream.connection.eventLoop.makePromise(of: Void.self)
      jetStream.connection.onLameDuck { announced.succeed() }
      try await jetStream.connection.flush()
      try await server.change { $0.announceShutdown() }
      try await within { try await announced.futureResult.get() }
    }
  }
}

extension PublishProtocol {
  func isKnown(to version: String) -> Bool {
    let version = NATSVersion(version) ?? NATSVersion(0, 0)
    switch self {
    case .atomic: return version >= NATSVersion(2, 12, 1)
    case .fast: return version >= NATSVersion(2, 14)
    default: return true
    }
  }
}

/// Publishes through a lane, as the pipeline does.
///
/// Sendable invariant: everything is touched on the connection's event loop only.
final class LaneDriver: NATSRawHandler, @unchecked Sendable {
  private let connection: NATSConnection
  private let lane: PublishLane
  private let count: Int
  private let id: String
  private let done: EventLoopPromise<Void>
  private var next = 0

  init(
    _ connection: NATSConnection, _ mode: PublishProtocol, base: UInt64, count: Int,
    id: String = "m"
  ) {
    self.connection = connection
    self.count = count
    self.id = id
    lane = PublishLane(
      LaneOptions(
        stream: "T", mode: mode, exclusive: true, baseSequence: base,
        inbox: connection.newInbox(), batchPrefix: "b\(UInt64.random(in: 0...UInt64.max))",
        window: 100))
    done = connection.eventLoop.makePromise()
  }

  func run() async throws {
    connection.eventLoop.execute {
      _ = self.connection.subscribeRaw("\(self.lane.options.inbox).>", handler: self)
      self.pump()
    }
    try await done.futureResult.get()
  }

  private func pump() {
    while next < count, lane.canSend {
      lane.beginMessage()
      lane.output.append("t.\(next % 7)")
      lane.beginHeaders()
      lane.output.append("Nats-Msg-Id: \(id)\(next)\r\n")
      lane.beginBody()
      lane.output.append("{\"n\":\(next)}")
      lane.endMessage()
      next += 1
    }
    if next == count || lane.waitsForSeal { lane.seal() }
    if lane.mayFlush, lane.output.count > 0 {
      connection.writeRaw(ByteBuffer(bytes: lane.output.bytes))
      lane.output.removeAll()
      connection.flushWrites()
    }
    if lane.acked == UInt64(count) { done.succeed(()) }
  }

  func received(_ message: borrowing NATSMessageView) {
    let inbox = lane.options.inbox.utf8.count + 1
    do {
      _ = try lane.received(
        token: UnsafeRawBufferPointer(rebasing: message.subject[inbox...]),
        headers: message.headers, payload: message.payload, status: message.status)
      pump()
    } catch {
      done.fail(error)
    }
  }
}
