/// A rule that takes an event.
public struct RuleMatch: Sendable, Equatable {
  public let rule: Int
  /// False: the event's conditions used up their steps before the rule's was decided.
  /// The event is invalid for the rule (`Mapper.undecided`), rather than passed over.
  public let isDecided: Bool
  /// The steps left for the conditions of later rules.
  let steps: ConditionSteps
}
