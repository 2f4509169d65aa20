import BSON
import JSON
import JetStream
import NATS
import NIOCore
import Synchronization
import TestServers
import Testing

/// Which protocols a server has.
func modes(_ version: String) -> [PublishProtocol] {
  let number = NATSVersion(version) ?? NATSVersion(0, 0)
  var modes: [PublishProtocol] = [.chain, .single]
  if number >= NATSVersion(2, 12, 1) { modes.append(.atomic) }
  if number >= NATSVersion(2, 14) { modes.append(.fast) }
  return modes
}

/// Publishes through one lane over a real connection: what the pipeline does, without a source.
///
/// Sendable invariant: everything is touched on the connection's event loop only.
final class Driver: NATSRawHandler, @unchecked Sendable {
  let connection: NATSConnection
  let lane: PublishLane
  let inbox: String
  private let count: Int
  private let id: @Sendable (Int) -> String
  private let body: @Sendable (Int) -> [UInt8]
  private var next = 0
  private(set) var duplicates = 0
  /// Messages that the stream's leader was asked for.
  private(set) var leaderReads = 0
  /// Ids that it was asked for.
  private(set) var questions = 0
  private(set) var conflicts: [LaneProgress.Conflict] = []
  /// What was said to be stored last, and where.
  private(set) var lastStored: (message: Int, sequence: UInt64)?
  private var settled = 0
  /// Called once, before the first messages are published, or behind so many of them.
  var beforePublishing: (@Sendable () async throws -> Void)?
  var publishedBefore = 0
  private let done: EventLoopPromise<Void>

  init(
    _ connection: NATSConnection, _ mode: PublishProtocol, base: UInt64, count: Int,
    exclusive: Bool = true, screening: LaneOptions.Screening = .never, judge: DuplicateJudge? = nil,
    direct: Bool = false, known: StoredIDs? = nil, fence: LaneOptions.Fence? = nil,
    body: @escaping @Sendable (Int) -> [UInt8] = { Array("{\"n\":\($0)}".utf8) },
    id: @escaping @Sendable (Int) -> String
  ) {
    self.connection = connection
    self.count = count
    self.id = id
    inbox = "_IN.\(UInt64.random(in: 0...UInt64.max))"
    self.body = body
    var options = LaneOptions(
      stream: "T", mode: mode, exclusive: exclusive, baseSequence: base, inbox: inbox,
      batchPrefix: String(UInt64.random(in: 0...UInt64.max), radix: 36), window: 100,
      screening: screening, judge: judge)
    options.readsDirectly = direct
    options.known = known
    options.fence = fence
    lane = PublishLane(options)
    done = connection.eventLoop.makePromise()
  }

  func run() async throws {
    connection.eventLoop.execute {
      _ = self.connection.subscribeRaw("\(self.inbox).>", handler: self)
      self.pump()
    }
    try await done.futureResult.get()
  }

  func readFromLeader() {
    connection.eventLoop.execute {
      self.lane.readFromLeader()
      self.pump()
    }
  }

  private func pump() {
    while next < count, lane.canSend {
      lane.beginMessage()
      lane.output.append("t.\(next % 7)")
      lane.beginHeaders()
      lane.output.append("Nats-Msg-Id: \(id(next))\r\n")
      lane.beginBody()
      lane.output.append(body(next))
      lane.endMessage()
      next += 1
    }
    if next == count || lane.waitsForSeal { lane.seal() }
    if lane.mayFlush, lane.output.count > 0 {
      leaderReads += lines(of: lane.output.bytes, "PUB $JS.API.STREAM.MSG.GET.")
      questions += lines(of: lane.output.bytes, "Nats-Expected-Last-Msg-Id: .tailrace.no-such-id")
      let bytes = ByteBuffer(bytes: lane.output.bytes)
      lane.output.removeAll()
      if let action = beforePublishing, String(buffer: bytes).contains("{\"n\":") {
        beforePublishing = nil
        var rest = bytes
        if let first = rest.readSlice(length: length(of: publishedBefore, in: bytes)) {
          write(first)
        }
        let others = rest
        let acted = connection.eventLoop.makeFutureWithTask { try await action() }
        acted.whenSuccess { self.write(others) }
        acted.whenFailure { self.done.fail($0) }
        return
      }
      write(bytes)
    }
    if lane.acked == UInt64(count) { done.succeed(()) }
  }

