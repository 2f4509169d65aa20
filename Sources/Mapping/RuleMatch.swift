/// A rule that takes an event.
public struct RuleMatch: Sendable, Equatable {
  public let rule: Int
  /// False: the event's conditions had used up their steps before it could be told whether the rule's holds.
  /// The event is invalid for the rule (`Mapper.undecided`), rather than passed over.
  public let isDecided: Bool
  /// What the conditions of the rules behind it have left.
  let steps: ConditionSteps
}
