import JSON
import JSONSchema

/// Terms about values of one type, all of which have to hold.
struct Conjunction {
  var type: JSONTypes
  /// With whether the writer's schema says so.
  var atoms: [Literal: Bool] = [:]
  /// The one value that is allowed, if there is such a term.
  var value: Text?
  /// As in `Goal`.
  var said: Set<Literal> = []
  /// Not all that is wanted.
  var isPart = false

  /// In an order that doesn't depend on hashes, so that the same witness is found each time.
  var sorted: [(literal: Literal, isWriter: Bool)] {
    atoms.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
  }

  /// What is wanted of one value in any case, so that its impossibility is seen early: for an object only
  /// members of known names, and no more than they need.
  func necessary(_ solver: Solver) -> Conjunction {
    guard type == .object || type == .array else { return self }
    var part = self
    part.isPart = true
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
  var said: Set<Literal> = []

  init(type: JSONTypes) { self.type = type }

  var conjunction: Conjunction {
    Conjunction(type: type, atoms: atoms, value: value, said: said)
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
