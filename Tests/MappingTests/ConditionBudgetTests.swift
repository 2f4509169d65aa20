import BSON
import Mapping
import Oplog
import TestRandom
import Testing

/// Conditions take a bounded number of steps of one event. Beyond them the event is a dead letter: it
/// is neither passed over nor published.
@Suite("What conditions may take")
struct ConditionBudgetTests {
  private static func path(_ text: String) throws -> EventPath { try EventPath(parsing: text) }

  private static func int(_ value: Int32) -> ConditionValue {
    ConditionValue(type: .int32, bytes: Value.int32(value).bytes)
  }

  private static func decimal(_ coefficient: UInt64, _ exponent: Int) -> ConditionValue {
    ConditionValue(type: .decimal128, bytes: Value.decimal(coefficient, exponent).bytes)
  }

  /// Nil where no rule takes it; else its subject, or the code of the error.
  private static func outcome(_ condition: Condition, _ document: Value) throws -> String? {
    var conditional = try rule()
    conditional.condition = condition
    var mapper = Mapper(rules: [conditional], sourceName: "rs0")
    return try Change.insert(document).with { event -> String? in
      guard let match = mapper.firstMatch(event) else { return nil }
      return match.isDecided ? "published" : "too_complex"
    }
  }

  private static func decided(_ condition: Condition, _ document: Value) throws -> [String?] {
    [try outcome(condition, document), try outcome(.not(condition), document)]
  }

  @Test("a pattern that tries without end") func pattern() throws {
    let condition = Condition.test(
      try Self.path("fullDocument.t"), .matches(try ConditionPattern("^(?=(a+)+$)b")))
    #expect(try Self.outcome(condition, ["t": "b"]) == nil)
    #expect(try Self.decided(condition, ["t": "aaa"]) == [nil, "published"])
    let text = Value.string(String(repeating: "a", count: 40) + "c")
    #expect(try Self.decided(condition, ["t": text]) == ["too_complex", "too_complex"])
    let many = Value.array((0..<200_000).map { _ in "aaaaaac" })
    #expect(try Self.decided(condition, ["t": many]) == ["too_complex", "too_complex"])
  }

  @Test("a long list against a long array") func lists() throws {
    let path = try Self.path("fullDocument.v")
    // Documents are compared one by one, …
    let documents = Condition.test(
      path,
      .equals(
        (Int32(0)..<2_000).map {
          let value = Value.document([.init(key: "k", value: .int32(-1 - $0))])
          return ConditionValue(type: .document, bytes: value.bytes)
        }))
    let few = Value.array((0..<400).map { .int32($0) })
    #expect(try Self.decided(documents, ["v": few]) == [nil, "published"])
    let many = Value.array((0..<50_000).map { .int32($0) })
    #expect(try Self.decided(documents, ["v": many]) == ["too_complex", "too_complex"])
    // What is found at the start is found.
    let found = Value.array([["k": -1]] + (0..<50_000).map { .int32($0) })
    #expect(try Self.decided(documents, ["v": found]) == ["published", nil])
    // … and numbers looked up.
    let numbers = Condition.test(path, .equals((0..<2_000).map { Self.int(-1 - $0) }))
    #expect(try Self.decided(numbers, ["v": many]) == [nil, "published"])
  }

  @Test("many small members before the one that is asked for") func members() throws {
    let path = try Self.path("fullDocument.last")
    let condition = Condition.test(path, .exists)
    func document(_ count: Int) -> Value {
      .document(
        (0..<count).map { .init(key: "\($0)", value: .null) } + [.init(key: "last", value: 1)])
    }
    #expect(try Self.decided(condition, document(100_000)) == ["published", nil])
    let twenty = Condition.all(
      (0..<20).map { _ in .any([.test(path, .equals([Self.int(1)])), condition]) })
    #expect(try Self.outcome(twenty, document(200_000)) == "too_complex")
    #expect(try Self.outcome(twenty, document(1_000)) == "published")
  }

