import JSON
import JSONSchema

/// What a writer's schema has to say about the names of an object's members.
struct Declared {
  var names: Set<Text> = []
  var patterns: Set<Int> = []
  /// It says what other members are like or called, so there may be such. Also where it is not known what it says.
  var describesOthers = false
  /// It says how many members there are.
  var counts = false
}

/// What a writer's schema says of a place, in whatever combination: of all its alternatives, also of those that are
/// forbidden. A member that one of them declares is declared.
extension Solver {
  func declared(_ said: Set<Literal>) -> Declared {
    var found = Declared()
    for term in terms(said) {
      switch term {
      case .member(let name, _): found.names.insert(name)
      case .someMember(let keys, let inner):
        switch keys {
        case .matching(let pattern): found.patterns.insert(pattern)
        case .outside(let names, let patterns):
          found.names.formUnion(names)
          found.patterns.formUnion(patterns)
          // `additionalProperties: true` is as if it weren't there, however it is spelt.
          if !isImpossible(inner, .all) { found.describesOthers = true }
        }
      // Neither does `propertyNames: true` say anything.
      case .someKey(let inner): if !isImpossible(inner, .string) { found.describesOthers = true }
      case .members: found.counts = true
      case .value(let text):
        guard let members = builder.table.values[text]?.objectValue else { continue }
        // `{}` is the object of no members.
        if members.isEmpty { found.counts = true }
        found.names.formUnion(members.map { Text($0.key) })
      case .opaque: found.describesOthers = true
      default: break
      }
    }
    return found
  }

  /// Whether no value of some types is like that, whatever the writer's schema declares. False if that is not known.
  private func isImpossible(_ literal: Literal, _ types: JSONTypes) -> Bool {
    let literal = builder.table.all([literal, builder.table.types(types)])
    if let known = impossible[literal] { return known }
    let isKnownValue = Self.anyValues.contains { holds(literal, $0) == true }
    var isImpossible = false
    if !isKnownValue, literal != .always {
      // In its own search: this one may be in the midst of the same goal.
      let other = Solver(builder)
      if case .none = other.search(Goal(reader: [literal]), assumesDeclared: false) {
        isImpossible = true
      }
    }
    impossible[literal] = isImpossible
    return isImpossible
  }

  /// Nearly all that can be is one of these.
  private static let anyValues: [JSONValue] = [
    .null, true, 0, 1, .int(-1), .number("0.5"), "", "a", "text", [], [.null], .object([]),
    .object([.init("a", .null)]),
  ]

  /// What is said of the value of a member.
  ///
  /// - Parameters:
  ///   - name: its name, if it is known.
  ///   - isMeant: whether its name is one of a set.
  func said(
    _ said: Set<Literal>, ofMember name: Text?, where isMeant: (KeySet) -> Bool?
  ) -> Set<Literal> {
    collect(said) { term in
      switch term {
      case .member(let other, let inner): other == name ? inner : nil
      case .someMember(let keys, let inner): isMeant(keys) == false ? nil : inner
      default: nil
      }
    }
  }

  /// What is said of the item at an index.
  func said(_ said: Set<Literal>, ofItem index: Int) -> Set<Literal> {
    collect(said) { term in
      switch term {
      case .itemAt(let at, let inner): at == index ? inner : nil
      case .someItem(let start, let inner): start <= index ? inner : nil
      case .count(_, let inner): inner
      default: nil
      }
    }
  }

  private func collect(_ said: Set<Literal>, _ inner: (Term) -> Literal?) -> Set<Literal> {
    guard !said.isEmpty else { return [] }
    var found: Set<Literal> = []
    for term in terms(said) {
      guard let literal = inner(term) else { continue }
      let positive = literal.isPositive ? literal : !literal
      if positive != .always { found.insert(positive) }
    }
    return found
  }

  /// All terms about the value itself that literals consist of.
  private func terms(_ literals: Set<Literal>) -> [Term] {
    if let known = saidTerms[literals] { return known }
    var seen: Set<Int> = []
    var found: [Term] = []
    var open = literals.sorted().map(\.term)
    while let number = open.popLast() {
      guard seen.insert(number).inserted else { continue }
      switch builder.table.terms[number] {
      case .all(let parts): open += parts.map(\.term)
      case .schema(let schema):
        open.append(builder.body(schema).term)
        open += builder.spoken(schema).map(\.term)
      case let term: found.append(term)
      }
    }
    saidTerms[literals] = found
    return found
  }
}
