import JSON
import JSONSchema
import Patterns

/// What a value has to be, as two conjunctions: what its writer's schema says, and what is looked for (mostly,
/// that its reader's schema refuses it).
struct Goal: Hashable {
  var writer: Set<Literal> = []
  var reader: Set<Literal> = []
  /// What the writer's schema says of the value in whatever combination, where it matters what that declares.
  var said: Set<Literal> = []

  mutating func add(_ literal: Literal, _ isWriter: Bool) {
    guard literal != .always else { return }
    if isWriter { writer.insert(literal) } else { reader.insert(literal) }
  }

  mutating func add(_ other: Goal) {
    writer.formUnion(other.writer)
    reader.formUnion(other.reader)
    said.formUnion(other.said)
  }

  var isImpossible: Bool {
    let all = writer.union(reader)
    return all.contains(.never) || all.contains { all.contains(!$0) }
  }
}

/// The end of a search.
enum Answer {
  case found(JSONValue)
  /// There is no such value.
  case none
  case undecided(String)
  /// A value that fits all that could be judged: why it is not sure.
  case guess(JSONValue, String)
}

/// The doubts of a search that has found nothing yet.
struct Doubts {
  private var first: Answer?

  mutating func add(_ reason: String) {
    if first == nil { first = .undecided(reason) }
  }

  /// Nil for a value that was found.
  mutating func add(_ answer: Answer) -> JSONValue? {
    switch answer {
    case .found(let value): return value
    case .none: break
    case .undecided(let reason): add(reason)
    case .guess:
      if case .guess? = first { break }
      first = answer
    }
    return nil
  }

  var answer: Answer { first ?? .none }
}

/// Looks for a value with the wanted properties, or finds out that there is none.
///
/// Takes one JSON type after the other, splits what is alternative, and so has conjunctions of terms about one
/// type; arrays and objects lead to goals for their items and members. Schemas that refer to themselves come back
/// to a goal that is being worked on: the smallest value that reaches it doesn't contain another one, so the inner
/// search ends without one.
///
/// All work is counted, so a search ends, at worst undecided.
final class Solver {
  var builder: TermBuilder
  /// Names that the reader's schema declares and the writer's doesn't are not in the writer's open objects.
  var assumesDeclared = true
  var scratch = PatternScratch()
  var evaluationSteps = 0

  static let evaluationLimit = 2_000_000
  private static let stepLimit = 60_000
  /// For each question after so many that were not decided within that: the rest is hardly easier.
  private static let mostExhausted = 4
  private static let stepLimitAfterwards = 4_000
  private static let depthLimit = 48

  private var steps = 0
  private var limit = 0
  private var exhausted = 0
  private var depth = 0
  /// By literal: members for which it says a constant.
  var constants: [Literal: Set<Text>] = [:]
  /// The terms that literals consist of.
  var saidTerms: [Set<Literal>: [Term]] = [:]
  /// Whether there is no value for which a literal holds.
  var impossible: [Literal: Bool] = [:]
  /// What was found out for goals, with and without the assumption.
  private var known: [Bool: [Goal: Answer]] = [:]
  /// The same for those that were not decided, which another budget may change.
  private var doubtful: [Goal: Answer] = [:]
  private var open: [Goal: Int] = [:]
  /// The outermost goal in work that a search came back to.
  private var cameBackTo = Int.max

  init(_ builder: TermBuilder) { self.builder = builder }

  /// A value for the goal. Its own budget; what was found out for parts of earlier goals is used.
  func search(_ goal: Goal, assumesDeclared: Bool) -> Answer {
    self.assumesDeclared = assumesDeclared
    if steps > limit { exhausted += 1 }
    limit = exhausted < Self.mostExhausted ? Self.stepLimit : Self.stepLimitAfterwards
    steps = 0
    evaluationSteps = 0
    depth = 0
    open = [:]
    cameBackTo = .max
    doubtful = [:]
    return solve(goal)
  }

  /// Whether there is budget for one more step.
  func takeStep(_ cost: Int = 1) -> Bool {
    steps += cost
    return steps <= limit
  }

