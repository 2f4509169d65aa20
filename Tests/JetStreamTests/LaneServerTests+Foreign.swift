import BSON
import JetStream
import NATS
import NIOCore
import TestServers
import Testing

/// Others publish to the stream while a lane does.
extension LaneServerTests {
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
