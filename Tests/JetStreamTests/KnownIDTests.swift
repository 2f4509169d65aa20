import JSON
import JetStream
import NATS
import NIOCore
import TestServers
import Testing

/// A lane that was told what its stream holds.
@Suite struct KnownIDTests {
  private func known(
    _ jetStream: JetStreamClient, through last: UInt64, expired: (UInt64) -> Bool = { _ in false }
  ) async throws -> StoredIDs {
    var known = StoredIDs()
    for sequence in 1...last {
      let message = try #require(try await jetStream.message(in: "T", at: sequence))
      let id = try #require(message.headers.first { $0.name == "Nats-Msg-Id" }).value
      Array(id.utf8).withUnsafeBytes {
        known.add(
          $0,
          StoredIDs.Message(
            sequence: sequence,
            expires: expired(sequence) ? .now() - .seconds(1) : .now() + .hours(1),
            mark: sequence % 5 == 0 ? StoredIDs.unclear : 100 + sequence))
      }
    }
    return known
  }

  /// Each message's mark is its number and 101, where it was published as it was found.
  private var marks: DuplicateJudge {
    DuplicateJudge(
      difference: { message, original in
        original?.payload == message.payload ? nil : "it is another"
      },
      mark: { headers in
        let line = String(decoding: headers, as: UTF8.self)
        let number = line.split(separator: "a").last?.filter(\.isNumber) ?? ""
        return 101 + (UInt64(number) ?? 0)
      })
  }

  /// What was found before is not asked for, nor is what was not; and it may be wrong.
  @Test(arguments: ServerBinary.available)
  func `what is known of a stream is checked, not asked for`(version: String) async throws {
    // A chain has no other producers.
    for mode in modes(version) where PublishLane.takesKnownIDs(mode) && mode != .chain {
      try await withJetStream(version) { jetStream in
        try await LaneServerTests().prepare(jetStream, version)
        try await Driver(jetStream.connection, .chain, base: 0, count: 300) { "a\($0)" }.run()
        let found = try await known(jetStream, through: 300) { $0 % 50 == 7 }
        let count = mode == .single ? 400 : 1500
        let driver = Driver(
          jetStream.connection, mode, base: 300, count: count, exclusive: false,
          screening: .always, judge: marks, known: found
        ) { "a\($0)" }
        // Somebody else is faster with some that are not known.
        let taken = [310, 320, 390, 1100].filter { $0 < count }
        driver.beforePublishing = {
          for n in taken {
            _ = try await jetStream.connection.request(
              "t.producer", headers: ["Nats-Msg-Id": "a\(n)"], payload: Array("{\"n\":\(n)}".utf8))
          }
        }
        try await driver.run()
        #expect(driver.duplicates == 300 + taken.count && driver.conflicts.isEmpty, "\(mode)")
        #expect(try await jetStream.stream("T")?.lastSequence == UInt64(count), "\(mode)")
        // Of the first batch all, since the producer came between, and before that those that may be over.
        let asked = driver.questions
        #expect(asked <= (mode == .single ? 5 * (count + 10) : 2 * 1000 + 520), "\(mode): \(asked)")
        // Once more, with nobody else.
        let again = Driver(
          jetStream.connection, mode, base: UInt64(count), count: count, exclusive: false,
          screening: .always, judge: marks,
          known: try await known(jetStream, through: 300)
        ) { $0 < 300 ? "a\($0)" : "b\($0)" }
        try await again.run()
        #expect(again.duplicates == 300 && again.conflicts.isEmpty, "\(mode)")
        #expect(again.questions == (count + 999) / 1000, "\(mode): \(again.questions)")
      }
    }
  }

  /// Consumers removed messages whose ids the server still has, here and there and many in a row: what follows in the
  /// pipeline is refused, and is published after the ids were asked for.
  @Test(arguments: ServerBinary.available)
  func `a chain continues behind ids that were taken for absent`(version: String) async throws {
    for judge in [nil, marks] {
      try await withJetStream(version) { jetStream in
        try await LaneServerTests().prepare(jetStream, version)
        try await Driver(jetStream.connection, .chain, base: 0, count: 1200) { "a\($0)" }.run()
        let found = try await known(jetStream, through: 40)
        // In the order of what is published now: known, absent, not known, absent.
        let ids: @Sendable (Int) -> String = { n in
          switch n {
          case 0..<40: "a\(n)"
          case 60..<100 where n % 3 == 0: "a\(n)"
          case 2200..<3300: "a\(n - 2100)"
          default: "new\(n)"
          }
        }
        let stored = (0..<4000).count { ids($0).hasPrefix("a") }
        let driver = Driver(
          jetStream.connection, .chain, base: 1200, count: 4000, screening: .always, judge: judge,
          known: found,
          body: { n in Array("{\"n\":\(n >= 2200 && n < 3300 ? n - 2100 : n)}".utf8) }, id: ids)
        try await driver.run()
        #expect(driver.duplicates == stored && driver.conflicts.isEmpty)
        // None twice, in order.
        let info = try #require(try await jetStream.stream("T"))
        #expect(info.lastSequence == UInt64(1200 + 4000 - stored))
        var expected = (0..<4000).filter { !ids($0).hasPrefix("a") }.map(ids).makeIterator()
        for sequence in 1201...info.lastSequence {
          let message = try #require(try await jetStream.message(in: "T", at: sequence))
          let id = message.headers.first { $0.name == "Nats-Msg-Id" }?.value
          #expect(id == expected.next())
        }
      }
    }
  }

  @Test(arguments: ServerBinary.available)
  func `a stream that is not what it was is asked for everything`(version: String) async throws {
    for mode in modes(version) where PublishLane.takesKnownIDs(mode) {
      try await withJetStream(version) { jetStream in
        try await LaneServerTests().prepare(jetStream, version)
        var found = StoredIDs()
        for n in 0..<60 as Range<UInt64> {
          Array("a\(n)".utf8).withUnsafeBytes {
            found.add(
              $0,
              StoredIDs.Message(sequence: n + 1, expires: .now() + .hours(1), mark: 101 + n))
          }
        }
        let driver = Driver(
          jetStream.connection, mode, base: 0, count: 80, exclusive: false, screening: .always,
          judge: marks, known: found
        ) { "a\($0)" }
        try await driver.run()
        #expect(driver.duplicates == 0, "\(mode)")
        #expect(try await jetStream.stream("T")?.lastSequence == 80, "\(mode)")
      }
    }
  }
}
