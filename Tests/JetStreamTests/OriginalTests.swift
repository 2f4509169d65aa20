import JSON
import JetStream
import NATS
import Synchronization
import TestServers
import Testing

@Suite struct OriginalTests {
  /// Events 0, 1, 2 … stored by an earlier run, and a lane that is about to publish them again.
  private func repeated(
    _ count: Int, _ mode: PublishProtocol = .atomic, _ change: (inout FakeStream) -> Void = { _ in }
  ) throws -> (FakeStream, PublishLane) {
    var stream = FakeStream(isReplicated: true, sequenceFirst: false)
    for n in 0..<count {
      stream.produce("m\(n)")
      stream.stored[n].headers.append("Event: \(n)")
    }
    change(&stream)
    let lane = screeningLane(
      mode, base: stream.last, replicated: true, judge: eventJudge, direct: true)
    for n in 0..<count { send(lane, "m\(n)", event: n) }
    lane.seal()
    return (stream, lane)
  }

  @Test(arguments: PublishProtocol.allCases)
  func `originals are read directly, and the leader is left alone`(mode: PublishProtocol) throws {
    var (stream, lane) = try repeated(700, mode)
    let progress = try settle(lane, &stream)
    #expect(progress.duplicates == 700)
    #expect(stream.directReads == 700)
    #expect(stream.leaderReads == 0)
  }

  @Test func `another event is found by a direct read`() throws {
    var (stream, lane) = try repeated(20) { $0.stored[7].headers[1] = "Event: 99" }
    let progress = try settle(lane, &stream)
    #expect(progress.conflicts.map(\.offset) == [7])
    #expect(progress.conflicts.map(\.detail) == ["it is event 99"])
    #expect(stream.leaderReads == 0)
  }

  @Test func `what a follower lacks is asked of the leader`() throws {
    var (stream, lane) = try repeated(600) { stream in
      for sequence in 501...600 { stream.elsewhere[UInt64(sequence)] = .some(nil) }
      // One of those that the follower lacks is another event.
      stream.stored[599].headers[1] = "Event: 1"
    }
    let progress = try settle(lane, &stream)
    #expect(progress.conflicts.map(\.offset) == [599])
    #expect(stream.directReads == 600)
    #expect(stream.leaderReads == 100)
  }

  /// A mirror of an earlier stream of the same name has other messages at these sequences.
  @Test(arguments: [
    FakeStream.Stored(id: "other", headers: ["Nats-Msg-Id: other", "Event: 3"], body: "old"),
    FakeStream.Stored(id: "m3", headers: [], body: "no headers"),
    FakeStream.Stored(id: "m3", headers: ["nats-msg-id: m3", "Event: 3"], body: "another case"),
  ])
  func `a message without the id is asked of the leader`(message: FakeStream.Stored) throws {
    var (stream, lane) = try repeated(5) {
      $0.elsewhere[4] = message
      $0.stored[3].headers[1] = "Event: 8"
    }
    let progress = try settle(lane, &stream)
    #expect(progress.conflicts.map(\.detail) == ["it is event 8"])
    #expect(stream.leaderReads == 1)
  }

  @Test func `an answer from another stream is asked of the leader`() throws {
    var (stream, lane) = try repeated(5) { $0.name = "MIRROR" }
    #expect(try settle(lane, &stream).duplicates == 5)
    #expect(stream.leaderReads == 5)
  }

  @Test func `nobody serves direct reads any more`() throws {
    var (stream, lane) = try repeated(1000) { $0.direct = .nobody }
    #expect(try settle(lane, &stream).duplicates == 1000)
    #expect(stream.directReads == 512)
    #expect(stream.leaderReads == 1000)
    // And it is not tried again.
    for n in 0..<10 { send(lane, "m\(n)", event: n) }
    lane.seal()
    #expect(try settle(lane, &stream).duplicates == 10)
    #expect(stream.directReads == 512)
  }

  @Test
  func `what is never answered is asked of the leader, and answers that come late are ignored`()
    throws
  {
    var (stream, lane) = try repeated(1000) { $0.direct = .unanswered }
    #expect(try settle(lane, &stream).acked == 0)
    #expect(lane.awaitsDirectReads)
    lane.readFromLeader()
    #expect(!lane.awaitsDirectReads)
    let late = "NATS/1.0\r\nNats-Msg-Id: m3\r\nEvent: 9\r\n\r\n"
    #expect(try ack(lane, "d3", "late", headers: late) == LaneProgress(acked: 0, duplicates: 0))
    #expect(try settle(lane, &stream).duplicates == 1000)
    #expect(stream.leaderReads == 1000)
    #expect(
      try ack(lane, "d999", "", headers: "NATS/1.0 404 No\r\n\r\n", status: 404)
        == LaneProgress(acked: 0, duplicates: 0))
  }

  @Test func `headers of the same names in the message itself are its own`() throws {
    var (stream, lane) = try repeated(3) { stream in
      for n in 0..<3 {
        stream.stored[n].headers += [
          "Nats-Stream: SOURCE", "Nats-Sequence: 4711", "Nats-Subject: x", "Nats-Time-Stamp: y",
        ]
      }
    }
    #expect(try settle(lane, &stream).duplicates == 3)
    #expect(stream.leaderReads == 0)
  }
}

