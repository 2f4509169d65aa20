public import Oplog

/// How an event's rules were tried, one after the other: why each did or didn't take it. For people; the mapper
/// itself asks only which rule does.
public struct MatchTrace: Sendable, Equatable {
  public enum Verdict: Sendable, Equatable {
    case taken
    /// The conditions' steps were used up before this rule's was decided: the event is this rule's, and invalid.
    case undecided
    case otherNamespace
    case otherOperation
    case refused(RefusedCondition)
    /// An earlier rule took the event, and doesn't hand it on (`continue`).
    case notTried(after: Int)
  }

  /// One for each rule, in the order of the rules.
  public var verdicts: [Verdict]

  /// The rules that take the event, in their order.
  public var takers: [Int] {
    verdicts.indices.filter { verdicts[$0] == .taken || verdicts[$0] == .undecided }
  }
}

/// The part of a rule's `where` that an event doesn't satisfy.
public struct RefusedCondition: Sendable, Equatable {
  /// As in a configuration: `fullDocument.t: { $exists: false }`.
  public var condition: String
  /// What the event has at its paths, as relaxed Extended JSON; of nothing, `nothing`.
  public var found: [Found]

  public struct Found: Sendable, Equatable {
    public var path: String
    public var values: [String]

    public init(path: String, values: [String]) {
      self.path = path
      self.values = values
    }
  }

  public init(condition: String, found: [Found]) {
    self.condition = condition
    self.found = found
  }

  /// In one sentence.
  public var description: String {
    let values = found.map { "\($0.path) is \($0.values.joined(separator: ", "))" }
    return values.isEmpty ? condition : "\(condition), and \(values.joined(separator: "; "))"
  }
}

extension Mapper {
  /// Tries all rules, with the steps for conditions that `firstMatch` and `nextMatch` would have.
  public mutating func trace(_ event: borrowing ChangeEvent) -> MatchTrace {
    var verdicts: [MatchTrace.Verdict] = []
    var steps = plan.conditions.budget.start
    var last: Int?
    for rule in rules.indices {
      if let last {
        verdicts.append(.notTried(after: last))
        continue
      }
      let verdict = trace(event, rule, &steps)
      verdicts.append(verdict)
      if verdict == .taken || verdict == .undecided, !plan.rules[rule].continues { last = rule }
    }
    return MatchTrace(verdicts: verdicts)
  }

  private mutating func trace(
    _ event: borrowing ChangeEvent, _ rule: Int, _ steps: inout ConditionSteps
  ) -> MatchTrace.Verdict {
    let matches: Bool =
      if let target = event.renamedTo {
        concerns(event, target, rule: rule)
      } else {
        rules[rule].namespace.matches(database: event.database, collection: event.collection)
      }
    guard matches else { return .otherNamespace }
    guard plan.rules[rule].operations.contains(event.operation) else { return .otherOperation }
    switch judge(event, rule: rule, &steps) {
    case .satisfied: return .taken
    case .undecided: return .undecided
    case .refused:
      guard let condition = rules[rule].condition else { return .otherNamespace }
      let place = plan.rules[rule].condition
      guard hidesImages(of: event, from: rule) else {
        return .refused(plan.refusal(condition, at: place, event, &scratch))
      }
      let own = withOwnImages(event, rule)
      return .refused(plan.refusal(condition, at: place, own, &scratch))
    }
  }
}
