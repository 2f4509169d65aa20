import JSON

/// What versions of a schema owe to each other.
public enum SchemaCompatibility: String, Sendable, CaseIterable {
  /// Who reads by the new version understands what was written by the old one.
  case backward = "BACKWARD"
  /// Who reads by the old version understands what is written by the new one.
  case forward = "FORWARD"
  case full = "FULL"
  case none = "NONE"
}

extension SchemaComparison {
  /// - Parameter isStrict: members that their writer's schema doesn't declare count.
  public func verdict(
    for compatibility: SchemaCompatibility, isStrict: Bool = false
  ) -> Verdict {
    let directions: [Direction]
    switch compatibility {
    case .backward: directions = [backward]
    case .forward: directions = [forward]
    case .full: directions = [backward, forward]
    case .none: directions = []
    }
    let verdicts = directions.map { isStrict ? $0.strictVerdict : $0.verdict }
    if verdicts.contains(.incompatible) { return .incompatible }
    return verdicts.contains(.undecided) ? .undecided : .compatible
  }

  // MARK: For machines

  public func json(for compatibility: SchemaCompatibility, isStrict: Bool = false) -> JSONValue {
    .object([
      .init("compatibility", .string(compatibility.rawValue)),
      .init("strict", .bool(isStrict)),
      .init("verdict", .string(verdict(for: compatibility, isStrict: isStrict).rawValue)),
      .init("backward", Self.json(backward, isStrict, reader: "new", breaks: "producers")),
      .init("forward", Self.json(forward, isStrict, reader: "old", breaks: "consumers")),
    ])
  }

  private static func json(
    _ direction: Direction, _ isStrict: Bool, reader: String, breaks: String
  ) -> JSONValue {
    func list(_ differences: [Difference]) -> JSONValue {
      .array(
        differences.map { difference in
          .object([
            .init("pointer", .string(difference.pointer)), .init("schema", .string(reader)),
            .init("instance", .string(difference.instance)), .init("breaks", .string(breaks)),
            .init("message", .string(difference.message)), .init("witness", difference.witness),
          ])
        })
    }
    let verdict = isStrict ? direction.strictVerdict : direction.verdict
    let caveats = isStrict ? [] : direction.caveats
    let differences = direction.differences + (isStrict ? direction.caveats : [])
    return .object([
      .init("verdict", .string(verdict.rawValue)),
      .init("differences", list(differences)),
      .init("caveats", list(caveats)),
      .init(
        "undecided",
        .array(
          direction.doubts.map { doubt in
            .object([
              .init("pointer", .string(doubt.pointer)),
              .init("schema", .string(reader)), .init("instance", .string(doubt.instance)),
              .init("reason", .string(doubt.reason)),
            ])
          })),
    ])
  }

  // MARK: For people

  public func text(isStrict: Bool = false) -> String {
    var lines: [String] = []
    lines += Self.lines(
      "BACKWARD", backward, isStrict,
      breaks: "breaks producers that write by OLD; OLD accepts and NEW refuses")
    lines += Self.lines(
      "FORWARD", forward, isStrict,
      breaks: "breaks consumers that read by OLD; NEW accepts and OLD refuses")
    lines.append("FULL \(verdict(for: .full, isStrict: isStrict).rawValue)")
    return lines.joined(separator: "\n")
  }

  private static func lines(
    _ name: String, _ direction: Direction, _ isStrict: Bool, breaks: String
  ) -> [String] {
    let verdict = isStrict ? direction.strictVerdict : direction.verdict
    var lines = ["\(name) \(verdict.rawValue)"]
    func tell(_ difference: Difference, _ breaks: String) {
      let place = difference.instance.isEmpty ? "the document" : difference.instance
      lines.append("  \(place): \(difference.message)  (\(difference.pointer))")
      lines.append("    \(breaks): \(shortened(difference.witness))")
    }
    for difference in direction.differences { tell(difference, breaks) }
    for caveat in direction.caveats {
      tell(caveat, isStrict ? breaks : "only for members that the writer's schema doesn't declare")
    }
    for doubt in direction.doubts {
      let place = doubt.instance.isEmpty ? "the document" : doubt.instance
      lines.append("  \(place): undecided: \(doubt.reason)  (\(doubt.pointer))")
    }
    return lines
  }

  /// Long strings are given by their length; `json` has them in full.
  private static func shortened(_ value: JSONValue) -> String {
    let text = abbreviated(value).text()
    return text.unicodeScalars.count <= 400
      ? text : String(String.UnicodeScalarView(text.unicodeScalars.prefix(399))) + "…"
  }

  private static func abbreviated(_ value: JSONValue) -> JSONValue {
    switch value {
    case .string(let text):
      let count = text.unicodeScalars.count
      guard count > 60 else { return value }
      let start = String(String.UnicodeScalarView(text.unicodeScalars.prefix(8)))
      return .string("\(start)… (\(count) characters)")
    case .array(let items): return .array(items.map(abbreviated))
    case .object(let members):
      return .object(members.map { .init($0.key, abbreviated($0.value)) })
    default: return value
    }
  }
}