  /// What each rule that takes the event makes of it, in order.
  private static func outcomes(
    _ conditions: [Condition?], _ document: Value
  ) throws -> [(rule: Int, isDecided: Bool)] {
    let rules = try conditions.enumerated().map { index, condition -> Rule in
      var made = try rule(name: "r\(index)", continues: true)
      made.condition = condition
      return made
    }
    var mapper = Mapper(rules: rules, sourceName: "rs0")
    return try Change.insert(document).with { event in
      var found: [(rule: Int, isDecided: Bool)] = []
      var next = mapper.firstMatch(event)
      while let match = next {
        found.append((match.rule, match.isDecided))
        next = mapper.nextMatch(event, after: match)
      }
      return found
    }
  }

  @Test("rules share the steps, and each has some of its own") func rules() throws {
    let absent = Condition.test(try Self.path("fullDocument.last"), .exists)
    let cheap = Condition.test(
      try Self.path("operationType"),
      .equals([ConditionValue(type: .string, bytes: Value.string("insert").bytes)]))
    let document = Value.document((0..<150_000).map { .init(key: "\($0)", value: .null) })
    // Each takes 150,001, of which 500 are its own: five are decided of 750,000 that 500 rules share.
    let rules = (0..<500).map { $0 == 300 ? nil : $0 % 100 == 99 ? cheap : absent }
    let found = try Self.outcomes(rules, document)
    let again = try Self.outcomes(rules, document)
    #expect(again.map(\.isDecided) == found.map(\.isDecided), "a second run decides alike")
    // None is passed over in silence.
    #expect(found.map(\.rule) == Array(5..<500))
    for (rule, isDecided) in found {
      #expect(isDecided == (rule == 300 || rule % 100 == 99), "rule \(rule)")
    }
    #expect(try Self.outcomes([absent], document).isEmpty)
  }

  @Test("names of megabytes are not searched by each of the rules") func longNames() throws {
    let absent = Condition.test(try Self.path("fullDocument.last"), .exists)
    let cheap = Condition.test(
      try Self.path("operationType"),
      .equals([ConditionValue(type: .string, bytes: Value.string("insert").bytes)]))
    let rules = (0..<300).map { $0 == 299 ? cheap : absent }
    func outcomes(_ length: Int, _ value: Value) throws -> [(rule: Int, isDecided: Bool)] {
      let name = String(repeating: "k", count: length)
      return try Self.outcomes(rules, .document([.init(key: name, value: value)]))
    }
    // The first two are decided; the third takes more than all may beyond what they have.
    for found in [
      try outcomes(12_000_000, .null),
      try outcomes(1, .regex(String(repeating: "r", count: 12_000_000), "")),
    ] {
      #expect(found.map(\.rule) == Array(2..<300))
      #expect(found.allSatisfy { !$0.isDecided })
    }
    // Those of a usual size leave the others what is theirs.
    let found = try outcomes(2_000, .null)
    #expect(found.map(\.rule) == [299] && found.map(\.isDecided) == [true])
    // Documents in a list are compared one by one, and the event's is searched each time.
    let documents = Condition.test(
      try Self.path("fullDocument.v"),
      .equals(
        (Int32(0)..<2_000).map {
          let value = Value.document([.init(key: "k", value: .int32(-1 - $0))])
          return ConditionValue(type: .document, bytes: value.bytes)
        }))
    func decided(_ length: Int) throws -> [String?] {
      let name = String(repeating: "k", count: length)
      return try Self.decided(documents, ["v": .document([.init(key: name, value: 1)])])
    }
    #expect(try decided(1_000) == [nil, "published"])
    #expect(try decided(8_000_000) == ["too_complex", "too_complex"])
  }

