import JSON
import Oplog
import Parity
import Testing
import Verification

extension StateDifferentialTests {
  /// Not an update: what it changes is what differs, unless a later one does so as well.
  @Test("one message that names another document is found") func otherKey() throws {
    var counts: [String: Int] = [:]
    for seed in Self.seeds {
      let whole = try Run(seed: UInt64(seed))
      var dice = Dice(state: UInt64(seed) &+ 43)
      let documents = whole.documents
      let able = whole.messages.indices.filter { whole.isLeft($0, documents) }
      for operation in ["insert", "replace", "snapshot"] {
        let fitting = able.filter { documents[$0]?.operation == operation }
        guard !fitting.isEmpty else { continue }
        var run = whole
        try run.messages[fitting[dice.below(fitting.count)]].name("forged")
        let outcome = try run.verify()
        #expect(
          outcome.unequal.contains { $0.kind == .extra && $0.id.contains("forged") },
          "\(seed) \(operation): \(outcome.unequal)")
        counts[operation, default: 0] += 1
      }
    }
    for operation in ["insert", "replace", "snapshot"] {
      #expect(counts[operation, default: 0] >= Self.rounds / 6, "\(counts)")
    }
  }
}

extension StateDifferentialTests.Message {
  /// Gives it another document's key.
  fileprivate mutating func name(_ id: JSONValue) throws {
    var whole = try JSONValue(parsing: body, maximumDepth: 300)
    if whole["data"] != nil {
      whole["data"]?["documentKey"] = ["_id": id]
    } else {
      whole["documentKey"] = ["_id": id]
    }
    body = whole.utf8
  }
}

extension StateDifferentialTests.Run {
  /// Whether the message tells of a document in a collection that has not come or gone since.
  fileprivate func isLeft(_ index: Int, _ documents: [ToldDocument?]) -> Bool {
    guard let document = documents[index] else { return false }
    return !changes.contains {
      $0.position >= messages[index].headers.position && $0.change.touches(document.key.namespace)
    }
  }
}
