import Bridge
import BridgeConfiguration
public import JSON
import Mapping
import Oplog

/// What a dry run has found, and whether a real run would have been clean.
public struct CoverageReport: Sendable {
  public enum Verdict: String, Sendable {
    /// Every event that a rule takes would have become a message.
    case pass = "PASS"
    /// Some would not have, or would have stopped the bridge.
    case fail = "FAIL"
    /// Nothing can be said: nothing happened, or the range was not read to its end.
    case inconclusive = "INCONCLUSIVE"
  }

  let coverage: Coverage
  let from: String
  let until: String
  /// Why the range was not read to its end.
  let failure: String?
  let configurationHash: String
  let maximumPayload: Int
  /// `unmatched` says halt, or that such events become dead letters.
  let unmatchedMatters: Bool
  let drops: [Bool]

  public var verdict: Verdict {
    if failure != nil || coverage.events == 0 { return .inconclusive }
    let isInvalid = zip(coverage.rules, drops).contains { $0.invalid > 0 && !$1 }
    return isInvalid || coverage.halts > 0 || (unmatchedMatters && coverage.unmatched > 0)
      ? .fail : .pass
  }

  /// Why nothing can be said; nil where something can.
  public var reason: String? {
    if let failure { return failure }
    guard coverage.events == 0 else { return nil }
    var words = "no change happened from \(from) to \(until) (\(coverage.entries) oplog entries)"
    if coverage.cutTransactions > 0 {
      words += " but in transactions that began before (\(coverage.cutTransactions))"
    }
    return words
  }

  /// Seconds of oplog from which on a day's growth is worth telling.
  private static let leastForADay = 60.0

  /// Nil where too little was seen.
  private func perDay(_ bytes: UInt64) -> Double? {
    guard coverage.seconds >= Self.leastForADay else { return nil }
    return Double(bytes) / coverage.seconds * 86_400
  }

  public var exitCode: Int32 {
    switch verdict {
    case .pass: 0
    case .fail: 1
    case .inconclusive: 2
    }
  }

  public var json: JSONValue {
    [
      "verdict": .string(verdict.rawValue), "reason": reason.map { .string($0) } ?? .null,
      "from": .string(from), "until": .string(until), "seconds": number(coverage.seconds),
      "entries": .int(coverage.entries), "events": .int(coverage.events),
      "unmatched": .int(coverage.unmatched),
      "cut_transactions": .int(coverage.cutTransactions), "max_payload": .int(maximumPayload),
      "rules": .array(coverage.rules.map(rule)), "streams": .array(streams.map(stream)),
      "namespaces": .array(
        coverage.namespaces.sorted { $0.key < $1.key }.map { name, counts in
          [
            "namespace": .string(name), "events": .int(counts.events),
            "unmatched": .int(counts.unmatched),
          ]
        }),
      "config_hash": .string(configurationHash),
    ]
  }

  private func rule(_ rule: Coverage.Rule) -> JSONValue {
    [
      "name": .string(rule.name), "stream": .string(rule.stream), "matched": .int(rule.matched),
      "messages": .int(rule.messages), "invalid": .int(rule.invalid),
      "filtered": .int(rule.filtered), "bytes": .int(rule.bytes),
      "largest_message": .int(rule.largest),
      "largest_at": rule.largestAt.map { .string($0.description) } ?? .null,
      "subjects": .int(rule.subjects.count),
      "subjects_at_least": .bool(rule.subjects.count >= Coverage.mostSubjects),
      "per_second": number(Double(rule.messages) / coverage.seconds),
      "causes": .array(
        rule.causes.sorted { $0.count > $1.count }.map { cause in
          [
            "error": .string(cause.code), "cause": .string(cause.key),
            "count": .int(cause.count), "first": .string(cause.first.description),
            "example": .string(cause.example),
          ]
        }), "other_causes": .int(rule.otherCauses),
    ]
  }