  private func lines(of bytes: UnsafeRawBufferPointer, _ beginning: String) -> Int {
    let text = String(decoding: bytes, as: UTF8.self)
    return text.split(separator: "\r\n").count { $0.hasPrefix(beginning) }
  }

  private func length(of messages: Int, in bytes: ByteBuffer) -> Int {
    let places = bytes.readableBytesView.indices.filter {
      bytes.readableBytesView[$0...].starts(with: "HPUB ".utf8)
    }
    return messages < places.count ? places[messages] : bytes.readableBytes
  }

  private func write(_ bytes: ByteBuffer) {
    connection.writeRaw(bytes)
    connection.flushWrites()
  }

  func received(_ message: borrowing NATSMessageView) {
    let token = UnsafeRawBufferPointer(rebasing: message.subject[(inbox.utf8.count + 1)...])
    do {
      let progress = try lane.received(
        token: token, headers: message.headers, payload: message.payload, status: message.status)
      if let last = progress.lastStored { lastStored = (settled + last, progress.sequence) }
      settled += progress.acked
      duplicates += progress.duplicates
      conflicts += progress.conflicts
      if conflicts.isEmpty { pump() } else { done.succeed(()) }
    } catch {
      done.fail(error)
    }
  }
}

@Suite struct LaneServerTests {
  func prepare(_ jetStream: JetStreamClient, _ version: String) async throws {
    var settings: JSONValue = ["subjects": ["t.>"], "storage": "file"]
    if modes(version).contains(.atomic) { settings["allow_atomic"] = true }
    if modes(version).contains(.fast) { settings["allow_batched"] = true }
    _ = try await jetStream.ensureStream("T", settings: settings)
  }

  private func bodies(_ jetStream: JetStreamClient, _ range: ClosedRange<UInt64>) async throws
    -> [String]
  {
    var all: [String] = []
    for sequence in range {
      let message = try #require(try await jetStream.message(in: "T", at: sequence))
      all.append(String(decoding: message.payload, as: UTF8.self))
    }
    return all
  }

  @Test(arguments: ServerBinary.available)
  func `every protocol stores everything once and in order`(version: String) async throws {
    try await withJetStream(version) { jetStream in
      try await prepare(jetStream, version)
      var base: UInt64 = 0
      for mode in modes(version) {
        let count = mode == .single ? 50 : 2500
        let driver = Driver(jetStream.connection, mode, base: base, count: count) {
          "\(mode)-\($0)"
        }
        try await driver.run()
        let info = try #require(try await jetStream.stream("T"))
        #expect(info.lastSequence == base + UInt64(count), "\(mode)")
        #expect(driver.lane.lastSequence == info.lastSequence)
        let sample = (base + 1)...(base + 50)
        #expect(try await bodies(jetStream, sample) == (0..<50).map { "{\"n\":\($0)}" })
        let end = try #require(try await jetStream.message(in: "T", at: info.lastSequence))
        #expect(String(decoding: end.payload, as: UTF8.self) == "{\"n\":\(count - 1)}")
        base = info.lastSequence
      }
    }
  }

