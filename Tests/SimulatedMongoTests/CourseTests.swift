import BSON
import Foundation
import Oplog
import SimulatedMongo
import TestRandom
import Testing

@Suite struct CourseTests {
  static let first = setting("SIM_SET_SEED") ?? 0
  static let rounds = setting("SIM_SET_ROUNDS") ?? 1000

  private static func setting(_ name: String) -> UInt64? {
    ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
  }

  /// What was committed decodes, to the changes that were made, each once; and a reader of committed entries never
  /// saw anything else.
  @Test func committedHistoriesAreWhole() throws {
    var tally: [String: Int] = [:]
    for seed in Self.first..<Self.first + Self.rounds {
      var course = Course(seed: seed)
      course.run(300)
      try expectWhole(course, seed)
      tally.merge(course.tally) { $0 + $1 }
      tally["reused position", default: 0] += Self.reused(course)
    }
    for what in [
      "noop", "elected", "stopped", "rolled back", "too stale", "resynced", "truncated",
      "write of a former primary", "whole transaction", "prepared and aborted",
      "prepared and committed", "committed chain", "aborted", "read", "error 43", "error 136",
      "error 13436", "committed reads", "local read of what was rolled back", "reused position",
    ] {
      #expect(tally[what, default: 0] > 0, "never: \(what), of \(tally)")
    }
    print(tally.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", "))
  }

  private func expectWhole(_ course: Course, _ seed: UInt64) throws {
    var decoder = OplogDecoder()
    var last = OplogPosition(seconds: 0, increment: 0)
    for entry in course.set.committed {
      #expect(entry.position > last, "seed \(seed)")
      last = entry.position
      var keys: [Int64] = []
      try course.set.withBytes(of: entry.number) { bytes in
        let header = try decoder.begin(try BSONView(bytes))
        #expect(header.position == entry.position && header.term == entry.term)
        while let event = try decoder.next() {
          keys.append(try #require(try event.documentKey?.first("_id")?.integer))
        }
      }
      let expected = course.expected[OpTime(position: entry.position, term: entry.term)] ?? []
      #expect(keys == expected, "seed \(seed), \(entry)")
    }
  }

  /// Positions that two entries had, one of which was rolled back.
  private static func reused(_ course: Course) -> Int {
    var terms: [OplogPosition: Int64] = [:]
    var reused = 0
    for optime in course.expected.keys {
      if let term = terms.updateValue(optime.term, forKey: optime.position), term != optime.term {
        reused += 1
      }
    }
    return reused
  }

  /// The same seed, the same history.
  @Test func coursesRepeat() {
    let digests = (0..<2).map { _ in
      var course = Course(seed: 7)
      course.run(2000)
      return course.set.committed.map { course.set.bytes(of: $0.number) }
    }
    #expect(digests[0] == digests[1])
    #expect(digests[0].count > 100)
  }
}
