import BSON
import Foundation
import Mapping
import Oplog
import Testing

/// Prints what the worst documents take that conditions (`where`) can meet, without asserting it: of an event
/// for which a rule wants a document fetched, so that they are judged twice. The bound in a release build is
/// 50 ms.
@Suite struct TimingTests {
  private static func path(_ text: String) throws -> EventPath { try EventPath(parsing: text) }

  private static func wanted(_ value: Value) -> ConditionValue {
    ConditionValue(type: value.type, bytes: value.bytes)
  }

  private static func measure(
    _ name: String, rules: Int = 500, _ condition: Condition, _ document: Value
  ) throws {
    let rules = try (0..<rules).map { number -> Rule in
      var made = try rule(name: "r\(number)", continues: true)
      made.condition = condition
      made.fullDocument = .whenAvailable
      return made
    }
    var mapper = Mapper(rules: rules, sourceName: "rs0")
    var change = Change(operation: .update, fullDocument: document)
    change.updateDescription = ["updatedFields": ["a": 1]]
    change.image = .post
    try change.with { event in
      var best = Double.infinity
      var undecided = 0
      for _ in 0..<3 {
        let start = threadTime()
        _ = mapper.wantedImages(event)
        undecided = 0
        var next = mapper.firstMatch(event)
        while let match = next {
          if !match.isDecided { undecided += 1 }
          next = mapper.nextMatch(event, after: match)
        }
        best = min(best, threadTime() - start)
      }
      #expect(undecided > 0, "\(name) does not use the budget up")
      print("conditions: \(name), \(Int(best * 1e9)) ns")
    }
  }

  /// Seconds of CPU time, since other tests run concurrently.
  private static func threadTime() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  @Test func conditions() throws {
    let value = try Self.path("fullDocument.v")
    let absent = Condition.test(try Self.path("fullDocument.last"), .exists)
    func many(_ count: Int, _ item: Value) -> Value { ["v": .array((0..<count).map { _ in item })] }
    func named(_ count: Int, _ name: (Int) -> String, _ item: Value) -> Value {
      .document((0..<count).map { .init(key: name($0), value: item) })
    }
    func text(_ character: String, _ count: Int) -> String {
      String(repeating: character, count: count)
    }
    try Self.measure("a field that lacks", absent, named(700_000, { "\($0)" }, .null))
    try Self.measure(
      "a field that lacks, long names",
      .test(try Self.path("fullDocument." + text("n", 59) + "z"), .exists),
      named(200_000, { _ in text("n", 59) + "y" }, .null))
    try Self.measure(
      "a field that lacks, regular expressions", absent,
      named(200_000, { "\($0)" }, .regex(text("r", 30), text("o", 20))))
    try Self.measure(
      "a field that lacks, a name of 16 MB", absent, named(1, { _ in text("k", 16_000_000) }, .null)
    )
    try Self.measure(
      "a number in a list, 700,000 numbers",
      .test(value, .equals((0..<8).map { Self.wanted(.double(Double($0) + 0.5)) })),
      many(700_000, 9))
    try Self.measure(
      "a text in a list of 5,000, 200,000 texts", rules: 20,
      .test(
        value,
        .equals((0..<5_000).map { Self.wanted(.string(text("a", 26) + "\(10_000 + $0)")) })),
      many(200_000, .string(text("a", 26) + "15000x")))
    try Self.measure(
      "a decimal, 100,000 doubles", .test(value, .equals([Self.wanted(Value.decimal(1, -300))])),
      many(100_000, .double(1e-300)))
    let wide = (0..<20).map { last in
      Value.document(
        (0..<200).map { .init(key: "k\($0)", value: 1) } + [.init(key: "l", value: .int32(last))])
    }
    try Self.measure(
      "a document in a list, 1,000 documents",
      .test(value, .equals(wide.dropFirst().map { Self.wanted($0) })), many(1_000, wide[0]))
    var nested: (Value, Value) = (1, 2)
    for _ in 0..<90 { nested = (["a": nested.0], ["a": nested.1]) }
    try Self.measure(
      "a nested document, 10,000 documents", .test(value, .equals([Self.wanted(nested.1)])),
      many(10_000, nested.0))
    try Self.measure(
      "a path through 200,000 documents",
      .test(try Self.path("fullDocument.v.a.b"), .type([.objectID])),
      many(200_000, ["x": 1, "a": ["c": 1]]))
    let (long, beyond, short) = (
      Value.string(text("a", 100_000)), Value.string(text("é漢", 20_000)), Value.string("aaaaaaac")
    )
    for (name, pattern, item, count) in [
      ("a table, short texts", "(a.{12}){3}b", short, 300_000),
      ("a table, beyond ASCII", "(a.{12}){3}b", beyond, 150),
      ("states, beyond ASCII", "a.{300}b", beyond, 150),
      ("places tried, beyond ASCII", "^(?=(a+)+$)b", beyond, 150),
      ("references", "(a{1,5000})\\1{3}c", long, 150),
    ] {
      try Self.measure(
        "a pattern with \(name)", .test(value, .matches(try ConditionPattern(pattern))),
        many(count, item))
    }
  }
}