  @Test(arguments: ServerBinary.available)
  func `a lane that believes in the wrong tail stores nothing`(version: String) async throws {
    try await withJetStream(version) { jetStream in
      try await prepare(jetStream, version)
      try await Driver(jetStream.connection, .chain, base: 0, count: 5) { "a\($0)" }.run()
      for mode in modes(version) {
        let driver = Driver(jetStream.connection, mode, base: 3, count: 5) { "\(mode)\($0)" }
        do {
          try await driver.run()
          Issue.record("\(mode) went through behind sequence 3 of 5")
        } catch let error as JetStreamError {
          #expect(error.code == JetStreamCode.wrongLastSequence, "\(mode)")
          #expect(error.remedy == .reread)
        }
        #expect(try await jetStream.stream("T")?.lastSequence == 5, "\(mode)")
      }
    }
  }

  @Test(arguments: ServerBinary.available)
  func `ids the stream holds are counted as duplicates and not stored again`(version: String)
    async throws
  {
    try await withJetStream(version) { jetStream in
      try await prepare(jetStream, version)
      try await Driver(jetStream.connection, .chain, base: 0, count: 5) { "a\($0)" }.run()
      let single = Driver(jetStream.connection, .single, base: 5, count: 8) { "a\($0)" }
      try await single.run()
      #expect(single.duplicates == 5)
      #expect(try await jetStream.stream("T")?.lastSequence == 8)
      if modes(version).contains(.fast) {
        do {
          try await Driver(jetStream.connection, .fast, base: 8, count: 10) { "a\($0)" }.run()
          Issue.record("a batch that skipped known ids was taken for stored")
        } catch let error as JetStreamError {
          #expect(error.meansDuplicate)
        }
        // Behind a duplicate, which is skipped, the next one expects a wrong sequence.
        #expect(try await jetStream.stream("T")?.lastSequence == 8)
        let fast = Driver(
          jetStream.connection, .fast, base: 8, count: 10, screening: .whileNeeded
        ) { "a\($0 < 8 ? $0 : $0 + 2)" }
        try await fast.run()
        #expect(fast.duplicates == 8)
        #expect(try await jetStream.stream("T")?.lastSequence == 10)
      }
      if modes(version).contains(.atomic) {
        let last = try #require(try await jetStream.stream("T")).lastSequence
        let atomic = Driver(jetStream.connection, .atomic, base: last, count: 12) { "a\($0)" }
        do {
          try await atomic.run()
          Issue.record("a batch with known ids was stored")
        } catch let error as JetStreamError {
          #expect(error.code == 10201)
          #expect(error.meansDuplicate)
        }
        #expect(try await jetStream.stream("T")?.lastSequence == last)
      }
    }
  }

  /// Every protocol on a real server, with any share of ids that a producer has stored before.
  @Test(arguments: ServerBinary.available)
  func `ids are looked up, and what is lacking is stored in order`(version: String) async throws {
    try await withJetStream(version) { jetStream in
      try await prepare(jetStream, version)
      let count = 450
      let shares: [(String, (Int) -> Bool)] = [
        ("none", { _ in false }), ("the first", { $0 == 0 }), ("the last", { $0 == count - 1 }),
        ("a run", { 100..<350 ~= $0 }), ("every other", { $0 % 2 == 0 }), ("all", { _ in true }),
      ]
      for mode in modes(version) {
        for exclusive in [true, false] where exclusive || mode != .chain {
          for (share, isStored) in shares {
            let tag = "\(mode)-\(exclusive)-\(share.filter { $0 != " " })"
            for n in 0..<count where isStored(n) {
              try await jetStream.connection.publish(
                "t.producer", headers: ["Nats-Msg-Id": "\(tag)-\(n)"], payload: Array("p".utf8))
            }
            try await jetStream.connection.flush()
            var base: UInt64 = 0
            let stored = (0..<count).count { isStored($0) }
            let before = try #require(try await jetStream.stream("T")).lastSequence
            // The producer's messages are taken in their order, but not at once.
            if stored > 0 {
              let last = (0..<count).last { isStored($0) } ?? 0
              _ = try await jetStream.connection.request(
                "t.producer", headers: ["Nats-Msg-Id": "\(tag)-\(last)"], payload: [])
            }
            base = try #require(try await jetStream.stream("T")).lastSequence
            #expect(base >= before)
            let driver = Driver(
              jetStream.connection, mode, base: base, count: count, exclusive: exclusive,
              screening: .whileNeeded
            ) { "\(tag)-\($0)" }
            try await driver.run()
            #expect(driver.duplicates == stored, "\(tag)")
            let end = try #require(try await jetStream.stream("T")).lastSequence
            #expect(end == base + UInt64(count - stored), "\(tag)")
            let lacking = (0..<count).filter { !isStored($0) }
            #expect(driver.lastStored?.message == lacking.last, "\(tag)")
            guard let last = driver.lastStored else { continue }
            #expect(last.sequence == end, "\(tag)")
            let sample = try await bodies(jetStream, (base + 1)...min(end, base + 20))
            #expect(sample == lacking.prefix(20).map { "{\"n\":\($0)}" }, "\(tag)")
          }
        }
      }
    }
  }

