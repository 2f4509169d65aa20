package import Oplog

/// Dead letters by cause, which is a rule and an error: counted since the process began, and logged, each cause at
/// once, and then once a minute with its count. A pure value.
package struct DeadLetterLog: Sendable {
  package struct Line: Sendable, Equatable {
    package var rule: String
    package var error: String
    /// Since the previous line.
    package var count: Int
    package var first: EventPosition
    /// The position of the first.
    package var detail: String
  }

  private struct Cause: Hashable {
    var rule: String
    var error: String
  }

  /// A cause since the process began.
  package struct Total: Sendable, Equatable {
    package var rule: String
    package var error: String
    package var count: UInt64
    package var first: EventPosition
    package var newest: EventPosition

    package init(
      rule: String, error: String, count: UInt64, first: EventPosition, newest: EventPosition
    ) {
      self.rule = rule
      self.error = error
      self.count = count
      self.first = first
      self.newest = newest
    }
  }

  private struct Course {
    var total: Total
    var line: Line?
    var toldAt: ContinuousClock.Instant?
  }

  package static let interval = Duration.seconds(60)

  private var courses: [Cause: Course] = [:]
  /// Causes in the order of their first occurrence.
  private var order: [Cause] = []

  package init() {}

  package mutating func note(
    rule: String, error: String, detail: @autoclosure () -> String, _ position: EventPosition
  ) {
    let cause = Cause(rule: rule, error: error)
    var course =
      courses[cause]
      ?? Course(
        total: Total(rule: rule, error: error, count: 0, first: position, newest: position))
    if course.total.count == 0 { order.append(cause) }
    course.total.count += 1
    course.total.newest = max(course.total.newest, position)
    if course.line != nil {
      course.line?.count += 1
    } else {
      course.line = Line(rule: rule, error: error, count: 1, first: position, detail: detail())
    }
    courses[cause] = course
  }

  /// The lines that are due.
  package mutating func due(at now: ContinuousClock.Instant) -> [Line] {
    var lines: [Line] = []
    for cause in order {
      guard let course = courses[cause], let line = course.line,
        course.toldAt.map({ now - $0 >= Self.interval }) ?? true
      else { continue }
      lines.append(line)
      courses[cause]?.line = nil
      courses[cause]?.toldAt = now
    }
    return lines
  }

  /// In the order of their first occurrence.
  package var totals: [Total] { order.compactMap { courses[$0]?.total } }

  /// The remaining lines, at the end.
  package mutating func rest() -> [Line] {
    let lines = order.compactMap { courses[$0]?.line }
    for cause in order { courses[cause]?.line = nil }
    return lines
  }
}
