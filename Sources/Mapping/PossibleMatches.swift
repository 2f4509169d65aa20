public import Oplog

/// A rule that takes an event, or may take it: its conditions on missing documents are undecided.
public struct PossibleMatch: Sendable, Hashable {
  public var rule: Int
  /// It, or a rule before it that ends the event's way, looks into such a document.
  public var mayNotMatch: Bool
  /// Its condition could not be decided: no update is too small for it.
  public var isUndecided: Bool
  /// The number of rules that take the event before it is unknown.
  public var hasOpenNumber: Bool
}

extension Mapper {
  /// The rules that may take an event, in their order.
  ///
  /// - Parameter lacksDocument: of an update: its document can't be had as it was.
  public mutating func possibleMatches(
    _ event: borrowing ChangeEvent, lacksDocument: Bool
  ) -> [PossibleMatch] {
    var possible: [PossibleMatch] = []
    var mayHaveEnded = false
    var hasOpenNumber = false
    var steps = plan.conditions.budget.start
    for rule in rules.indices {
      let plan = self.plan.rules[rule]
      guard plan.operations.contains(event.operation),
        rules[rule].namespace.matches(database: event.database, collection: event.collection)
      else { continue }
      let isOpen = plan.conditionNeedsImage && lacksDocument
      let verdict = isOpen ? .satisfied : judge(event, rule: rule, &steps)
      if verdict == .refused { continue }
      possible.append(
        PossibleMatch(
          rule: rule, mayNotMatch: isOpen || mayHaveEnded,
          isUndecided: verdict == .undecided, hasOpenNumber: hasOpenNumber))
      if isOpen { hasOpenNumber = true }
      guard !plan.continues else { continue }
      if !isOpen { break }
      mayHaveEnded = true
    }
    return possible
  }
}