  @Test(arguments: ServerBinary.available)
  func `an original is read from the stream and compared`(version: String) async throws {
    try await withJetStream(version) { jetStream in
      try await prepare(jetStream, version)
      try await Driver(jetStream.connection, .chain, base: 0, count: 400) { "a\($0)" }.run()
      let judge = DuplicateJudge(
        difference: { message, original in
          original?.payload == message.payload
            ? nil : "sequence \(original?.sequence ?? 0) is another"
        })
      for mode in modes(version) {
        let same = Driver(
          jetStream.connection, mode, base: 400, count: 400, screening: .always, judge: judge
        ) { "a\($0)" }
        try await same.run()
        #expect(same.duplicates == 400 && same.lastStored == nil, "\(mode)")
        let other = Driver(
          jetStream.connection, mode, base: 400, count: 3, screening: .always, judge: judge
        ) { $0 == 2 ? "a7" : "\(mode)\($0)" }
        try await other.run()
        #expect(other.conflicts.map(\.offset) == [2], "\(mode)")
        #expect(other.conflicts.map(\.detail) == ["sequence 8 is another"], "\(mode)")
        #expect(try await jetStream.stream("T")?.lastSequence == 400, "\(mode)")
      }
    }
  }

  /// Between the question for the ids and the publish somebody else takes some: the same as if they had been
  /// first, wherever their messages come to stand.
  @Test(arguments: ServerBinary.available)
  func `who takes an id behind the look-up is judged as who had it before`(version: String)
    async throws
  {
    try await withJetStream(version) { jetStream in
      try await prepare(jetStream, version)
      let judge = DuplicateJudge(
        difference: { message, original in
          original?.payload == message.payload ? nil : "it is another"
        })
      for mode in modes(version) where mode != .chain {
        for taken in [[1], [0], [4], [0, 1, 2, 3, 4], [450], [2, 650]] {
          for isSame in [true, false] {
            let count = taken.contains { $0 > 5 } ? (mode == .single ? 5 : 700) : 5
            let tag = "\(mode)-\(taken)-\(isSame)".filter { $0 != " " }
            let base = try #require(try await jetStream.stream("T")).lastSequence
            let driver = Driver(
              jetStream.connection, mode, base: base, count: count, exclusive: false,
              screening: .always, judge: judge
            ) { "\(tag)-\($0)" }
            let numbers = taken.filter { $0 < count }
            driver.beforePublishing = {
              for n in numbers {
                _ = try await jetStream.connection.request(
                  "t.producer", headers: ["By": "producer", "Nats-Msg-Id": "\(tag)-\(n)"],
                  payload: Array(isSame ? "{\"n\":\(n)}".utf8 : "another".utf8))
              }
            }
            try await driver.run()
            if isSame {
              #expect(driver.duplicates == numbers.count && driver.conflicts.isEmpty, "\(tag)")
              let end = try #require(try await jetStream.stream("T")).lastSequence
              #expect(end == base + UInt64(count), "\(tag)")
            } else {
              #expect(driver.conflicts.map(\.offset) == numbers, "\(tag)")
            }
          }
        }
      }
    }
  }

