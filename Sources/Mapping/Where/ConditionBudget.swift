/// What all rules' conditions together may take of one event. Counted in steps, not in time: a second run
/// decides alike. A step takes up to 15 ns (docs/benchmarks.md), and conditions are judged twice where a rule
/// wants documents fetched, so that all of them stay well below 50 ms.
///
/// Each condition has some steps of its own, so that one which asks for much leaves the others enough for
/// what they usually ask. What is beyond comes out of the rest, which conditions share: in the rules' order,
/// as long as it lasts.
struct ConditionBudget {
  static let steps = 1_000_000
  /// A condition's own.
  static let mostOwn = 1_000
  /// All conditions' own.
  static let mostOwnTogether = 250_000
  /// What conditions may take beyond that together. Where a field's name ends is known only once it was
  /// searched, megabytes perhaps, by each condition.
  static let mostOverdrawn = 250_000
  /// For a step of a pattern that has no table.
  static let patternStepCost = 1

  /// Of decimals, where one is compared with a number.
  static let decimalCost = 64
  /// Of each pair of fields or items of documents and arrays that are compared.
  static let pairCost = 2

  /// How many rules have one.
  var conditions = 0

  var own: Int { min(Self.mostOwn, Self.mostOwnTogether / max(conditions, 1)) }

  /// What an event's conditions begin with.
  var start: ConditionSteps { ConditionSteps(shared: Self.steps &- own &* conditions) }

  static let exceeded = MappingError(
    .tooComplex,
    "the conditions (where) of this rule and those before it take more than the \(steps) steps that "
      + "an event may take")
}

/// What the conditions of one event have left, besides each one's own steps.
struct ConditionSteps: Sendable, Equatable {
  var shared: Int
  /// What was taken although it was not there.
  var overdrawn = 0
}

extension Int {
  /// Takes steps for what is to be done; false where there are not enough, so that it must not be.
  mutating func charge(_ steps: Int) -> Bool {
    self = steps > self ? -1 : self &- steps
    return self >= 0
  }

  /// Takes steps for what was done, whether there are enough or not; false where that was too much.
  mutating func spend(_ steps: Int) -> Bool {
    self &-= steps
    return self >= 0
  }
}

/// What comes of a condition.
enum ConditionVerdict {
  case satisfied, refused
  /// The steps were used up before the result was known.
  case undecided
}
