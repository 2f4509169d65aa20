import Mapping
import Oplog
import Testing

@Suite("Names that rename would give twice")
struct RenameConflictTests {
  func written(_ renames: [(String, String)], exclude: [String] = []) throws -> Written {
    var rule = try rule(exclude: exclude)
    rule.changes.renames = try renames.map {
      .init(path: try .init(include: $0.0), name: $0.1)
    }
    return Written(rule)
  }

  func code(_ change: Change, _ written: Written) -> MappingErrorCode? {
    mappingError { try written.body(change) }?.code
  }

  @Test("documents") func documents() throws {
    let one = try written([("fullDocument.u.name", "author")])
    #expect(code(.insert(["u": ["name": 1, "author": 2]]), one) == .nameTaken)
    #expect(code(.insert(["u": ["author": 2, "name": 1]]), one) == .nameTaken)
    #expect(code(.insert(["u": [["name": 1], ["name": 1, "author": 2]]]), one) == .nameTaken)
    #expect(code(.insert(["u": ["7": ["name": 1, "author": 2]]]), one) == .nameTaken)
    #expect(code(.insert(["u.name": 1, "u.author": 2]), one) == .nameTaken)
    // Beside each other alone.
    #expect(code(.insert(["u": ["name": 1], "author": 2]), one) == nil)
    #expect(code(.insert(["u": [["name": 1], ["author": 2]]]), one) == nil)
    // Documents whose field has the new name already are as they should be.
    #expect(code(.insert(["u": ["author": 2]]), one) == nil)
    // What a document has twice itself is its own affair.
    #expect(code(.insert(["u": ["author": 2, "author": 3]]), one) == nil)
    #expect(code(.insert(["u": ["name": 2, "name": 3]]), one) == nil)
    var before = Change.delete()
    before.fullDocumentBeforeChange = ["u": ["name": 1, "author": 2]]
    var rule = one.rules[0]
    rule.fullDocumentBeforeChange = .whenAvailable
    #expect(code(before, Written(rule)) == .nameTaken)

    let two = try written([("fullDocument.a", "x"), ("fullDocument.b", "x")])
    #expect(code(.insert(["a": 1, "b": 2]), two) == .nameTaken)
    #expect(code(.insert(["b": 2]), two) == nil)
    // Two that change names.
    let swapped = try written([("fullDocument.a", "b"), ("fullDocument.b", "a")])
    #expect(try swapped.body(.insert(["a": 1, "b": 2])).hasSuffix(#"{"b":1,"a":2}}"#))
  }

  @Test("what is left out takes no name") func excluded() throws {
    let one = try written(
      [("fullDocument.u.name", "author")], exclude: ["fullDocument.u.author"])
    #expect(
      try one.body(.insert(["u": ["name": 1, "author": 2]])).hasSuffix(#"{"u":{"author":1}}}"#))
  }

  @Test("updates: what is set and what is removed, at any depth") func updates() throws {
    let one = try written([("fullDocument.u.name", "author")])
    func update(_ set: Value, _ removed: Value = []) -> MappingErrorCode? {
      code(.update(["updatedFields": set, "removedFields": removed]), one)
    }
    #expect(update(["u.name": 1, "u.author": 2]) == .nameTaken)
    #expect(update(["u.name.first": 1, "u.author.last": 2]) == .nameTaken)
    #expect(update(["u": ["name": 1, "author": 2]]) == .nameTaken)
    #expect(update(["u.0": ["name": 1, "author": 2]]) == .nameTaken)
    #expect(update(["u.author": 1], ["u.name"]) == .nameTaken)
    #expect(update(["u.author": 1, "u.x": 3], ["name"]) == nil)
    #expect(update(["u.0.author": 1, "u.1.name": 2]) == nil)
    #expect(update(["u.name": 1], ["u.x"]) == nil)
  }
}