  /// Within a batch on an exclusive stream somebody else takes the id of one of its messages: nothing is stored
  /// behind the foreign message, unless it is where the skipped one would be; and the two are compared.
  @Test(arguments: ServerBinary.available)
  func `an id taken within a batch on an exclusive stream is compared`(version: String)
    async throws
  {
    try await withJetStream(version) { jetStream in
      try await prepare(jetStream, version)
      let judge = DuplicateJudge(
        difference: { message, original in
          original?.payload == message.payload ? nil : "it is another"
        })
      guard modes(version).contains(.fast) else { return }
      for (count, before, taken) in [(5, 1, 1), (5, 1, 3), (5, 3, 4), (700, 200, 390)] {
        for isSame in [true, false] {
          let tag = "\(count)-\(before)-\(taken)-\(isSame)"
          let base = try #require(try await jetStream.stream("T")).lastSequence
          func driver(behind base: UInt64) -> Driver {
            Driver(
              jetStream.connection, .fast, base: base, count: count, screening: .always,
              judge: judge
            ) { "\(tag)-\($0)" }
          }
          let first = driver(behind: base)
          first.publishedBefore = before
          first.beforePublishing = {
            _ = try await jetStream.connection.request(
              "t.foreign", headers: ["By": "another", "Nats-Msg-Id": "\(tag)-\(taken)"],
              payload: Array(isSame ? "{\"n\":\(taken)}".utf8 : "another".utf8))
          }
          do {
            try await first.run()
            #expect(taken == before, "a foreign message in a batch was not noticed: \(tag)")
            #expect(first.conflicts.map(\.offset) == (isSame ? [] : [taken]), "\(tag)")
            #expect(!isSame || first.duplicates == 1, "\(tag)")
            continue
          } catch let error as JetStreamError {
            #expect(error.meansDuplicate, "\(error)")
          }
          let end = try #require(try await jetStream.stream("T")).lastSequence
          #expect(end == base + UInt64(before) + 1, "\(tag)")
          let second = driver(behind: end)
          try await second.run()
          #expect(second.conflicts.map(\.offset) == (isSame ? [] : [taken]), "\(tag)")
          guard isSame else { continue }
          #expect(second.duplicates == before + 1, "\(tag)")
          #expect(
            try await jetStream.stream("T")?.lastSequence == base + UInt64(count), "\(tag)")
        }
      }
    }
  }

  /// A publisher is frozen in the middle of what it sends, another one continues, and the first one wakes: nothing
  /// it sends is stored, by any protocol, although the server still knows its batch.
  @Test(arguments: ServerBinary.available)
  func `a publisher that wakes behind its successor stores nothing`(version: String) async throws {
    try await withJetStream(version) { jetStream in
      try await prepare(jetStream, version)
      let connection = jetStream.connection
      for mode in modes(version) where mode != .single {
        for before in [1, 3, 60] {
          let base = try #require(try await jetStream.stream("T")).lastSequence
          let tag = "\(mode)-\(before)"
          let lane = PublishLane(
            LaneOptions(
              stream: "T", mode: mode, exclusive: true, baseSequence: base, inbox: "_IN.z",
              batchPrefix: "z\(base)"))
          var first = 0
          for n in 0..<80 {
            lane.beginMessage()
            lane.output.append("t.\(n % 7)")
            lane.beginHeaders()
            lane.output.append("Nats-Msg-Id: \(tag)-z\(n)\r\n")
            lane.beginBody()
            lane.output.append("{}")
            lane.endMessage()
            if n == before - 1 { first = lane.output.count }
          }
          lane.seal()
          let bytes = Array(lane.output.bytes)
          let cut = first
          connection.eventLoop.execute {
            connection.writeRaw(ByteBuffer(bytes: bytes[..<cut]))
            connection.flushWrites()
          }
          try await connection.flush()
          var end = base + (mode == .atomic ? 0 : UInt64(before))
          for _ in 0..<1000 {
            if try await jetStream.stream("T")?.lastSequence == end { break }
            try await Task.sleep(for: .milliseconds(5))
          }
          // Both have ids of their own, so that the dedup window is no help.
          for n in 0..<5 {
            _ = try await connection.request(
              "t.successor", headers: ["Nats-Msg-Id": "\(tag)-s\(n)"], payload: [48])
          }
          end += 5
          connection.eventLoop.execute {
            connection.writeRaw(ByteBuffer(bytes: bytes[cut...]))
            connection.flushWrites()
          }
          try await connection.flush()
          // Behind all that was written before.
          let last = try await connection.request("t.last", payload: [48])
          #expect(String(buffer: last.payload).contains("\(end + 1)"), "\(tag)")
          #expect(try await jetStream.stream("T")?.lastSequence == end + 1, "\(tag)")
        }
      }
    }
  }

  @Test func `a batch on a stream without the flag is refused with its own code`() async throws {
    try await withJetStream(ServerBinary.newest) { jetStream in
      _ = try await jetStream.ensureStream("T", settings: ["subjects": ["t.>"], "storage": "file"])
      for (mode, code) in [(PublishProtocol.atomic, 10174), (.fast, 10205)] {
        do {
          try await Driver(jetStream.connection, mode, base: 0, count: 5) { "a\($0)" }.run()
          Issue.record("\(mode) was accepted")
        } catch let error as JetStreamError {
          #expect(error.code == code)
        }
      }
    }
  }

  @Test func `a stream that is full says so and is not skipped`() async throws {
    try await withJetStream(ServerBinary.newest) { jetStream in
      _ = try await jetStream.ensureStream(
        "T",
        settings: ["subjects": ["t.>"], "storage": "file", "max_msgs": 3, "discard": "new"])
      do {
        try await Driver(jetStream.connection, .chain, base: 0, count: 5) { "a\($0)" }.run()
        Issue.record("five messages in a stream of three")
      } catch let error as JetStreamError {
        #expect(error.remedy != .rejectMessage)
      }
      #expect(try await jetStream.stream("T")?.lastSequence == 3)
    }
  }
}

