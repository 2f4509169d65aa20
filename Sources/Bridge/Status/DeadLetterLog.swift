package import Oplog

/// Log lines about dead letters: each cause (a rule and an error) at once, and then once a minute with its
/// count. A pure value.
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

  private struct Course {
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
    if courses[cause] == nil { order.append(cause) }
    if courses[cause]?.line != nil {
      courses[cause]?.line?.count += 1
    } else {
      courses[cause, default: Course()].line = Line(
        rule: rule, error: error, count: 1, first: position, detail: detail())
    }
  }

  /// The lines that are due.
  package mutating func due(at now: ContinuousClock.Instant) -> [Line] {
    var lines: [Line] = []
    for cause in order {
      guard let course = courses[cause], let line = course.line,
        course.toldAt.map({ now - $0 >= Self.interval }) ?? true
      else { continue }
      lines.append(line)
      courses[cause] = Course(line: nil, toldAt: now)
    }
    return lines
  }

  /// The remaining lines, at the end.
  package mutating func rest() -> [Line] {
    let lines = order.compactMap { courses[$0]?.line }
    for cause in order { courses[cause]?.line = nil }
    return lines
  }
}
