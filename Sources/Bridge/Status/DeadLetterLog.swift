package import JSON
import Mapping
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

  /// Bodies that one keyword of a rule's schema has refused, since the process began.
  package struct Refusal: Sendable, Equatable {
    package var rule: String
    /// Where it is in the schema, a JSON pointer; nil: of all keywords beyond those that are counted one by one.
    package var keyword: String?
    package var count: UInt64
    package var first: EventPosition
    package var newest: EventPosition
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

  private var refusals: [Refusal] = []
  /// By rule: the names in its schema.
  private var vocabularies: [String: Set<String>] = [:]

  /// So many keywords of a rule are counted one by one, and of all rules.
  package static let mostKeywords = 32
  package static let mostRefusals = 256

  package init() {}

  /// The schemas by which bodies are judged from now on.
  package mutating func know(_ schemas: [(rule: String, schema: JSONValue)]) {
    vocabularies = [:]
    for (rule, schema) in schemas {
      var names: Set<String> = []
      Self.collect(schema, into: &names)
      vocabularies[rule] = names
    }
  }

  private static func collect(_ schema: JSONValue, into names: inout Set<String>) {
    switch schema {
    case .object(let members):
      for member in members {
        names.insert(member.key)
        collect(member.value, into: &names)
      }
    case .array(let items): for item in items { collect(item, into: &names) }
    case .null, .bool, .number, .string: break
    }
  }

  /// The first keyword that a detail names. Details quote documents: only a pointer whose every part the rule's own
  /// schema has is one, so that nothing of a document gets out this way.
  private func keyword(in detail: String, _ rule: String) -> String? {
    guard let names = vocabularies[rule] else { return nil }
    for part in detail.split(separator: "; ") {
      guard part.last == ")", let open = part.lastIndex(of: "(") else { continue }
      let pointer = part[part.index(after: open)...].dropLast()
      guard pointer.first == "/", pointer.utf8.count <= 256 else { continue }
      let isKnown = pointer.split(separator: "/").allSatisfy { name in
        Int(name) != nil
          || names.contains(String(name).replacing("~1", with: "/").replacing("~0", with: "~"))
      }
      if isKnown { return String(pointer) }
    }
    return nil
  }

  private mutating func note(refusalBy rule: String, _ detail: String, _ position: EventPosition) {
    var keyword = keyword(in: detail, rule)
    if keyword != nil, !refusals.contains(where: { $0.rule == rule && $0.keyword == keyword }),
      refusals.count >= Self.mostRefusals
        || refusals.count(where: { $0.rule == rule }) >= Self.mostKeywords
    {
      keyword = nil
    }
    guard let index = refusals.firstIndex(where: { $0.rule == rule && $0.keyword == keyword })
    else {
      refusals.append(
        Refusal(rule: rule, keyword: keyword, count: 1, first: position, newest: position))
      return
    }
    refusals[index].count += 1
    refusals[index].newest = max(refusals[index].newest, position)
  }

  package mutating func note(
    rule: String, error: String, detail: @autoclosure () -> String, _ position: EventPosition
  ) {
    if error == MappingErrorCode.schemaInvalid.rawValue {
      note(refusalBy: rule, detail(), position)
    }
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

  /// In the order of their first occurrence.
  package var schemaRefusals: [Refusal] { refusals }

  /// The remaining lines, at the end.
  package mutating func rest() -> [Line] {
    let lines = order.compactMap { courses[$0]?.line }
    for cause in order { courses[cause]?.line = nil }
    return lines
  }
}
