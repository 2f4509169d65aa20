import MongoSource
import Oplog
import TestRandom
import Testing

/// The planner compared with a model that knows every state, and with an optimal plan.
@Suite struct ImagePlanTests {
  typealias Change = ImagePlan.Change

  static func at(_ time: Int) -> OplogPosition {
    OplogPosition(seconds: UInt32(time / 3), increment: UInt32(time % 3))
  }

  /// Changes of a few documents in two collections at a few times, some of them the same.
  static func history(_ random: inout SeededRandom) -> (changes: [Change], collectionOf: [Int]) {
    let documents = Int.random(in: 1...4, using: &random)
    let collectionOf = (0..<documents).map { _ in Int.random(in: 0...1, using: &random) }
    var time = 0
    let changes = (0..<Int.random(in: 0...14, using: &random)).map { _ -> Change in
      if Int.random(in: 0...2, using: &random) > 0 { time += 1 }
      let scope: Change.Scope =
        switch Int.random(in: 0...19, using: &random) {
        case 0: .collection(Int.random(in: 0...1, using: &random))
        case 1: .everything
        default: .document(Int.random(in: 0..<documents, using: &random))
        }
      var isWanted = false
      if case .document = scope { isWanted = Int.random(in: 0...3, using: &random) > 0 }
      return Change(time: at(time), scope: scope, isWanted: isWanted)
    }
    return (changes, collectionOf)
  }

  /// The index of the change whose result a read of `document` at `time` returns; nil if a change of more
  /// than the document came after it, or nothing was written.
  static func shown(
    _ changes: [Change], _ document: Int, _ collection: Int, at time: OplogPosition
  ) -> Int? {
    var shown: Int?
    for (index, change) in changes.enumerated() where change.time <= time {
      switch change.scope {
      case .document(document): shown = index
      case .collection(collection), .everything: shown = nil
      default: break
      }
    }
    return shown
  }

  @Test func everyImageIsSeenAsItsChangeLeftIt() throws {
    var random = SeededRandom(seed: 7)
    for round in 0..<20_000 {
      let (changes, collectionOf) = Self.history(&random)
      let plan = ImagePlan(changes, collectionOf: collectionOf)
      var seen = [Int](repeating: 0, count: changes.count)
      for read in plan.reads {
        for image in read.images {
          seen[image.change] += 1
          let change = changes[image.change]
          guard case .document(let document) = change.scope else {
            Issue.record("round \(round): an image of no document")
            continue
          }
          try #require(collectionOf[document] == read.collection)
          try #require(change.time <= read.time, "round \(round)")
          let shown = Self.shown(changes, document, read.collection, at: read.time)
          if image.isExact {
            try #require(shown == image.change, "round \(round): \(changes) \(plan.reads)")
          } else {
            // Hidden by a change at the same time, and no later state is read instead.
            try #require(shown != image.change, "round \(round)")
            if let shown { try #require(changes[shown].time == change.time, "round \(round)") }
          }
        }
      }
      for (index, change) in changes.enumerated() {
        try #require(seen[index] == (change.isWanted ? 1 : 0), "round \(round)")
      }
      let latestFirst = zip(plan.reads, plan.reads.dropFirst()).allSatisfy { $0.time >= $1.time }
      try #require(latestFirst)
    }
  }

  /// Whether something changes a document after one time and up to another.
  static func changes(
    _ changes: [Change], _ document: Int, _ collection: Int,
    after start: OplogPosition, upTo end: OplogPosition
  ) -> Bool {
    changes.contains { change in
      guard change.time > start, change.time <= end else { return false }
      switch change.scope {
      case .document(document), .collection(collection), .everything: return true
      default: return false
      }
    }
  }

  @Test func noPlanHasFewerReads() throws {
    var random = SeededRandom(seed: 11)
    for round in 0..<2_000 {
      let (changes, collectionOf) = Self.history(&random)
      let plan = ImagePlan(changes, collectionOf: collectionOf)
      let times = Set(changes.map(\.time)).sorted()
      for collection in 0...1 {
        // The suitable times of each image as bits, then the smallest set that covers all.
        let fitting = changes.compactMap { change -> Int? in
          guard change.isWanted, case .document(let document) = change.scope,
            collectionOf[document] == collection
          else { return nil }
          return times.indices.reduce(0) { bits, time in
            let fits =
              change.time <= times[time]
              && !Self.changes(
                changes, document, collection, after: change.time, upTo: times[time])
            return fits ? bits | 1 << time : bits
          }
        }
        let sets = (0..<(1 << times.count)).filter { set in fitting.allSatisfy { $0 & set != 0 } }
        let best = sets.map(\.nonzeroBitCount).min() ?? 0
        let planned = plan.reads.filter { $0.collection == collection }.count
        try #require(planned == best, "round \(round): \(changes)")
      }
    }
  }

  @Test func aThousandDocumentsUpdatedOnceNeedOneRead() {
    let changes = (0..<1000).map { Change(time: Self.at($0), scope: .document($0), isWanted: true) }
    let plan = ImagePlan(changes, collectionOf: [Int](repeating: 0, count: 1000))
    #expect(plan.reads.count == 1)
    #expect(plan.reads.first?.time == Self.at(999))
  }

  @Test func oneDocumentUpdatedATimeNeedsAReadATime() {
    let changes = (0..<10).map { Change(time: Self.at($0), scope: .document(0), isWanted: true) }
    let plan = ImagePlan(changes, collectionOf: [0])
    #expect(plan.reads.map(\.time) == (0..<10).reversed().map(Self.at))
  }

  @Test func ofOneTransactionOnlyTheLastIsExact() {
    let changes = (0..<3).map { _ in Change(time: Self.at(5), scope: .document(0), isWanted: true) }
    let plan = ImagePlan(changes, collectionOf: [0])
    #expect(plan.reads.count == 1)
    let images = plan.reads.first?.images.sorted { $0.change < $1.change } ?? []
    #expect(images.map(\.isExact) == [false, false, true])
  }

  @Test func aDropEndsTheTimeToRead() {
    let plan = ImagePlan(
      [
        Change(time: Self.at(1), scope: .document(0), isWanted: true),
        Change(time: Self.at(2), scope: .document(1)),
        Change(time: Self.at(3), scope: .collection(0)),
        Change(time: Self.at(4), scope: .document(1)),
      ], collectionOf: [0, 1])
    #expect(plan.reads.map(\.time) == [Self.at(2)])
  }
}