  @Test("the largest documents, and every operator, by 500 rules") func worst() throws {
    let path = try Self.path("fullDocument.v")
    let deep = try Self.path("fullDocument.v" + String(repeating: ".0", count: 60))
    func string(_ text: String) -> ConditionValue {
      ConditionValue(type: .string, bytes: Value.string(text).bytes)
    }
    let long = String(repeating: "a", count: 100_000)
    let wide = (0..<20).map { last in
      Value.document(
        (0..<200).map { .init(key: "k\($0)", value: 1) } + [.init(key: "l", value: .int32(last))])
    }
    let tests: [ConditionTest] = [
      .equals((0..<200).map { string("\($0)") }), .equals([string(long)]),
      .equals(wide.dropFirst().map { ConditionValue(type: .document, bytes: $0.bytes) }),
      .type([.objectID]), .greater(string(long)), .less(Self.decimal(1, -300)),
      .greater(ConditionValue(type: .double, bytes: Value.double(1e-300).bytes)),
      .matches(try ConditionPattern("x$")), .matches(try ConditionPattern("(?=b)a|(a+)+c")),
    ]
    let rules = (0..<500).map { number -> Condition? in
      .test(number % 50 == 49 ? deep : path, tests[number % tests.count])
    }
    var nested: Value = ["0": 1]
    for _ in 0..<11 { nested = .array([.document([.init(key: "0", value: nested)]), nested]) }
    let values: [(Value, Bool)] = [
      (.array((0..<700_000).map { _ in .null }), true),
      (.string(String(repeating: "a", count: 16_000_000)), true),
      (.array((0..<100).map { _ in .string(long) }), true),
      (.array((0..<1_000).map { _ in wide[0] }), true),
      (.array((0..<5_000).map { _ in .double(1e-300) }), true),
      (.array((0..<5_000).map { _ in Value.decimal(1, -300) }), true), (nested, false),
    ]
    for (index, (value, usesUp)) in values.enumerated() {
      let found = try Self.outcomes(rules, ["v": value])
      #expect(!usesUp || found.contains { !$0.isDecided }, "value \(index)")
    }
  }

  @Test("long lists in each of 500 rules are no matter") func lists500() throws {
    let path = try Self.path("fullDocument.rid")
    let conditions = (0..<500).map { rule in
      Condition?.some(
        .test(
          path,
          .equals(
            (0..<200).map {
              ConditionValue(type: .string, bytes: Value.string("\(rule)-\($0)").bytes)
            })))
    }
    let found = try Self.outcomes(conditions, ["rid": "321-7"])
    #expect(found.map(\.rule) == [321] && found.map(\.isDecided) == [true])
  }

  @Test("many values are found as few are") func sorted() throws {
    var random = SeededRandom(seed: 11)
    let path = try Self.path("fullDocument.v")
    func value() -> Value {
      switch random.below(13) {
      case 0: .int32(Int32(random.below(5)))
      case 1: .int64(Int64(random.below(5)))
      case 2: .double([0, 1.5, 2, 0.1, .nan, .infinity, -.infinity][random.below(7)])
      case 3: Value.decimal(UInt64(random.below(40)), -random.below(2))
      case 4: .raw(.decimal128, Array(repeating: 0, count: 15) + [0x7C])
      case 5: .string(["", "a", "ab", "b", "abcdefghi", "abcdefghj"][random.below(6)])
      case 6: .bool(random.below(2) == 0)
      case 7: .date(Int64(random.below(3)) - 1)
      case 8: .binary(UInt8(random.below(2)), random.bytes(random.below(2)).map { $0 & 1 })
      case 9: .null
      case 10: ["k": .int32(Int32(random.below(2)))]
      case 11: .timestamp(UInt32(random.below(2)), UInt32(random.below(2)))
      default: .objectID(Array(repeating: UInt8(random.below(2)), count: 12))
      }
    }
    var found = 0
    for _ in 0..<2_000 {
      let wanted = (0..<(9 + random.below(10))).map { _ in
        let value = value()
        return ConditionValue(type: value.type, bytes: value.bytes)
      }
      let document: Value = ["v": value()]
      let together = try Self.outcome(.test(path, .equals(wanted)), document)
      let singly = try Self.outcome(
        .any(wanted.map { .test(path, .equals([$0])) }), document)
      #expect(together == singly, "\(document) \(wanted)")
      if together != nil { found += 1 }
    }
    #expect(found > 500)
  }