  // MARK: Goals

  func solve(_ goal: Goal) -> Answer {
    if goal.isImpossible { return .none }
    if let answer = known[assumesDeclared]?[goal] ?? doubtful[goal] { return answer }
    if let height = open[goal] {
      cameBackTo = min(cameBackTo, height)
      return .none
    }
    guard takeStep() else { return .undecided("the search takes too long") }
    guard depth < Self.depthLimit else { return .undecided("nested too deep") }
    let height = depth
    open[goal] = height
    depth += 1
    let outer = cameBackTo
    cameBackTo = .max
    defer {
      depth -= 1
      open[goal] = nil
      cameBackTo = min(outer, cameBackTo)
    }
    var doubts = Doubts()
    for type in Self.types {
      guard let value = doubts.add(solve(goal, type)) else { continue }
      known[assumesDeclared, default: [:]][goal] = .found(value)
      if cameBackTo >= height { cameBackTo = .max }
      return .found(value)
    }
    let answer = doubts.answer
    // What is so only because an outer goal is in work isn't known in general.
    if cameBackTo >= height {
      cameBackTo = .max
      if case .none = answer {
        known[assumesDeclared, default: [:]][goal] = answer
      } else {
        doubtful[goal] = answer
      }
    }
    return answer
  }

  /// The simplest values first.
  private static let types: [JSONTypes] = [
    .null, .boolean, .integer, .string, .fraction, .array, .object,
  ]

  private func solve(_ goal: Goal, _ type: JSONTypes) -> Answer {
    var branch = Branch(type: type)
    branch.said = goal.said
    for literal in goal.reader.sorted() { branch.pending.append((literal, false)) }
    for literal in goal.writer.sorted() { branch.pending.append((literal, true)) }
    return solve(branch)
  }

  // MARK: Conjunctions of one type

  private func solve(_ given: Branch) -> Answer {
    var branch = given
    guard takeStep() else { return .undecided("the search takes too long") }
    guard propagate(&branch) else { return .none }
    guard !branch.choices.isEmpty else { return solve(branch.conjunction) }
    // What is impossible already needs no choice.
    if case .none = solve(branch.conjunction.necessary(self)) { return .none }
    let choice = branch.choices.remove(at: next(of: branch.choices, branch.type))
    var doubts = Doubts()
    for literal in choice.literals {
      var next = branch
      next.pending.append((literal, choice.isWriter))
      if let value = doubts.add(solve(next)) { return .found(value) }
      // The other alternatives are for values without this one.
      if isAtom(literal) { branch.pending.append((!literal, choice.isWriter)) }
    }
    return doubts.answer
  }

  private func isAtom(_ literal: Literal) -> Bool {
    switch builder.table[literal] {
    case .all, .schema, .opaque: false
    default: true
    }
  }

  /// Takes apart all that is no alternative. False: it is contradictory.
  private func propagate(_ branch: inout Branch) -> Bool {
    while true {
      while let (literal, isWriter) = branch.pending.popLast() {
        guard take(literal, isWriter, &branch) else { return false }
      }
      var kept: [Branch.Choice] = []
      for choice in branch.choices {
        var literals: [Literal] = []
        var isFulfilled = false
        for literal in choice.literals {
          switch verdict(literal, branch, 4) {
          case true?: isFulfilled = true
          case false?: break
          case nil: literals.append(literal)
          }
          if isFulfilled { break }
        }
        if isFulfilled { continue }
        if literals.isEmpty { return false }
        if literals.count == 1 {
          branch.pending.append((literals[0], choice.isWriter))
        } else {
          kept.append(Branch.Choice(literals: literals, isWriter: choice.isWriter))
        }
      }
      branch.choices = kept
      if branch.pending.isEmpty { return true }
    }
  }

