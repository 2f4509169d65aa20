import Foundation
import Oplog
import Parity
import Testing
import Verification

/// Random collections, operations and rules: what messages come to is what the collections hold, and one
/// document, field or message that is wrong is found and named. `STATE_ROUNDS` sets how many worlds,
/// `STATE_SEED` the first one's seed; a failure names its seed.
@Suite("States of random collections")
struct StateDifferentialTests {
  static let rounds = number("STATE_ROUNDS") ?? 60
  static let seeds = (number("STATE_SEED") ?? 0)..<(number("STATE_SEED") ?? 0) + rounds

  private static func number(_ name: String) -> Int? {
    ProcessInfo.processInfo.environment[name].flatMap { Int($0) }
  }

  @Test("a clean run differs in nothing") func clean() throws {
    var compared: UInt64 = 0
    var late = 0
    var undecided: [Bool: Int] = [:]
    for seed in Self.seeds {
      let run = try Run(seed: UInt64(seed))
      let outcome = try run.verify()
      #expect(
        outcome.unequal.isEmpty,
        "\(seed): \(outcome.unequal.first.map { "\($0)\n\(run.story(of: $0))" } ?? "")")
      #expect(outcome.found.alike.count == 0 && outcome.found.notFoldable.isEmpty, "\(seed)")
      if run.overlaps { late += 1 }
      if outcome.found.undecided[.paths] != nil { undecided[run.tellsPaths, default: 0] += 1 }
      compared += outcome.found.folded
    }
    #expect(compared > UInt64(3 * Self.rounds) && late >= Self.rounds / 6)
    // Where messages tell how paths are read, only an update of two fields with one path leaves a doubt.
    #expect(undecided[true, default: 0] <= Self.rounds / 10)
  }

  /// Each kind of damage is seen in so many worlds at least.
  static let enough = rounds / 6

  private enum DocumentDamage: CaseIterable { case fieldAdded, removed, replaced }

  @Test("one document that is another is found") func changedDocument() throws {
    var counts: [DocumentDamage: Int] = [:]
    for seed in Self.seeds {
      let whole = try Run(seed: UInt64(seed))
      var dice = Dice(state: UInt64(seed) &+ 77)
      let clean = try whole.verify()
      // What came from a collection that no rule takes is not told.
      guard clean.found.beforeBridge == 0, !clean.isUndecided else { continue }
      for damage in DocumentDamage.allCases {
        var run = whole
        guard let (name, number) = run.anyDocument(&dice) else { continue }
        switch damage {
        case .fieldAdded:
          run.world.collections[name]?[number]?.fields.append(.init("zz", .int32(1)))
        case .removed: run.world.collections[name]?[number] = nil
        case .replaced: run.world.collections[name]?[number]?.fields = [.init("zz", .null)]
        }
        let outcome = try run.verify()
        // What its updates do to it need not be told: that is a note as soon as it differs.
        if outcome.unequal.isEmpty, outcome.isUndecided { continue }
        #expect(outcome.unequal.count == 1, "\(seed) \(damage)")
        guard let mismatch = outcome.unequal.first else { continue }
        #expect(
          mismatch.kind == (damage == .removed ? .extra : .payloadMismatch), "\(seed) \(damage)")
        #expect(mismatch.subject.utf8.elementsEqual(name), "\(seed) \(damage)")
        #expect(
          damage != .fieldAdded || mismatch.pointer == "/zz",
          "\(seed): \(mismatch)\n\(run.story(of: mismatch))")
        counts[damage, default: 0] += 1
      }
    }
    for damage in DocumentDamage.allCases {
      #expect(counts[damage, default: 0] >= Self.enough, "\(damage)")
    }
  }

  @Test("one message that can't be read is named") func unreadable() throws {
    var count = 0
    for seed in Self.seeds {
      var run = try Run(seed: UInt64(seed))
      var dice = Dice(state: UInt64(seed) &+ 99)
      guard !run.messages.isEmpty else { continue }
      let index = dice.below(run.messages.count)
      run.messages[index].body.removeLast()
      let id = run.messages[index].headers.id
      let outcome = try run.verify()
      #expect(
        outcome.unequal.contains { $0.id == id && $0.sequence == UInt64(index + 1) }, "\(seed)")
      count += 1
    }
    #expect(count >= Self.enough)
  }

  private enum MessageDamage: CaseIterable { case deleteLost, altered }

  @Test("one message that is lost or altered is found") func changedMessage() throws {
    var counts: [MessageDamage: Int] = [:]
    for seed in Self.seeds {
      let whole = try Run(seed: UInt64(seed))
      var dice = Dice(state: UInt64(seed) &+ 5)
      let clean = try whole.verify()
      guard clean.found.beforeBridge == 0, !clean.isUndecided else { continue }
      // The last word about a document: what it says is what is there.
      let documents = whole.documents
      let last = whole.messages.indices.filter { documents.isLast($0) }
      for damage in MessageDamage.allCases {
        var run = whole
        let able = last.filter { (documents[$0]?.operation == "delete") == (damage == .deleteLost) }
        guard !able.isEmpty else { continue }
        let index = able[dice.below(able.count)]
        switch damage {
        case .deleteLost: run.messages.remove(at: index)
        case .altered:
          let text = String(decoding: run.messages[index].body, as: UTF8.self)
          let start = "\"fullDocument\":{"
          guard let range = text.range(of: start) else { continue }
          run.messages[index].body = Array(
            text.replacingCharacters(in: range, with: "\(start)\"zz\":1,")
              .replacingOccurrences(of: "\"zz\":1,}", with: "\"zz\":1}").utf8)
        }
        let outcome = try run.verify()
        // Its collection may have gone since.
        #expect(outcome.unequal.count <= 1, "\(seed) \(damage)")
        guard let mismatch = outcome.unequal.first else { continue }
        #expect(
          damage == .deleteLost ? mismatch.kind == .extra : mismatch.pointer == "/zz",
          "\(seed) \(damage): \(mismatch)")
        counts[damage, default: 0] += 1
      }
    }
    for damage in MessageDamage.allCases {
      #expect(counts[damage, default: 0] >= Self.enough, "\(damage)")
    }
  }
}

