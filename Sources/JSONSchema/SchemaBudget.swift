/// The cost limit of validating one value. Counted in steps instead of time, so that a value over budget is
/// refused each time, on any machine.
///
/// A step is some nanoseconds: looking at an element, applying a schema, 64 bytes of a text whose
/// characters are counted. Other work counts in proportion to its time.
public enum SchemaBudget {
  /// Steps for validating one value.
  public static let steps = 1_500_000
  /// Further steps for finding the violations of an invalid one.
  public static let explanationSteps = 1_500_000
  /// The maximum number of reported violations.
  public static let violations = 8
  /// With fewer steps than these left, verdicts are remembered.
  static let remembersBelow = 1_000_000

  /// For looking up a remembered verdict, and for remembering one.
  static let lookUpCost = 4
  static let rememberCost = 12
  /// For each item of `uniqueItems`, besides reading it.
  static let itemCost = 3
  /// For writing a value that is a string in JSON only.
  static let writeCost = 4
  /// For a step of a pattern that has no table.
  static let patternStepCost = 1

  // For 64 bytes of text.
  static let textCost = 4
  static let patternCost = 6
  static let contentCost = 64 * 16

  static func cost(of plan: StringPlan) -> Int {
    var cost = textCost
    if plan.table != nil { cost += patternCost }
    if let format = plan.format { cost += self.cost(of: format) }
    if plan.content != .none { cost += contentCost }
    return cost
  }

  static func cost(of format: StringFormat) -> Int {
    switch format {
    // Labels are decoded, and each character's properties looked up.
    case .hostname, .idnHostname: 64 * 8
    case .regex: 64 * 40
    case .dateTime, .date, .time, .duration, .email, .idnEmail, .ipv4, .ipv6, .uri, .uriReference,
      .iri, .iriReference, .uriTemplate, .uuid, .jsonPointer, .relativeJSONPointer:
      32
    }
  }
}
