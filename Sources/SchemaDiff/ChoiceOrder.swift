import JSONSchema

/// Which of several choices is made first. The answer doesn't depend on it; how long it takes does.
extension Solver {
  /// The index of the choice to make next.
  func next(of choices: [Branch.Choice], _ type: JSONTypes) -> Int {
    // A member's constant tells alternatives apart: with it, nearly all else is decided.
    if type == .object {
      let telling = choices.indices.filter { isDiscriminated(choices[$0]) }
      if let fewest = telling.min(by: { choices[$0].literals.count < choices[$1].literals.count }) {
        return fewest
      }
    }
    // What is only not to be, like two alternatives at once, follows from other choices sooner than it leads to them.
    func cost(_ index: Int) -> (Int, Int) {
      (isOnlyForbidding(choices[index]) ? 1 : 0, choices[index].literals.count)
    }
    return choices.indices.min { cost($0) < cost($1) } ?? 0
  }

  private func isOnlyForbidding(_ choice: Branch.Choice) -> Bool {
    choice.literals.allSatisfy { literal in
      if case .schema = builder.table[literal] { return !literal.isPositive }
      return false
    }
  }

  /// Whether each alternative says a constant for the same member.
  private func isDiscriminated(_ choice: Branch.Choice) -> Bool {
    guard choice.literals.count > 2, let first = choice.literals.first else { return false }
    var names = constantMembers(first)
    for literal in choice.literals.dropFirst() where !names.isEmpty {
      names.formIntersection(constantMembers(literal))
    }
    return !names.isEmpty
  }

  private func constantMembers(_ literal: Literal) -> Set<Text> {
    if let known = constants[literal] { return known }
    let found = constantMembers(literal, 4)
    constants[literal] = found
    return found
  }

  private func constantMembers(_ literal: Literal, _ depth: Int) -> Set<Text> {
    guard depth > 0 else { return [] }
    switch builder.table[literal] {
    case .schema(let number) where literal.isPositive:
      return constantMembers(builder.body(number), depth - 1)
    case .all(let literals) where literal.isPositive:
      return literals.reduce(into: []) { $0.formUnion(constantMembers($1, depth - 1)) }
    case .member(let name, let inner):
      return constant(literal.isPositive ? inner : !inner, 4) == nil ? [] : [name]
    default: return []
    }
  }
}