  private func take(_ literal: Literal, _ isWriter: Bool, _ branch: inout Branch) -> Bool {
    let term = builder.table[literal]
    switch term {
    case .always: return literal.isPositive
    case .types(let types):
      return JSONTypes(rawValue: types).contains(branch.type) == literal.isPositive
    case .all(let literals):
      if literal.isPositive {
        for each in literals { branch.pending.append((each, isWriter)) }
      } else {
        branch.choices.append(
          Branch.Choice(literals: literals.map { !$0 }, isWriter: isWriter))
      }
      return true
    case .schema(let number):
      // Remembered, too: a schema and its negation contradict each other whatever they say.
      if branch.schemas.contains(!literal) { return false }
      guard branch.schemas.insert(literal).inserted else { return true }
      let body = builder.body(number)
      branch.pending.append((literal.isPositive ? body : !body, isWriter))
      return true
    case .value(let text):
      let type = builder.table.values[text]?.schemaType ?? .all
      guard type == branch.type else { return !literal.isPositive }
      if literal.isPositive {
        if let known = branch.value { return known == text }
        branch.value = text
      }
    default:
      guard term.domain.contains(branch.type) else { return !literal.isPositive }
    }
    if branch.atoms[!literal] != nil { return false }
    branch.atoms[literal] = (branch.atoms[literal] ?? false) || isWriter
    return true
  }

  /// Whether a literal holds in a branch anyway, or can't; nil if neither is obvious.
  private func verdict(_ literal: Literal, _ branch: Branch, _ depth: Int) -> Bool? {
    if branch.atoms[literal] != nil || branch.schemas.contains(literal) { return true }
    if branch.atoms[!literal] != nil || branch.schemas.contains(!literal) { return false }
    let term = builder.table[literal]
    let isPositive = literal.isPositive
    switch term {
    case .always: return isPositive
    case .types(let types):
      return JSONTypes(rawValue: types).contains(branch.type) == isPositive
    case .value(let text):
      if builder.table.values[text]?.schemaType != branch.type { return !isPositive }
      return branch.value.map { ($0 == text) == isPositive }
    case .all(let literals):
      guard depth > 0 else { return nil }
      return all(literals) { verdict($0, branch, depth - 1) }.map { $0 == isPositive }
    case .schema(let number):
      guard depth > 0 else { return nil }
      return verdict(builder.body(number), branch, depth - 1).map { $0 == isPositive }
    case .opaque: return nil
    default: break
    }
    guard term.domain.contains(branch.type) else { return !isPositive }
    if let text = branch.value, let value = builder.table.values[text] {
      return holds(literal, value)
    }
    if case .member(let name, let inner) = term, let value = branch.memberValue(name, self) {
      return holds(inner, value).map { $0 == isPositive }
    }
    return nil
  }

  /// A value for atoms of one type.
  private func solve(_ given: Conjunction) -> Answer {
    var conjunction = given
    var reason: String?
    for (literal, _) in given.sorted {
      guard case .opaque(let why, _) = builder.table[literal] else { continue }
      reason = why
      conjunction.atoms[literal] = nil
    }
    let answer = solve(known: conjunction)
    guard let reason else { return answer }
    if case .found(let value) = answer { return .guess(value, reason) }
    return answer
  }

  private func solve(known conjunction: Conjunction) -> Answer {
    if let text = conjunction.value, let value = builder.table.values[text] {
      switch all(conjunction.atoms.keys, { holds($0, value) }) {
      case true?: return .found(value)
      case false?: return .none
      case nil: return .undecided("a constant can't be judged")
      }
    }
    switch conjunction.type {
    case .null: return scalars([.null], conjunction)
    case .boolean: return scalars([.bool(true), .bool(false)], conjunction)
    case .integer, .fraction: return NumberSearch(conjunction, self).answer
    case .string: return StringSearch(conjunction, self).answer
    case .array: return ArraySearch(conjunction, self).answer
    default: return ObjectSearch(conjunction, self).answer
    }
  }

  private func scalars(_ values: [JSONValue], _ conjunction: Conjunction) -> Answer {
    for value in values where conjunction.atoms.keys.allSatisfy({ holds($0, value) == true }) {
      return .found(value)
    }
    return .none
  }
}
