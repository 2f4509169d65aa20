import BSON
import Mapping
import Oplog
import TestRandom
import Testing

/// What conditions are foretold to do, against what they do.
@Suite("What is known of conditions beforehand")
struct ForesightTests {
  private static let paths = [
    "fullDocument", "fullDocument.a", "fullDocument.b", "fullDocument.a.b", "documentKey._id",
    "documentKey.k", "updateDescription.updatedFields.a", "updateDescription.updatedFields.a.b",
    "operationType", "ns.db", "ns.coll", "clusterTime", "wallTime", "txnNumber", "lsid.id", "lsid",
  ]
  private static let targets = paths.filter { $0 != "fullDocument" && $0 != "lsid" }

  private static func value(_ chance: inout SeededRandom, _ depth: Int = 0) -> Value {
    switch chance.below(depth < 2 ? 12 : 8) {
    case 0, 1: .null
    case 2: .int32(Int32(chance.below(3)))
    case 3: .double(Double(chance.below(3)))
    case 4: .string(chance.pick(["", "x", "insert", "update", "db"]))
    case 5: .raw(chance.pick([.undefined, .minKey, .maxKey]), [])
    case 6: .bool(chance.below(2) == 0)
    case 7: .date(Int64(chance.below(3)))
    case 8: .array((0..<chance.below(3)).map { _ in value(&chance, depth + 1) })
    default: document(&chance, depth + 1)
    }
  }

  private static func document(_ chance: inout SeededRandom, _ depth: Int = 0) -> Value {
    var fields: [Value.Field] = []
    for key in ["a", "b", "a.b", "k"] where chance.below(3) == 0 {
      fields.append(.init(key: key, value: value(&chance, depth)))
    }
    return .document(fields)
  }

  private static func test(_ chance: inout SeededRandom) throws -> ConditionTest {
    func literal(_ chance: inout SeededRandom) -> ConditionValue {
      let value = value(&chance, 1)
      return ConditionValue(type: value.type, bytes: value.bytes)
    }
    switch chance.below(12) {
    case 0, 1: return .exists
    case 2: return .type(chance.pick([[], [.string], [.null], [.undefined], [.document, .int32]]))
    case 3: return .greater(literal(&chance))
    case 4: return .greaterOrEqual(literal(&chance))
    case 5: return .less(literal(&chance))
    case 6: return .lessOrEqual(literal(&chance))
    case 7: return .matches(try ConditionPattern(chance.pick(["^in", "x", "e$", "(?=u)"])))
    case 8: return .equals([ConditionValue(type: .null, bytes: [])])
    default: return .equals((0..<chance.below(3)).map { _ in literal(&chance) })
    }
  }

  private static func condition(_ chance: inout SeededRandom, _ depth: Int = 0) throws -> Condition
  {
    func parts(_ chance: inout SeededRandom) throws -> [Condition] {
      try (0..<(1 + chance.below(2))).map { _ in try condition(&chance, depth + 1) }
    }
    switch chance.below(depth < 3 ? 8 : 4) {
    case 4: return .all(try parts(&chance))
    case 5: return .any(try parts(&chance))
    case 6, 7: return .not(try condition(&chance, depth + 1))
    default:
      return .test(try EventPath(parsing: chance.pick(paths)), try test(&chance))
    }
  }

  private static func change(_ operation: OperationType, _ chance: inout SeededRandom) -> Change {
    var change = Change(operation: operation)
    change.namespace = operation == .dropDatabase ? "db" : "db.c"
    change.documentKey = nil
    if OperationSet.documents.contains(operation) {
      change.documentKey = .document(
        [.init(key: "_id", value: value(&chance, 2))]
          + (chance.below(2) == 0 ? [] : [.init(key: "k", value: 1)]))
    }
    if operation == .insert || operation == .replace { change.fullDocument = document(&chance) }
    if operation == .update {
      change.updateDescription = ["updatedFields": document(&chance)]
    }
    if chance.below(2) == 0 { change.wallTime = nil }
    if chance.below(2) == 0 {
      change.lsid = ["id": .binary(4, Array(repeating: 7, count: 16))]
      if chance.below(2) == 0 { change.txnNumber = 3 }
    }
    return change
  }

  /// Whether the event has a value there, as templates look for it.
  private static func has(_ path: String, _ change: Change) throws -> Bool {
    let written = try Written(rule("{\(path)}"))
    return mappingError { try written.subject(change) }?.code != .pathMissing
  }

  private static func hasArray(_ value: Value?) -> Bool {
    switch value {
    case .array: true
    case .document(let fields): fields.contains { hasArray($0.value) }
    default: false
    }
  }