// MARK: - By real servers

extension OriginalTests {
  /// What a judge was given.
  private final class Seen: Sendable {
    let originals = Mutex<[DuplicateJudge.Content?]>([])

    var judge: DuplicateJudge {
      DuplicateJudge { message, original in
        self.originals.withLock { $0.append(original) }
        return original?.payload == message.payload ? nil : "another"
      }
    }
  }

  private func prepare(
    _ jetStream: JetStreamClient, _ version: String, _ changes: JSONValue = ["allow_direct": true]
  ) async throws {
    var settings: JSONValue = ["subjects": ["t.>"], "storage": "file"]
    if modes(version).contains(.atomic) { settings["allow_atomic"] = true }
    if modes(version).contains(.fast) { settings["allow_batched"] = true }
    _ = try await jetStream.ensureStream("T", settings: settings.merging(changes).0)
  }

  /// Binary, and of any size.
  private static func body(_ n: Int) -> [UInt8] {
    (0..<(n % 7 == 0 ? 100_000 : n)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ n) }
  }

  @Test(arguments: ServerBinary.available)
  func `binary bodies of any size are compared, wherever they stand`(version: String) async throws {
    try await withJetStream(version) { jetStream in
      try await prepare(jetStream, version)
      // Between them stand others', and some that were deleted.
      for n in 0..<60 {
        for other in 0..<(n % 3) {
          _ = try await jetStream.publish("t.other", headers: [:], payload: [UInt8(other)])
        }
        _ = try await jetStream.publish(
          "t.a", headers: ["Nats-Msg-Id": "a\(n)", "Of": "a producer"], payload: Self.body(n))
      }
      let info = try #require(try await jetStream.stream("T"))
      for sequence in stride(from: UInt64(2), through: info.lastSequence, by: 5) {
        let message = try #require(try await jetStream.message(in: "T", at: sequence))
        if message.header("Nats-Msg-Id") == nil {
          #expect(try await jetStream.deleteMessage(in: "T", at: sequence))
        }
      }
      for mode in modes(version) {
        let seen = Seen()
        let driver = Driver(
          jetStream.connection, mode, base: info.lastSequence, count: 60, screening: .always,
          judge: seen.judge, direct: true, body: Self.body
        ) { "a\($0)" }
        try await driver.run()
        #expect(driver.duplicates == 60 && driver.conflicts.isEmpty, "\(mode)")
        #expect(driver.leaderReads == 0, "\(mode)")
        let headers = seen.originals.withLock { $0.map { $0?.headers ?? [] } }
        // What the server adds is not the message's.
        #expect(
          headers.allSatisfy { !String(decoding: $0, as: UTF8.self).contains("Nats-Stream") })
        let other = Driver(
          jetStream.connection, mode, base: info.lastSequence, count: 60, screening: .always,
          judge: seen.judge, direct: true, body: { Self.body($0 == 14 ? 21 : $0) }
        ) { "a\($0)" }
        try await other.run()
        #expect(other.conflicts.map(\.offset) == [14], "\(mode)")
        #expect(try await jetStream.stream("T")?.lastSequence == info.lastSequence, "\(mode)")
      }
    }
  }

  @Test(arguments: ServerBinary.available)
  func `an original that was deleted is none`(version: String) async throws {
    try await withJetStream(version) { jetStream in
      try await prepare(jetStream, version)
      try await Driver(jetStream.connection, .chain, base: 0, count: 9) { "a\($0)" }.run()
      #expect(try await jetStream.deleteMessage(in: "T", at: 4))
      let seen = Seen()
      let driver = Driver(
        jetStream.connection, .single, base: 9, count: 9, screening: .always, judge: seen.judge,
        direct: true
      ) { "a\($0)" }
      try await driver.run()
      #expect(seen.originals.withLock { $0.count { $0 == nil } } == 1)
      #expect(driver.conflicts.map(\.offset) == [3])
      #expect(driver.leaderReads == 1)
    }
  }

  @Test(arguments: ServerBinary.available)
  func `requests for what the stream does not allow are not answered, and the leader is asked`(
    version: String
  ) async throws {
    try await withJetStream(version) { jetStream in
      try await prepare(jetStream, version, ["allow_direct": false])
      try await Driver(jetStream.connection, .chain, base: 0, count: 700) { "a\($0)" }.run()
      let seen = Seen()
      let driver = Driver(
        jetStream.connection, .single, base: 700, count: 700, screening: .always, judge: seen.judge,
        direct: true
      ) { "a\($0)" }
      async let run: Void = driver.run()
      try await Task.sleep(for: .milliseconds(300))
      driver.readFromLeader()
      try await run
      #expect(driver.duplicates == 700)
      #expect(driver.leaderReads == 700)
    }
  }
}
