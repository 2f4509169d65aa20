import BSON
import Mapping
import Oplog
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
    let high = UInt64(exponent + 6176) << 49
    return ConditionValue(
      type: .decimal128,
      bytes: withUnsafeBytes(of: (coefficient.littleEndian, high.littleEndian)) { Array($0) })
  }

  /// Nil where no rule takes it; else its subject, or the code of the error.
  private static func outcome(_ condition: Condition, _ document: Value) throws -> String? {
    var conditional = try rule()
    conditional.condition = condition
    var mapper = Mapper(rules: [conditional], sourceName: "rs0")
    return try Change.insert(document).with { event -> String? in
      guard let rule = mapper.firstMatch(event) else { return nil }
      var subject = ByteWriter()
      do throws(MappingError) {
        try mapper.writeSubject(rule: rule, event: event, into: &subject)
        return "published"
      } catch {
        // Twice the same, and nothing is left behind.
        #expect(subject.count == 0)
        return error.code.rawValue
      }
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
    let condition = Condition.test(
      try Self.path("fullDocument.v"), .equals((0..<2_000).map { Self.int(-1 - $0) }))
    let few = Value.array((0..<500).map { .int32($0) })
    #expect(try Self.decided(condition, ["v": few]) == [nil, "published"])
    let many = Value.array((0..<50_000).map { .int32($0) })
    #expect(try Self.decided(condition, ["v": many]) == ["too_complex", "too_complex"])
    // What is found at the start is found.
    let found = Value.array([.int32(-1)] + (0..<50_000).map { .int32($0) })
    #expect(try Self.decided(condition, ["v": found]) == ["published", nil])
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

  @Test("rules share the steps") func rules() throws {
    let condition = Condition.test(try Self.path("fullDocument.last"), .exists)
    let document = Value.document((0..<150_000).map { .init(key: "\($0)", value: .null) })
    for count in [1, 40] {
      let rules = try (0..<count).map { index -> Rule in
        var made = try rule(name: "r\(index)", continues: true)
        made.condition = condition
        return made
      }
      var mapper = Mapper(rules: rules, sourceName: "rs0")
      let taken = try Change.insert(document).with { event in mapper.firstMatch(event) }
      #expect(taken == (count == 1 ? nil : 0))
    }
  }

  @Test("decimals and doubles that are alike, and many that aren't") func decimals() throws {
    // 0.1, to which no double is equal.
    let condition = Condition.test(
      try Self.path("fullDocument.v"), .equals([Self.decimal(1, -1)]))
    let near = Value.array((0..<30_000).map { .double(Double($0) * 1e-300) })
    #expect(try Self.decided(condition, ["v": near])[0] != "published")
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
