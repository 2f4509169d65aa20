import JSON
import JetStream
import NATS
import TestServers
import Testing

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