extension LaneServerTests {
  /// A foreign message in the middle of a pipeline makes the expected sequences fit again one
  /// message later. Whatever the server then takes must be a prefix of ours.
  @Test(arguments: ServerBinary.available)
  func `a foreign message in the pipeline never leaves a gap`(version: String) async throws {
    try await withJetStream(version) { jetStream in
      try await prepare(jetStream, version)
      for mode in modes(version) {
        let base = try #require(try await jetStream.stream("T")).lastSequence
        let driver = Driver(jetStream.connection, mode, base: base, count: 3000) { "\(mode)-\($0)" }
        async let foreign: Void = {
          for n in 0..<3 {
            try await Task.sleep(for: .milliseconds(3))
            _ = try? await jetStream.connection.request("t.foreign", payload: Array("f\(n)".utf8))
          }
        }()
        // It ends well or is refused; both are right.
        try? await driver.run()
        try await foreign
        try await jetStream.connection.flush()
        let last = try #require(try await jetStream.stream("T")).lastSequence
        var next = 0
        for sequence in (base + 1)...max(last, base + 1) where sequence <= last {
          let message = try #require(try await jetStream.message(in: "T", at: sequence))
          if message.subject == "t.foreign" { continue }
          #expect(String(decoding: message.payload, as: UTF8.self) == "{\"n\":\(next)}", "\(mode)")
          next += 1
        }
      }
    }
  }
}