  private var streams: [(name: String, messages: UInt64, bytes: UInt64)] {
    var sums: [(name: String, messages: UInt64, bytes: UInt64)] = []
    for rule in coverage.rules {
      if let index = sums.firstIndex(where: { $0.name == rule.stream }) {
        sums[index].messages &+= rule.messages
        sums[index].bytes &+= rule.bytes
      } else {
        sums.append((rule.stream, rule.messages, rule.bytes))
      }
    }
    return sums
  }

  private func stream(_ stream: (name: String, messages: UInt64, bytes: UInt64)) -> JSONValue {
    [
      "name": .string(stream.name), "messages": .int(stream.messages),
      "bytes": .int(stream.bytes),
      "messages_per_second": number(Double(stream.messages) / coverage.seconds),
      "bytes_per_day": perDay(stream.bytes).map { number($0) } ?? .null,
    ]
  }

  private func number(_ value: Double) -> JSONValue { .number(HealthReport.rounded(value)) }

  /// One line: how far it is.
  public var line: String {
    let messages = coverage.rules.reduce(0) { $0 + $1.messages }
    let invalid = coverage.rules.reduce(0) { $0 + $1.invalid }
    return
      "\(coverage.events) events up to \(until), \(messages) messages, \(invalid) invalid, \(coverage.unmatched) unmatched"
  }

  /// A table of the rules, for a terminal.
  public var table: [String] {
    let rows =
      [["rule", "events", "messages", "invalid", "subjects", "largest", "per s"]]
      + coverage.rules.map { rule in
        [
          rule.name, "\(rule.matched)", "\(rule.messages)", "\(rule.invalid)",
          "\(rule.subjects.count)", "\(rule.largest)",
          "\(HealthReport.rounded(Double(rule.messages) / coverage.seconds))",
        ]
      }
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      zip(row, widths).enumerated().map { column, cell in
        let pad = String(repeating: " ", count: cell.1 - cell.0.count)
        return column == 0 ? cell.0 + pad : pad + cell.0
      }.joined(separator: "  ")
    } + [line]
  }

  /// For people.
  public var text: String {
    var lines = [
      "\(coverage.entries) oplog entries, \(Int(coverage.seconds)) s, from \(from) to \(until): "
        + "\(coverage.events) events, \(coverage.unmatched) taken by no rule"
    ]
    for rule in coverage.rules {
      let more = rule.subjects.count >= Coverage.mostSubjects ? "+" : ""
      lines.append(
        "rule \(rule.name): \(rule.matched) events, \(rule.messages) messages to \(rule.stream), "
          + "\(rule.invalid) invalid, "
          + (rule.filtered > 0 ? "\(rule.filtered) updates with nothing left, " : "")
          + "\(rule.subjects.count)\(more) subjects, largest \(rule.largest) B "
          + "(\(rule.largest * 100 / max(1, maximumPayload)) % of max_payload), "
          + "\(HealthReport.rounded(Double(rule.messages) / coverage.seconds))/s")
      for cause in rule.causes.sorted(by: { $0.count > $1.count }) {
        lines.append("  \(cause.count) \(cause.code), first at \(cause.first): \(cause.example)")
      }
      if rule.otherCauses > 0 { lines.append("  \(rule.otherCauses) for other reasons") }
    }
    for stream in streams {
      let growth =
        perDay(stream.bytes).map {
          "\(HealthReport.rounded($0 / 1_048_576)) MiB a day at this rate"
        }
        ?? "\(stream.bytes) bytes (\(Int(coverage.seconds)) s are too short to tell a day's growth)"
      lines.append("stream \(stream.name): \(stream.messages) messages, \(growth)")
    }
    for (name, counts) in coverage.namespaces.sorted(by: { $0.key < $1.key })
    where counts.unmatched > 0 {
      lines.append("\(name): \(counts.unmatched) of \(counts.events) events taken by no rule")
    }
    if coverage.cutTransactions > 0 {
      lines.append(
        "\(coverage.cutTransactions) transactions began before the range and are not counted")
    }
    lines.append("\(verdict.rawValue)\(reason.map { ": \($0)" } ?? "")")
    return lines.joined(separator: "\n")
  }
}
