import JSON
import JSONSchema

/// Terms about values of one type, all of which have to hold.
struct Conjunction {
  var type: JSONTypes
  /// With whether the writer's schema says so.
  var atoms: [Literal: Bool] = [:]
  /// The one value that is allowed, if there is such a term.
  var value: Text?
  var declared = Declared()

  /// In an order that doesn't depend on hashes, so that the same witness is found each time.
  var sorted: [(literal: Literal, isWriter: Bool)] {
    atoms.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
  }

  /// What is wanted of one value in any case, so that its impossibility is seen early: for an object only
  /// members of known names, and no more than they need.
  func necessary(_ solver: Solver) -> Conjunction {
    guard type == .object || type == .array else { return self }
    var part = self
    part.atoms = atoms.filter { literal, _ in
      switch solver.builder.table[literal] {
      case .member, .itemAt, .someItem, .value: true
      case .someMember: !literal.isPositive
      default: false
      }
    }
    return part
  }
}

/// A conjunction while it is taken apart.
struct Branch {
  struct Choice {
    var literals: [Literal]
    var isWriter: Bool
  }

  var type: JSONTypes
  var pending: [(literal: Literal, isWriter: Bool)] = []
  var choices: [Choice] = []
  var atoms: [Literal: Bool] = [:]
  var schemas: Set<Literal> = []
  var value: Text?
  var declared = Declared()

  init(type: JSONTypes) { self.type = type }

  var conjunction: Conjunction {
    Conjunction(type: type, atoms: atoms, value: value, declared: declared)
  }

  /// The value of a member that has to be there, if it is a constant.
  func memberValue(_ name: Text, _ solver: Solver) -> JSONValue? {
    guard type == .object else { return nil }
    var isPresent = false
    var found: JSONValue?
    for (literal, _) in atoms {
      guard case .member(name, let inner) = solver.builder.table[literal] else { continue }
      if literal.isPositive { isPresent = true }
      found = found ?? solver.constant(literal.isPositive ? inner : !inner, 4)
    }
    return isPresent ? found : nil
  }
}

extension Solver {
  /// The only value that a literal allows, as far as that is obvious.
  func constant(_ literal: Literal, _ depth: Int) -> JSONValue? {
    guard literal.isPositive, depth > 0 else { return nil }
    switch builder.table[literal] {
    case .value(let text): return builder.table.values[text]
    case .schema(let number): return constant(builder.body(number), depth - 1)
    case .all(let literals):
      for each in literals {
        if let value = constant(each, depth - 1) { return value }
      }
      return nil
    default: return nil
    }
  }
}

/// What a writer's schema has to say about the names of an object's members.
struct Declared {
  var names: Set<Text> = []
  var patterns: Set<Int> = []
  /// It says what other members are like, so there may be such.
  var describesOthers = false

  mutating func add(_ other: Declared) {
    names.formUnion(other.names)
    patterns.formUnion(other.patterns)
    describesOthers = describesOthers || other.describesOthers
  }
}

extension Solver {
  /// By all that the literals say of the same value, in whatever combination.
  func declared(_ literals: Set<Literal>) -> Declared {
    var seen: Set<Int> = []
    var found = Declared()
    for literal in literals { collect(literal.term, &seen, &found) }
    return found
  }

  private func collect(_ term: Int, _ seen: inout Set<Int>, _ found: inout Declared) {
    guard seen.insert(term).inserted else { return }
    switch builder.table.terms[term] {
    case .all(let literals): for literal in literals { collect(literal.term, &seen, &found) }
    case .schema(let number): collect(builder.body(number).term, &seen, &found)
    case .member(let name, _): found.names.insert(name)
    case .someMember(let keys, let inner):
      switch keys {
      case .matching(let pattern): found.patterns.insert(pattern)
      case .outside(let names, let patterns):
        found.names.formUnion(names)
        found.patterns.formUnion(patterns)
        // `additionalProperties: true` is as if it weren't there.
        if inner != .never { found.describesOthers = true }
      }
    default: break
    }
  }
}