  @Test("an update too large to be shown is not published on a guess") func oversized() throws {
    var conditional = try rule(envelope: .document)
    conditional.fullDocument = .whenAvailable
    conditional.condition = .test(try Self.path("updateDescription.updatedFields.a"), .exists)
    var mapper = Mapper(rules: [conditional], sourceName: "rs0")
    try Change.update(["updatedFields": ["a": 1]]).with { event in
      var event = event
      event.updateDescription = nil
      event.isOversized = true
      #expect(mapper.firstMatch(event)?.rule == 0)
      var subject = ByteWriter()
      #expect(throws: MappingError.self) {
        try mapper.writeSubject(rule: 0, event: event, into: &subject)
      }
    }
  }

  @Test("decimals and doubles that are alike, and many that aren't") func decimals() throws {
    // 0.1, to which no double is equal.
    let condition = Condition.test(
      try Self.path("fullDocument.v"), .equals([Self.decimal(1, -1)]))
    let near = Value.array((0..<30_000).map { .double(Double($0) * 1e-300) })
    #expect(try Self.decided(condition, ["v": near])[0] != "published")
    // Whether 1e-300 is the double takes hundreds of digits.
    for (exact, value) in [
      (Self.decimal(1, -300), Value.double(1e-300)),
      (ConditionValue(type: .double, bytes: Value.double(1e-300).bytes), Value.decimal(1, -300)),
    ] {
      let condition = Condition.test(try Self.path("fullDocument.v"), .equals([exact]))
      let few = Value.array((0..<10).map { _ in value })
      #expect(try Self.decided(condition, ["v": few]) == [nil, "published"])
      let many = Value.array((0..<100).map { _ in value })
      #expect(try Self.decided(condition, ["v": many]) == ["too_complex", "too_complex"])
    }
    for (test, value, expected) in [
      (ConditionTest.greater(Self.decimal(1, -1)), 0.1, true),
      (.less(Self.decimal(1, -1)), 0.1, false),
      (.less(Self.decimal(1, -1)), 0.09999999999999999, true),
      (.equals([Self.decimal(5, -1)]), 0.5, true),
      (.greater(Self.decimal(1, 400)), 1e308, false), (.less(Self.decimal(1, 400)), 1e308, true),
      (.greater(Self.decimal(1, -400)), 1e-300, true),
      (.greater(Self.decimal(1, -400)), 0, false),
    ] {
      let outcome = try Self.outcome(
        .test(try Self.path("fullDocument.v"), test), ["v": .double(value)])
      #expect((outcome == "published") == expected, "\(test) \(value)")
    }
  }

  @Test("a path that numbers make branch") func path() throws {
    var value: Value = ["0": 1]
    for _ in 0..<40 { value = .array([.document([.init(key: "0", value: value)])]) }
    let deep = "fullDocument.v" + String(repeating: ".0", count: 60)
    let outcome = try Self.outcome(.test(try Self.path(deep), .equals([Self.int(2)])), ["v": value])
    #expect(outcome == nil || outcome == "too_complex")
  }

  @Test("many paths of a filter") func filter() throws {
    let names = (0..<300).map { "field\($0 * 7)" } + ["12", "34"]
    let paths = names.map { "fullDocument.\($0).x" }
    let document = Value.document(
      (0..<3_000).map { .init(key: "field\($0)", value: ["x": .int32($0), "y": 1]) }
        + [.init(key: "12", value: [["x": 5, "y": 1], 3])])
    let written = try Written(try rule(envelope: .document, include: paths)).body(.insert(document))
    let expected =
      (0..<300).map { #""field\#($0 * 7)":{"x":\#($0 * 7)}"# } + [#""12":[{"x":5}]"#]
    #expect(written == "{" + expected.joined(separator: ",") + "}")
    let rest = try Written(try rule(envelope: .document, exclude: paths)).body(.insert(document))
    #expect(rest.contains(#""field7":{"y":1},"field8":{"x":8,"y":1}"#))
    #expect(rest.hasSuffix(#""12":[{"y":1},3]}"#))
  }
}

extension Value {
  static func decimal(_ coefficient: UInt64, _ exponent: Int) -> Value {
    let high = UInt64(exponent + 6176) << 49
    return .raw(
      .decimal128,
      withUnsafeBytes(of: (coefficient.littleEndian, high.littleEndian)) { Array($0) })
  }
}