extension StateDifferentialTests {
  @Test("one message of the last snapshot that is removed is found, whatever older ones tell")
  func removedFromSnapshot() throws {
    var counts: [Run.Fate: Int] = [:]
    var told = 0
    for seed in Self.seeds {
      let whole = try Run(seed: UInt64(seed))
      var dice = Dice(state: UInt64(seed) &+ 31)
      guard let snapshot = whole.snapshot, try !whole.verify().isUndecided else { continue }
      let documents = whole.documents
      let shown = whole.messages.indices.filter {
        whole.messages[$0].headers.isSnapshot && documents[$0] != nil
      }
      let fates = Dictionary(grouping: shown) { whole.fate($0, snapshot, documents) }
      for (fate, able) in fates {
        var run = whole
        let index = able[dice.below(able.count)]
        let key = try #require(documents[index]?.key)
        run.messages.remove(at: index)
        let outcome = try run.verify()
        switch fate {
        case .isThere:
          #expect(
            outcome.unequal.count == 1, "\(seed): \(key), undecided \(outcome.found.undecided)")
          guard let mismatch = outcome.unequal.first else { continue }
          #expect(
            mismatch.id == key.description && mismatch.kind == .missing, "\(seed): \(mismatch)")
          if documents[..<index].contains(where: { $0?.key == key }) { told += 1 }
        case .isGone: #expect(outcome.unequal.isEmpty, "\(seed): \(outcome.unequal)")
        case .isOpen: #expect(outcome.unequal.count <= 1, "\(seed): \(outcome.unequal)")
        }
        counts[fate, default: 0] += 1
      }
    }
    #expect(
      counts[.isThere, default: 0] >= Self.enough && told >= Self.rounds / 12,
      "\(counts), \(told) of them known")
  }
}

struct ToldDocument {
  var operation: String
  var key: DocumentKey
}

extension StateDifferentialTests.Run {
  /// What messages tell of the document.
  fileprivate func story(of mismatch: Mismatch) -> String {
    zip(messages, documents).filter { $0.1?.key.description == mismatch.id }
      .map { "\($0.0.headers.position) \(String(decoding: $0.0.body, as: UTF8.self))" }
      .joined(separator: "\n")
  }

  fileprivate enum Fate { case isThere, isGone, isOpen }

  /// Of each message, the document that it tells of.
  var documents: [ToldDocument?] {
    let plan = FoldPlan(configuration)
    return messages.map { message in
      guard case .steps(let steps) = plan.read(message.headers, message.body, stream: 0),
        case .document(let key, let operation, _, _) = steps.first
      else { return nil }
      return ToldDocument(operation: operation.rawValue, key: key)
    }
  }

  /// What became of the document that a message of the snapshot shows.
  fileprivate func fate(
    _ index: Int, _ snapshot: OplogPosition, _ documents: [ToldDocument?]
  ) -> Fate {
    guard let key = documents[index]?.key,
      !changes.contains(where: {
        $0.position.entry >= snapshot && $0.change.touches(key.namespace)
      })
    else { return .isOpen }
    // Made by the very entry that the snapshot is at: either message tells of it.
    if let last = documents[..<index].lastIndex(where: {
      $0?.key == key && $0?.operation == "insert"
    }), messages[last].headers.position.entry == snapshot {
      return .isOpen
    }
    // Read after its insert, which follows.
    if documents[(index + 1)...].contains(where: {
      $0?.key == key && $0?.operation == "insert"
    }) {
      return .isOpen
    }
    let isGone = documents[(index + 1)...].contains {
      $0?.key == key && $0?.operation == "delete"
    }
    return isGone ? .isGone : .isThere
  }

  func anyDocument(_ dice: inout Dice) -> (name: [UInt8], number: Int)? {
    let told = world.collections.filter { $0.key.starts(with: Array("d.".utf8)) }
      .sorted { $0.key.lexicographicallyPrecedes($1.key) }
      .flatMap { name, documents in documents.keys.sorted().map { (name, $0) } }
    return told.isEmpty ? nil : told[dice.below(told.count)]
  }
}

extension [ToldDocument?] {
  /// No later message is of the same document (under that name), and this one shows or ends it.
  fileprivate func isLast(_ index: Int) -> Bool {
    guard let document = self[index], document.operation != "update" else { return false }
    return !self[(index + 1)...].contains { $0?.key == document.key }
  }
}