  @Test("holds for every event", arguments: 0..<8) func foretold(_ seed: Int) throws {
    var chance = SeededRandom(seed: UInt64(seed) + 0xF0)
    var told = (always: 0, never: 0, demands: 0, refuses: 0)
    for _ in 0..<400 {
      let operation = chance.pick([OperationType.insert, .update, .delete, .dropDatabase])
      let condition = try Self.condition(&chance)
      let events = ExpectedEvents(
        operation,
        lacking: EventField.allCases.filter {
          !$0.operations.contains(operation)
            || ($0 == .collection && operation == .dropDatabase)
        }, database: "db", collection: "c")
      let outcome = condition.outcome(for: events)
      let target = chance.pick(Self.targets)
      let path = try EventPath(parsing: target)
      let demands = condition.demands(path, of: events)
      let refuses = condition.refuses(path, of: events)
      if outcome == true { told.always += 1 }
      if outcome == false { told.never += 1 }
      // What nothing satisfies demands everything, and refuses it.
      if demands, outcome != false { told.demands += 1 }
      if refuses, outcome != false { told.refuses += 1 }
      guard outcome != nil || demands || refuses else { continue }
      var conditional = try rule()
      conditional.condition = condition
      for _ in 0..<6 {
        let change = Self.change(operation, &chance)
        let matches = try Written(conditional).matches(change) == [[0]]
        if let outcome { #expect(matches == outcome, "\(condition) of \(change)") }
        let isWithinArrays =
          path.remainder.contains(".")
          && (Self.hasArray(change.fullDocument) || Self.hasArray(change.updateDescription))
        guard matches, !isWithinArrays else { continue }
        if demands { #expect(try Self.has(target, change), "\(condition) → \(target), \(change)") }
        if refuses { #expect(try !Self.has(target, change), "\(condition) → no \(target)") }
      }
    }
    #expect(told.always > 4 && told.never > 25 && told.demands > 2, "\(told)")
  }

  @Test("is told of every way to demand a path") func ways() throws {
    let path = try EventPath(parsing: "fullDocument.rid")
    func test(_ test: ConditionTest) -> Condition { .test(path, test) }
    func text(_ text: String) -> ConditionValue {
      let value = Value.string(text)
      return ConditionValue(type: value.type, bytes: value.bytes)
    }
    let null = ConditionValue(type: .null, bytes: [])
    let other = Condition.test(try EventPath(parsing: "fullDocument.t"), .exists)
    let isInsert = Condition.test(
      try EventPath(parsing: "operationType"), .equals([text("insert")]))
    let demanding: [Condition] = [
      test(.exists), .not(test(.equals([null]))), .not(test(.equals([text(""), null]))),
      .not(.not(.not(test(.equals([null]))))), .not(.any([test(.equals([null])), other])),
      .not(.not(test(.exists))), test(.type([.string])), test(.equals([text("a"), text("b")])),
      test(.greater(text("a"))), test(.lessOrEqual(text("a"))),
      test(.matches(try ConditionPattern("^a"))), .all([other, .all([test(.exists)])]),
      .any([test(.exists), .all([other, test(.equals([text("a")]))])]),
      .any([test(.exists), .not(isInsert)]), .not(.all([.not(test(.exists)), isInsert])),
    ]
    let open: [Condition] = [
      other, .not(test(.exists)), test(.equals([null])), test(.equals([text("a"), null])),
      .not(test(.equals([text("")]))), .not(test(.type([.null]))), .any([test(.exists), other]),
      test(.greaterOrEqual(null)), test(.less(ConditionValue(type: .maxKey, bytes: []))),
      .any([test(.exists), isInsert]), .all([]), .not(test(.greater(text("a")))),
    ]
    let inserts = ExpectedEvents(.insert, lacking: [.updateDescription])
    let updates = ExpectedEvents(.update, lacking: [.fullDocument])
    for condition in demanding {
      #expect(condition.demands(path, of: inserts), "\(condition)")
    }
    for condition in open { #expect(!condition.demands(path, of: inserts), "\(condition)") }
    // Where updates have no document, they satisfy none of those that demand something of it.
    for condition in demanding.dropLast(2) {
      #expect(condition.outcome(for: updates) == false, "\(condition)")
    }
    #expect(isInsert.outcome(for: inserts) == true && isInsert.outcome(for: updates) == false)
    #expect(Condition.not(test(.exists)).refuses(path, of: inserts))
    #expect(!test(.equals([null])).refuses(path, of: inserts))
  }
}
