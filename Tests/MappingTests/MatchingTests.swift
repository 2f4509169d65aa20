import Mapping
import Oplog
import TestRandom
import Testing

@Suite("Matching")
struct MatchingTests {
  @Test(
    "namespaces",
    arguments: [
      ("rocketchat.users", "rocketchat.users", true),
      ("rocketchat.users", "rocketchat.users2", false),
      ("rocketchat.*", "rocketchat.users", true), ("rocketchat.*", "rocketchat.a.b", true),
      ("rocketchat.*", "rocketchat2.users", false), ("*.users", "a.users", true),
      ("*.users", "a.b.users", false), ("*.users", "a.users.b", false), ("*.*", "a.b", true),
      ("db.prefix_*", "db.prefix_", true), ("db.prefix_*", "db.prefix_a", true),
      ("db.prefix_*", "db.a_prefix_", false), ("db.*_suffix", "db.a_suffix", true),
      ("db.a*b*c", "db.aXbYc", true), ("db.a*b*c", "db.abbc", true), ("db.a*b*c", "db.acb", false),
      ("db.a.b", "db.a.b", true), ("db.a.*", "db.a.b", true), ("db.a.*", "db.ab", false),
      ("d*.c", "db.c", true), ("db.**", "db.x", true), ("db.c?", "db.c1", false),
      ("*.*", "db", true), ("db.*", "db", true), ("db.c", "db", false),
      // Whatever a server takes for a name.
      ("db.my coll", "db.my coll", true), ("db.my coll", "db.my  coll", false),
      ("db. c ", "db. c ", true), ("db. c", "db.c", false), ("db.a\tb\nc", "db.a\tb\nc", true),
      ("db.a\u{7F}", "db.a\u{7F}", true), ("db.\u{301}", "db.\u{301}", true),
      ("db.e\u{301}", "db.\u{E9}", false), ("db.a\"b'c", "db.a\"b'c", true),
      ("db.a\\b", "db.a\\b", true), ("db.c$d", "db.c$d", true), ("db.%20", "db. ", false),
      ("d\tb.c", "d\tb.c", true), ("db..c", "db..c", true), ("db.* *", "db.my coll", true),
    ])
  func namespaces(_ pattern: String, _ namespace: String, _ expected: Bool) throws {
    #expect(try NamespacePattern(parsing: pattern).matches(namespace) == expected)
    let written = Written(try rule(namespace: pattern))
    var change = Change.insert([:])
    change.namespace = namespace
    #expect(try written.matches(change) == [expected ? [0] : []])
  }

  @Test("globs agree with the definition of a star") func globProperty() throws {
    func definition(_ p: ArraySlice<Character>, _ t: ArraySlice<Character>) -> Bool {
      guard let head = p.first else { return t.isEmpty }
      if head == "*" {
        return (t.startIndex...t.endIndex).contains { definition(p.dropFirst(), t[$0...]) }
      }
      return t.first == head && definition(p.dropFirst(), t.dropFirst())
    }
    var chance = SeededRandom(seed: 2)
    var matched = 0
    for _ in 0..<20_000 {
      let pattern = (0...chance.below(6)).map { _ in chance.pick(["a", "b", "*"] as [Character]) }
      let text = (0...chance.below(8)).map { _ in chance.pick(["a", "b"] as [Character]) }
      let expected = definition(pattern[...], text[...])
      matched += expected ? 1 : 0
      #expect(
        try NamespacePattern(parsing: "d.\(String(pattern))").matches("d.\(String(text))")
          == expected)
    }
    #expect(matched > 1000)
  }

  @Test(
    "impossible namespaces",
    arguments: [
      ("", 0), ("users", 0), (".users", 0), ("db.", 3), ("d b.c", 1), ("d\u{0}.c", 1),
      ("db.c\u{0}", 4), ("d$.c", 1), ("d/e.c", 1), ("d\"e.c", 1),
    ])
  func impossible(_ pattern: String, _ offset: Int) {
    #expect(error { _ = try NamespacePattern(parsing: pattern) }?.offset == offset)
  }

  @Test("the first rule takes the event; continue hands it on") func order() throws {
    let one = try rule(name: "one", namespace: "a.b", operations: [OperationSet(.insert)])
    let two = try rule(name: "two", namespace: "a.*", continues: true)
    let three = try rule(name: "three", namespace: "a.c", operations: [OperationSet(.delete)])
    let four = try rule(name: "four", namespace: "*.c", continues: true)
    let written = Written(one, two, three, four)
    func change(_ namespace: String, _ operation: OperationType) -> Change {
      Change(operation: operation, namespace: namespace)
    }
    #expect(
      try written.matches(
        change("a.b", .insert), change("a.b", .update), change("a.c", .insert),
        change("a.c", .delete), change("b.c", .delete), change("b.b", .insert),
        change("a.b", .insert)
      ) == [[0], [1], [1, 3], [1, 2], [3], [], [0]])
  }

  @Test("more namespaces than are remembered") func cacheOverflow() throws {
    let rules = [try rule(namespace: "a.c1*"), try rule(namespace: "a.*7")]
    var mapper = Mapper(rules: rules, sourceName: "rs0")
    for round in 0..<2 {
      for n in 0..<6000 {
        var change = Change.insert([:])
        change.namespace = "a.c\(n)"
        let expected = "\(n)".hasPrefix("1") ? 0 : "\(n)".hasSuffix("7") ? 1 : nil
        #expect(
          try change.with { mapper.firstMatch($0)?.rule } == expected, "c\(n) in round \(round)")
      }
    }
  }

  @Test("operations by their configuration names") func operationNames() {
    #expect(
      OperationType.allCases.map(\.configurationName) == [
        "insert", "update", "replace", "delete", "drop", "rename", "drop_database", "create",
        "create_indexes", "drop_indexes", "modify",
      ])
    for operation in OperationType.allCases {
      #expect(OperationType(configurationName: operation.configurationName) == operation)
    }
    #expect(OperationType(configurationName: "dropDatabase") == nil)
  }
}

/// The syntax error that `body` must throw.
func error(_ body: () throws -> Void) -> RuleSyntaxError? {
  do {
    try body()
    return nil
  } catch {
    return error as? RuleSyntaxError
  }
}
