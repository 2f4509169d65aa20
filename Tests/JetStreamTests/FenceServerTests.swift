import Bytes
import JSON
import JetStream
import NATS
import NIOCore
import TestServers
import Testing

/// What the servers make of a fence on a stream that others publish to as well.
@Suite struct FenceServerTests {
  /// Those that can check another subject's sequence.
  static let versions = ["2.11.11", "2.12.8", "2.15.1"].filter { ServerBinary.path($0) != nil }

  private func prepare(_ jetStream: JetStreamClient, _ version: String) async throws {
    var settings: JSONValue = ["subjects": ["t.>", "fence.*"], "storage": "file"]
    if modes(version).contains(.atomic) { settings["allow_atomic"] = true }
    if modes(version).contains(.fast) { settings["allow_batched"] = true }
    _ = try await jetStream.ensureStream("T", settings: settings)
  }

  private func lane(_ mode: PublishProtocol, _ tag: String, _ fence: UInt64) -> PublishLane {
    var options = LaneOptions(
      stream: "T", mode: mode, exclusive: false, baseSequence: 0, inbox: "_IN.f",
      batchPrefix: "f\(tag)")
    options.fence = LaneOptions.Fence(subject: "fence.b", sequence: fence)
    return PublishLane(options)
  }

  /// - Returns: all protocol lines, and where the one behind message `before` begins.
  private func lines(
    _ lane: PublishLane, _ tag: String, count: Int, cutBehind before: Int
  ) -> (bytes: [UInt8], cut: Int) {
    var cut = 0
    for n in 0..<count {
      lane.beginMessage()
      lane.output.append("t.\(n % 7)")
      lane.beginHeaders()
      lane.output.append("Nats-Msg-Id: \(tag)-\(n)\r\n")
      lane.beginBody()
      lane.output.append("{}")
      lane.endMessage()
      if n == before - 1 { cut = lane.output.count }
    }
    lane.seal()
    return (Array(lane.output.bytes), cut)
  }

  private func write(_ bytes: ArraySlice<UInt8>, on connection: NATSConnection) async throws {
    connection.eventLoop.execute {
      connection.writeRaw(ByteBuffer(bytes: bytes))
      connection.flushWrites()
    }
    try await connection.flush()
  }

  /// Once everything that was written before is handled.
  private func count(of tag: String, _ jetStream: JetStreamClient) async throws -> Int {
    _ = try await jetStream.connection.request("t.last", payload: [48])
    let last = try #require(try await jetStream.stream("T")).lastSequence
    var count = 0
    for sequence in 1...last {
      guard let message = try await jetStream.message(in: "T", at: sequence) else { continue }
      if message.header("Nats-Msg-Id")?.hasPrefix("\(tag)-") ?? false { count += 1 }
    }
    return count
  }

  @Test(arguments: versions)
  func `a publisher that wakes behind a moved fence stores nothing among others' messages`(
    version: String
  ) async throws {
    try await withJetStream(version) { jetStream in
      try await prepare(jetStream, version)
      let connection = jetStream.connection
      var fence: UInt64 = 0
      // The first rounds assert that there is no fence at all.
      for mode in modes(version) where mode != .chain {
        for before in [1, 3, 60] {
          let tag = "\(mode)-\(before)"
          let lane = lane(mode, tag, fence)
          let isSingle = mode == .single
          let (bytes, cut) = lines(lane, tag, count: isSingle ? 1 : 80, cutBehind: before)
          let first = isSingle ? 0 : cut
          try await write(bytes[..<first], on: connection)
          let moved = try await jetStream.publish(
            "fence.b", headers: ["Nats-Expected-Last-Subject-Sequence": "\(fence)"], payload: [48])
          fence = moved.sequence
          _ = try await connection.request("t.other", payload: [48])
          try await write(bytes[first...], on: connection)
          let stored = mode == .fast ? before : 0
          #expect(try await count(of: tag, jetStream) == stored, "\(tag)")
        }
      }
    }
  }

  @Test(arguments: versions)
  func `while the fence is where it was, everything is stored beside another publisher`(
    version: String
  ) async throws {
    try await withJetStream(version) { jetStream in
      try await prepare(jetStream, version)
      let connection = jetStream.connection
      for fence in [false, true] {
        var sequence: UInt64 = 0
        if fence {
          sequence = try await jetStream.publish("fence.b", headers: [:], payload: [48]).sequence
        }
        for mode in modes(version) where mode != .chain {
          let tag = "\(mode)-\(fence)"
          let lane = lane(mode, tag, sequence)
          let isSingle = mode == .single
          let (bytes, cut) = lines(lane, tag, count: isSingle ? 1 : 80, cutBehind: 40)
          try await write(bytes[..<cut], on: connection)
          for _ in 0..<5 { _ = try await connection.request("t.other", payload: [48]) }
          try await write(bytes[cut...], on: connection)
          #expect(try await count(of: tag, jetStream) == (isSingle ? 1 : 80), "\(tag)")
        }
      }
    }
  }

  @Test func `a lane reports a moved fence as such`() async throws {
    try await withJetStream(ServerBinary.newest) { jetStream in
      try await prepare(jetStream, ServerBinary.newest)
      _ = try await jetStream.publish("fence.b", headers: [:], payload: [48])
      for mode in [PublishProtocol.single, .atomic, .fast] {
        let driver = Driver(
          jetStream.connection, mode, base: 0, count: 3, exclusive: false,
          fence: LaneOptions.Fence(subject: "fence.b", sequence: 7)
        ) { "\(mode)-\($0)" }
        let error = await #expect(throws: JetStreamError.self) { try await driver.run() }
        #expect(error?.meansFenceMoved == true, "\(mode): \(String(describing: error))")
      }
    }
  }
}
