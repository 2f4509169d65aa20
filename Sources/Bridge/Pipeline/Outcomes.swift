/// How derived events ended. Every event (and every further match of one, where a rule says
/// `continue`) ends in exactly one of them, so that they add up to what was derived.
public struct Outcomes: Sendable, Equatable {
  public var published: UInt64 = 0
  public var duplicate: UInt64 = 0
  public var filtered: UInt64 = 0
  public var unmatched: UInt64 = 0
  public var deadLettered: UInt64 = 0
  public var dropped: UInt64 = 0

  public init() {}

  /// In the order of the metric's `outcome` labels.
  public var named: [(name: String, count: UInt64)] {
    [
      ("published", published), ("duplicate", duplicate), ("filtered", filtered),
      ("unmatched", unmatched), ("dead_lettered", deadLettered), ("dropped", dropped),
      ("dry_run", 0),
    ]
  }

  public var total: UInt64 {
    published &+ duplicate &+ filtered &+ unmatched &+ deadLettered &+ dropped
  }

  /// The difference to an earlier count.
  static func - (a: Outcomes, b: Outcomes) -> Outcomes {
    var rest = a
    rest.published &-= b.published
    rest.duplicate &-= b.duplicate
    rest.filtered &-= b.filtered
    rest.unmatched &-= b.unmatched
    rest.deadLettered &-= b.deadLettered
    rest.dropped &-= b.dropped
    return rest
  }

  static func += (a: inout Outcomes, b: Outcomes) {
    a.published &+= b.published
    a.duplicate &+= b.duplicate
    a.filtered &+= b.filtered
    a.unmatched &+= b.unmatched
    a.deadLettered &+= b.deadLettered
    a.dropped &+= b.dropped
  }
}
