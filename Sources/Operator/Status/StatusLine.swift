import Bridge
import BridgeConfiguration
public import JSON

/// One line of `tailrace status --line`, for logs. A pure function of one answer, or of two for the rate.
public enum StatusLine {
  /// - Parameter time: RFC 3339.
  public static func text(_ document: JSONValue, since before: JSONValue?, at time: String)
    -> String
  {
    let now = StatusReading(document)
    let earlier = before.map { StatusReading($0) }
    let rate =
      StatusWords.growth(
        now.count("events_derived"), earlier?.count("events_derived"),
        in: now.seconds(since: earlier)) ?? now.number("rate_per_second")
    var parts = [
      "\(time) \(now.text("bridge") ?? "?") \(now.text("health") ?? "unknown")",
      "\(now.text("role") ?? "?") in epoch \(now.count("epoch"))",
      "\(StatusWords.rate(rate)) events/s",
      "lag \(StatusWords.duration(now.number("lag_seconds")))",
      "position \(now.text("position") ?? "none")",
      "\(now.count("in_flight")) in flight",
      "headroom \(StatusWords.duration(now.number("oplog_window", "headroom_seconds")))",
      "\(now.count("outcomes", "published")) published",
      "\(now.count("outcomes", "dead_lettered")) dead letters",
    ]
    let groups = now.list("cutover_groups").filter {
      $0.text("phase") != CutoverPhase.bridge.rawValue
    }
    for group in groups.prefix(3) {
      parts.append("group \(group.text("group") ?? "?") \(group.text("phase") ?? "?")")
    }
    if let reason = now.reason, now.health != .ok, now.health != .idle { parts.append(reason) }
    return TerminalText.printable(parts.joined(separator: "; "))
  }

  public static func text(unreachable why: String, at time: String) -> String {
    TerminalText.printable("\(time) unreachable: \(why)")
  }
}
