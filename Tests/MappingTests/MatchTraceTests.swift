import BSON
import Mapping
import Oplog
import TestRandom
import Testing

@Suite("Traces of matching")
struct MatchTraceTests {
  private func test(_ path: String, _ test: ConditionTest) throws -> Condition {
    .test(try EventPath(parsing: path), test)
  }

  private func value(_ value: Value) -> ConditionValue {
    ConditionValue(type: value.type, bytes: value.bytes)
  }

  private func trace(_ rules: [Rule], _ change: Change) throws -> MatchTrace {
    try change.with { event in
      var mapper = Mapper(rules: rules, sourceName: "rs0")
      return mapper.trace(event)
    }
  }

  @Test("says of each rule why it does not take the event") func verdicts() throws {
    var refused = try rule(name: "refused", namespace: "a.b")
    refused.condition = .all([
      try test("fullDocument.rid", .exists),
      .not(try test("fullDocument.t", .exists)),
      try test("fullDocument.n", .greater(value(5))),
    ])
    let rules = [
      try rule(name: "elsewhere", namespace: "a.c"),
      try rule(name: "deletes", namespace: "a.b", operations: [OperationSet(.delete)]),
      refused,
      try rule(name: "copy", namespace: "a.*", continues: true),
      try rule(name: "winner", namespace: "*.*"),
      try rule(name: "late", namespace: "*.*"),
    ]
    var change = Change.insert(["_id": 1, "rid": "r", "t": ["deep", "er"], "n": 9])
    change.namespace = "a.b"
    let found = try trace(rules, change)
    #expect(
      found.verdicts == [
        .otherNamespace, .otherOperation,
        .refused(
          RefusedCondition(
            condition: "fullDocument.t: { $exists: false }",
            found: [
              .init(path: "fullDocument.t", values: [#""deep""#, #""er""#, #"["deep","er"]"#])
            ])),
        .taken, .taken, .notTried(after: 4),
      ])
    #expect(found.takers == [3, 4])
    change.fullDocument = ["_id": 1, "rid": "r", "n": 5]
    guard case .refused(let second) = try trace(rules, change).verdicts[2] else {
      Issue.record("the third condition holds")
      return
    }
    #expect(second.description == "fullDocument.n: { $gt: 5 }, and fullDocument.n is 5")
  }

  @Test("conditions are written as in a configuration") func texts() throws {
    let path = try EventPath(parsing: "fullDocument.x")
    let cases: [(Condition, String)] = [
      (.test(path, .equals([value("a")])), #"fullDocument.x: "a""#),
      (.not(.test(path, .equals([value("")]))), #"fullDocument.x: { $ne: "" }"#),
      (.test(path, .equals([value(1), value(2)])), "fullDocument.x: { $in: [1, 2] }"),
      (.not(.test(path, .equals([value(1), value(2)]))), "fullDocument.x: { $nin: [1, 2] }"),
      (.test(path, .type([.string, .int64])), "fullDocument.x: { $type: [string, long] }"),
      (.test(path, .matches(try ConditionPattern("^bot"))), #"fullDocument.x: { $regex: "^bot" }"#),
      (.not(.test(path, .less(value(3)))), "fullDocument.x: { $not: { $lt: 3 } }"),
      (
        .any([.test(path, .exists), .test(path, .lessOrEqual(value(3)))]),
        "$or: [{ fullDocument.x: { $exists: true } }, { fullDocument.x: { $lte: 3 } }]"
      ),
    ]
    for (condition, text) in cases {
      var one = try rule(namespace: "*.*")
      one.condition = .all([.not(.any([condition, .not(condition)]))])
      let found = try trace([one], .insert(["_id": 1, "x": 2]))
      guard case .refused(let refused) = found.verdicts[0] else {
        Issue.record("\(text): taken")
        continue
      }
      #expect(refused.condition.contains(text), "\(refused.condition)")
      #expect(refused.found == [.init(path: "fullDocument.x", values: ["2"])])
    }
  }

  @Test("the takers are those of the mapper, whatever rules and events") func property() throws {
    var chance = SeededRandom(seed: 77)
    var taken = 0
    var refused = 0
    var several = 0
    for _ in 0..<4000 {
      let rules = try (0...chance.below(6)).map { try randomRule(&chance, $0) }
      let change = randomChange(&chance)
      var mapper = Mapper(rules: rules, sourceName: "rs0")
      let (trace, takers, undecided) = try change.with { event in
        var takers: [Int] = []
        var undecided: [Int] = []
        var next = mapper.firstMatch(event)
        while let match = next {
          takers.append(match.rule)
          if !match.isDecided { undecided.append(match.rule) }
          next = mapper.nextMatch(event, after: match)
        }
        return (mapper.trace(event), takers, undecided)
      }
      #expect(trace.takers == takers, "\(rules) \(change)")
      #expect(trace.verdicts.count == rules.count)
      #expect(undecided == trace.takers.filter { trace.verdicts[$0] == .undecided })
      taken += takers.isEmpty ? 0 : 1
      several += takers.count > 1 ? 1 : 0
      for verdict in trace.verdicts {
        guard case .refused(let why) = verdict else { continue }
        refused += 1
        #expect(!why.condition.isEmpty && !why.found.isEmpty)
      }
    }
    #expect(taken > 1000 && refused > 1000 && several > 50)
  }

  @Test("a condition that is not decided is the rule's, as for the mapper") func undecided() throws
  {
    let deep = Value.array((0..<4000).map { .document([.init(key: "k", value: .int32($0))]) })
    let path = try EventPath(parsing: "fullDocument.list.k")
    var greedy = try rule(name: "greedy")
    greedy.condition = .all((0..<2000).map { .not(.test(path, .equals([value(.int32(-$0 - 1))]))) })
    let rules = [greedy, try rule(name: "next")]
    let change = Change.insert(.document([.init(key: "list", value: deep)]))
    let match = try change.with { event in
      var mapper = Mapper(rules: rules, sourceName: "rs0")
      return mapper.firstMatch(event)
    }
    #expect(match?.rule == 0 && match?.isDecided == false)
    #expect(try trace(rules, change).verdicts == [.undecided, .notTried(after: 0)])
  }

  // MARK: Random rules and events

  private func randomRule(_ chance: inout SeededRandom, _ number: Int) throws -> Rule {
    var one = try rule(
      name: "r\(number)", namespace: chance.pick(["a.b", "a.*", "*.*", "c.b", "*.c"]),
      operations: chance.pick([
        OperationSet(rawValue: .max), .documents, [OperationSet(.insert), OperationSet(.rename)],
        OperationSet(.update),
      ]), continues: chance.below(3) == 0)
    if chance.below(4) > 0 { one.condition = try randomCondition(&chance, depth: 2) }
    return one
  }

  private func randomCondition(_ chance: inout SeededRandom, depth: Int) throws -> Condition {
    let kind = chance.below(depth == 0 ? 4 : 7)
    if kind == 4 || kind == 5 {
      let parts = try (0...chance.below(3)).map { _ in
        try randomCondition(&chance, depth: depth - 1)
      }
      return kind == 4 ? .all(parts) : .any(parts)
    }
    if kind == 6 { return .not(try randomCondition(&chance, depth: depth - 1)) }
    let path = try EventPath(
      parsing: chance.pick([
        "fullDocument.x", "fullDocument.x.y", "fullDocument.list", "documentKey._id",
        "operationType", "ns.coll", "updateDescription.updatedFields.x", "txnNumber", "wallTime",
      ]))
    let literal = value(chance.pick([1, 2, "a", "insert", .null, .bool(true)] as [Value]))
    let tests: [ConditionTest] = [
      .exists, .equals([literal]), .equals([literal, value(7), value("z")]), .greater(literal),
      .lessOrEqual(literal), .type([.string, .int32]), .matches(try ConditionPattern("^i")),
    ]
    return .test(path, chance.pick(tests))
  }

  private func randomChange(_ chance: inout SeededRandom) -> Change {
    let x: Value = chance.pick([1, 2, "a", ["y": 1], [1, "a"], .null] as [Value])
    var change: Change
    switch chance.below(4) {
    case 0: change = .insert(["_id": 1, "x": x, "list": [1, 2]])
    case 1: change = .update(["updatedFields": ["x": x], "removedFields": []])
    case 2: change = .delete()
    default:
      change = Change(operation: .rename, documentKey: nil)
      change.to = chance.pick(["a.b", "c.b", "d.c"])
    }
    change.namespace = chance.pick(["a.b", "a.c", "c.b", "d.d"])
    if chance.below(3) == 0 { change.txnNumber = 2 }
    if chance.below(5) == 0, change.operation == .update { change.isOversized = true }
    return change
  }
}
