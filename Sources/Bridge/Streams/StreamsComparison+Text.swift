package import JSON

/// The comparison for people and for machines.
extension StreamsComparison {
  /// One line a difference, `+` to be made, `~` to be changed, `-` to be removed, `!` what can't be, or would lose
  /// something. Whatever agrees is counted at the end.
  package var lines: [String] {
    var lines: [String] = []
    for item in differing { lines += item.lines }
    lines.append(summary)
    return lines
  }

  package var summary: String {
    func count(_ actions: Action...) -> Int { items.count { actions.contains($0.action) } }
    let parts = [
      (count(.create), "to create"), (count(.change), "to change"),
      (count(.replace), "to make again"), (count(.remove), "to remove"),
      (count(.refuse), "impossible"), (destructive.count, "would lose something"),
      (count(.none), "as configured"),
    ]
    return parts.filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }.joined(separator: ", ")
  }

  package var json: JSONValue {
    [
      "differs": .bool(!differing.isEmpty), "destructive": .bool(!destructive.isEmpty),
      "objects": .array(items.map(\.json)),
    ]
  }
}

extension StreamsComparison.Item {
  private var sign: String {
    switch action {
    case .none: "="
    case .create: "+"
    case .change: "~"
    case .replace: "-/+"
    case .remove: "-"
    case .refuse: "!"
    }
  }

  package var lines: [String] {
    var lines = ["\(sign) \(kind.rawValue) \(name)"]
    for setting in settings {
      switch setting.verdict {
      case .changes where action == .create:
        lines.append(
          "    + \(setting.path): \(SettingChange.text(setting.wanted, of: setting.path))")
      case .changes: lines.append("    ~ \(setting.description)")
      case .fixed: lines.append("    ! \(setting.description): servers never change it")
      case .loses: lines.append("    ! \(setting.description)")
      }
    }
    for loss in losses { lines.append("    loses \(loss.detail)") }
    if let refusal {
      lines.append("    impossible: \(refusal.why)")
      lines += refusal.remedy.split(separator: "\n").map { "      \($0)" }
    }
    return lines
  }

  package var json: JSONValue {
    [
      "kind": .string(kind.rawValue), "name": .string(name), "action": .string(action.rawValue),
      "settings": .array(settings.map(\.json)), "losses": .array(losses.map(\.json)),
      "refusal": refusal.map { ["why": .string($0.why), "remedy": .string($0.remedy)] } ?? .null,
    ]
  }
}
