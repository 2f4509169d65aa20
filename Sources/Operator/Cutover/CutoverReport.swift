public import Bridge
import BridgeConfiguration
public import JSON
import Oplog

/// One group, for operators.
public struct CutoverGroupReport: Sendable {
  public var group: String
  public var phase: CutoverPhase
  /// Milliseconds since 1970; nil: it never left phase `bridge`.
  public var since: Int64?
  public var rules: [String]
  var fence: OplogPosition?
  public var canCommit: Bool
  public var blockers: [CutoverBlocker]
  public var counts: CutoverCounts
  /// The newest of what did not end as it should have.
  public var findings: [CutoverFinding]
  public var lag: Double?
  /// Why it can't leave phase `bridge`.
  public var reasons: [CutoverEligibility.Reason]
  var change: CutoverChange?

  var json: JSONValue {
    var value: JSONValue = [
      "group": .string(group), "phase": .string(phase.rawValue),
      "since": since.map { .string(CutoverTime.text($0)) } ?? .null,
      "rules": .array(rules.map { .string($0) }),
      "fence": fence.map { .string($0.description) } ?? .null, "can_commit": .bool(canCommit),
      "blockers": .array(blockers.map(Self.json)), "counts": counts.json,
      "lag_seconds": lag.map { .number(HealthReport.rounded($0)) } ?? .null,
      "eligible": .bool(reasons.isEmpty),
      "reasons": .array(reasons.map(Self.json)),
    ]
    value["findings"] = .array(
      findings.map { finding in
        var one = finding.json
        one["at_ms"] = nil
        one["at"] = .string(CutoverTime.text(finding.at))
        return one
      })
    value["by"] = change.map { .string($0.by) } ?? .null
    value["reason"] = change.map { .string($0.reason) } ?? .null
    return value
  }

  public static func json(_ reason: CutoverEligibility.Reason) -> JSONValue {
    [
      "code": .string(reason.code), "rule": .string(reason.rule),
      "detail": .string(reason.detail), "remedy": .string(reason.remedy),
    ]
  }

  public static func json(_ blocker: CutoverBlocker) -> JSONValue {
    [
      "code": .string(blocker.code), "detail": .string(blocker.detail),
      "since": blocker.since.map { .string(CutoverTime.text($0)) } ?? .null,
    ]
  }
}

/// All groups.
public struct CutoverReport: Sendable {
  public var groups: [CutoverGroupReport]

  public var isAllFinalized: Bool {
    !groups.isEmpty && groups.allSatisfy { $0.phase == .finalized }
  }

  public var json: JSONValue {
    ["groups": .array(groups.map(\.json)), "all_finalized": .bool(isAllFinalized)]
  }

  /// A table, and below it the blockers.
  public var lines: [String] {
    let head = [
      "group", "phase", "since", "by producer", "filled", "mismatched", "phantom", "missed",
      "can commit",
    ]
    var rows = [head]
    for group in groups {
      let counts = group.counts
      rows.append([
        group.group, group.phase.rawValue, group.since.map { CutoverTime.text($0) } ?? "-",
        "\(counts.byProducer)", "\(counts.filled)", "\(counts.mismatched)", "\(counts.phantom)",
        "\(counts.missed)", group.phase == .dual ? (group.canCommit ? "yes" : "no") : "-",
      ])
    }
    let widths = head.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    var lines = rows.map { row in
      var line = ""
      for (column, text) in row.enumerated() {
        let space = String(repeating: " ", count: widths[column] - text.count)
        line += (3...7).contains(column) ? space + text : text + space
        line += "  "
      }
      while line.last == " " { line.removeLast() }
      return line
    }
    for group in groups {
      if group.phase == .bridge {
        for reason in group.reasons {
          lines.append("\(group.group): rule \(reason.rule): \(reason.detail); \(reason.remedy)")
        }
      } else if group.phase == .dual {
        for blocker in group.blockers {
          lines.append("\(group.group): \(blocker.code): \(blocker.detail)")
        }
      }
      for finding in group.findings.suffix(5) {
        let place = finding.position.map { " at \($0)" } ?? ""
        let sequence = finding.sequence.map { " (\(finding.stream) \($0))" } ?? ""
        let detail = finding.detail.isEmpty ? "" : ": \(finding.detail)"
        lines.append(
          "\(group.group): \(finding.kind.rawValue) \(finding.id)\(place)\(sequence)\(detail)")
      }
    }
    if isAllFinalized {
      lines.append(
        "All groups are finalized: the bridge has nothing left to do, and its right to read the oplog can be revoked (docs/cutover.md)"
      )
    }
    return lines
  }
}
