import JSON
import Oplog
import Parity
import Testing

/// Collections that are created, dropped and renamed.
@Suite("Document table")
struct DocumentTableTests {
  private func position(_ second: UInt32) -> EventPosition {
    EventPosition(entry: OplogPosition(seconds: second, increment: 1), index: 0)
  }

  private func key(_ namespace: String, _ id: Int = 1) -> DocumentKey {
    DocumentKey(namespace: namespace, key: ["_id": .int(id)], isTyped: true)
  }

  private func insert(_ namespace: String, _ id: Int = 1) -> FoldStep {
    .document(
      key(namespace, id), .insert, event: ["fullDocument": ["_id": .int(id)]], [])
  }

  private func table(_ steps: [FoldStep], _ part: DocumentPart = DocumentPart()) -> DocumentTable {
    var table = DocumentTable(part, mostBytes: 64 << 20)
    for (index, step) in steps.enumerated() {
      table.apply(step, rule: "r", position: position(UInt32(index + 1)), sequence: UInt64(index))
    }
    return table
  }

  private func names(_ table: DocumentTable) -> [String] {
    table.unclaimed.map { "\($0.0)" }.sorted()
  }

  @Test("documents are dropped and renamed with their collection") func collections() {
    #expect(names(table([insert("d.a"), .emptied(namespace: "d.a"), insert("d.a", 2)])).count == 1)
    #expect(names(table([insert("d.a"), .databaseDropped("d"), insert("dd.a")])).count == 1)
    #expect(names(table([insert("d.a"), insert("d.a b"), .emptied(namespace: "d.a")])).count == 1)
    let renamed = table([insert("d.a"), insert("d.b", 2), .renamed(from: "d.a", to: "d.b")])
    #expect(names(renamed) == ["\(key("d.b"))"])
    #expect(names(table([insert("d.\u{E9}"), .emptied(namespace: "d.e\u{301}")])).count == 1)
  }

  @Test("a renamed document stays in its part") func parts() {
    let steps = (0..<100).map { insert("d.a", $0) } + [.renamed(from: "d.a", to: "e.b")]
    let found = DocumentPart.all(bits: 3).flatMap { table(steps, $0).unclaimed.map(\.0) }
    #expect(Set(found) == Set((0..<100).map { key("e.b", $0) }) && found.count == 100)
  }

  @Test("whether messages cover all documents") func complete() {
    func isComplete(_ steps: [FoldStep], snapshot: UInt32? = nil) -> Bool {
      table(steps).isComplete("d.a", snapshot: snapshot.map { position($0).entry })
    }
    #expect(!isComplete([]) && !isComplete([insert("d.a")]))
    #expect(isComplete([], snapshot: 1))
    #expect(isComplete([.emptied(namespace: "d.a"), insert("d.a")]))
    // Documents of a collection without messages.
    let blurred: [FoldStep] = [.emptied(namespace: "d.a"), .renamed(from: nil, to: "d.a")]
    #expect(!isComplete(blurred) && !isComplete(blurred, snapshot: 1))
    #expect(isComplete(blurred, snapshot: 3))
    #expect(isComplete(blurred + [.emptied(namespace: "d.a")]))
    // The known documents are kept.
    #expect(isComplete([.emptied(namespace: "d.b"), .renamed(from: "d.b", to: "d.a")]))
    #expect(!isComplete([.renamed(from: "d.b", to: "d.a")]))
    #expect(!isComplete(blurred + [.renamed(from: "d.b", to: "d.c")]))
  }

  @Test("colliding keys") func doubtful() {
    func isDoubtful(_ steps: [(FoldStep.Operation, UInt32)]) -> Bool {
      var table = DocumentTable(DocumentPart(), mostBytes: 64 << 20)
      let key = DocumentKey(namespace: "d.a", key: ["_id": "x"], isTyped: false)
      for (index, (operation, second)) in steps.enumerated() {
        table.apply(
          .document(key, operation, event: ["fullDocument": ["n": .int(index)]], []), rule: "r",
          position: position(second), sequence: 1)
      }
      return table.unclaimed.contains { $0.1.isDoubtful }
    }
    #expect(isDoubtful([(.insert, 1), (.insert, 2)]))
    #expect(!isDoubtful([(.insert, 1), (.delete, 2), (.insert, 3)]))
    #expect(!isDoubtful([(.insert, 1), (.replace, 2)]))
    // A snapshot repeats an inserted document, even at the same entry, and so does another snapshot.
    #expect(!isDoubtful([(.insert, 1), (.snapshot, 1)]))
    #expect(!isDoubtful([(.snapshot, 1), (.update, 2), (.snapshot, 3)]))
    #expect(isDoubtful([(.snapshot, 1), (.snapshot, 1)]))
    #expect(isDoubtful([(.snapshot, 1), (.update, 2), (.snapshot, 1)]))
    // A snapshot that is read late shows a document before its insert.
    #expect(!isDoubtful([(.snapshot, 1), (.insert, 2)]))
    #expect(!isDoubtful([(.snapshot, 1), (.insert, 2), (.delete, 3), (.insert, 4)]))
    #expect(isDoubtful([(.snapshot, 1), (.insert, 2), (.insert, 3)]))
    #expect(isDoubtful([(.insert, 1), (.insert, 2), (.snapshot, 3), (.insert, 4)]))
  }

  @Test("memory is bounded without losing documents") func bounded() {
    var parts = [DocumentPart()]
    var found: [DocumentKey] = []
    while let part = parts.popLast() {
      var table = DocumentTable(part, mostBytes: 8_000)
      for id in 0..<500 {
        table.apply(insert("d.a", id), rule: "r", position: position(1), sequence: 1)
      }
      #expect(table.unclaimed.count < 50)
      found += table.unclaimed.map(\.0)
      parts += table.left
    }
    #expect(Set(found).count == 500 && found.count == 500)
  }
}
