import Bridge
import BridgeConfiguration
public import JSON

/// What `tailrace status` shows of a bridge: one screen. A pure function of one answer, or of two for rates.
public struct StatusScreen: Sendable {
  public enum Tone: Sendable, Equatable {
    case plain, heading, good, warning, bad
  }

  /// A line that is fit for a terminal.
  public struct Line: Sendable, Equatable {
    public var text: String
    public var tone: Tone

    public init(text: String, tone: Tone) {
      self.text = text
      self.tone = tone
    }
  }

  public private(set) var lines: [Line] = []
  private let now: StatusReading
  private let before: StatusReading?
  private let seconds: Double?

  /// - Parameter before: an earlier answer; nil: the bridge's own rate is shown, and none of rules and streams.
  public init(_ document: JSONValue, since before: JSONValue? = nil) {
    now = StatusReading(document)
    let earlier = before.map { StatusReading($0) }
    seconds = now.seconds(since: earlier)
    self.before = seconds == nil ? nil : earlier
    header()
    facts()
    rules()
    streams()
    groups()
    troubles()
  }

  private mutating func add(_ text: String, _ tone: Tone = .plain) {
    lines.append(Line(text: TerminalText.printable(text), tone: tone))
  }

  // MARK: - Parts

  private mutating func header() {
    let tone: Tone =
      switch now.health {
      case .ok, .idle: .good
      case .degraded: .warning
      case .stalled, .gap, .failed, nil: .bad
      }
    add("bridge \(now.text("bridge") ?? "?")  \(now.healthWords)", tone)
    if let reason = now.reason { add("  \(reason)") }
    for check in now.failedChecks {
      let isBad = check.status == "fail"
      add("  \(check.name) \(check.status): \(check.detail)", isBad ? .bad : .warning)
    }
    var who = [
      "\(now.text("role") ?? "?") in epoch \(now.count("epoch"))",
      "instance \(now.text("instance") ?? "?")",
      "version \(now.text("version") ?? "?")",
      "up \(StatusWords.duration(now.number("uptime_seconds")))",
    ]
    if let phase = now.text("phase") { who.insert(phase, at: 1) }
    add(who.joined(separator: ", "))
  }

  private mutating func facts() {
    add("")
    fact(
      "position",
      [
        "\(now.text("position") ?? "none yet"), a majority has \(now.text("majority_position") ?? "?")",
        "lag \(StatusWords.duration(now.number("lag_seconds")))", unsettled,
      ])
    let rate = growth("events_derived") ?? now.number("rate_per_second")
    fact(
      "events",
      [
        "\(StatusWords.rate(rate)) a second", "\(now.count("in_flight")) in flight",
        "\(now.count("events_derived")) derived since the start",
      ])
    fact(
      "outcomes",
      (now.json["outcomes"]?.objectValue ?? []).filter { $0.key != "dry_run" }.map {
        "\($0.value.integer(UInt64.self) ?? 0) \($0.key)"
      })
    fact(
      "oplog",
      [
        "\(StatusWords.duration(now.number("oplog_window", "headroom_seconds"))) behind the checkpoint, \(StatusWords.duration(now.number("oplog_window", "window_seconds"))) in all"
      ])
    fact("checkpoint", checkpoint)
    fact("lease", lease)
    fact("source", [now.text("source", "state"), now.text("source", "detail")])
    fact(
      "nats",
      [
        now.flag("nats", "connected") ? nil : "not connected", now.text("nats", "detail"),
      ])
    if let snapshot = now.text("snapshot", "phase") {
      fact(
        "snapshot",
        [
          snapshot,
          "\(now.count("snapshot", "documents")) of about \(now.count("snapshot", "estimated_documents")) documents",
          now.number("snapshot", "remaining_seconds").map { "\(StatusWords.duration($0)) left" },
        ])
    }
    if let result = now.text("reload", "result"), result != "applied" {
      fact("reload", [result, "\(StatusWords.duration(now.number("reload", "age_seconds"))) ago"])
    }
    if now.count("dead_letters_standing") > 0 {
      fact(
        "dead letters",
        ["\(now.count("dead_letters_standing")) in the stream: tailrace dlq list"], .warning)
    }
  }

  private mutating func fact(_ name: String, _ parts: [String?], _ tone: Tone = .plain) {
    let text = parts.compactMap(\.self).filter { !$0.isEmpty }.joined(separator: "; ")
    guard !text.isEmpty else { return }
    add(name + String(repeating: " ", count: max(1, 14 - name.count)) + text, tone)
  }

  private var unsettled: String? {
    guard let age = now.number("oldest_unsettled_seconds"), age > 0 else { return nil }
    let position = now.text("oldest_unsettled_position").map { " (\($0))" } ?? ""
    return "the oldest unsettled event\(position) is \(StatusWords.duration(age)) old"
  }

  private var checkpoint: [String?] {
    guard let position = now.text("checkpoint", "position") else { return ["none yet"] }
    return [
      "at \(position)", "\(StatusWords.duration(now.number("checkpoint", "age_seconds"))) old",
      now.text("checkpoint", "error"),
    ]
  }

  private var lease: [String?] {
    guard let holder = now.text("lease", "holder") else { return [] }
    let own = holder == now.text("instance") ? " (this instance)" : ""
    return [
      "held by \(holder)\(own), renewed \(StatusWords.duration(now.number("lease", "age_seconds"))) ago",
      "\(now.count("lease", "takeovers")) take-overs",
      now.flag("lease", "other_configuration") ? "the leader has another configuration" : nil,
    ]
  }

  private func growth(_ name: String) -> Double? {
    StatusWords.growth(now.count(name), before?.count(name), in: seconds)
  }

  private mutating func rules() {
    var table = TextTable([
      .left("RULE"), .right("PUBLISHED"), .right("A SECOND"), .right("DUPLICATE"),
      .right("FILTERED"), .right("DEAD LETTERS"), .right("DROPPED"), .left("LAST ERROR"),
    ])
    let earlier = named("rules", before)
    for rule in now.list("rules") {
      let then = earlier[rule.text("name") ?? ""]
      let rate = StatusWords.growth(
        rule.count("matched"), then?.count("matched"), in: seconds)
      table.add([
        rule.text("name") ?? "?", "\(rule.count("published"))",
        rate.map { StatusWords.rate($0) } ?? "-", "\(rule.count("duplicate"))",
        "\(rule.count("filtered"))", "\(rule.count("dead_lettered"))",
        "\(rule.count("dropped"))", rule.text("last_error") ?? "",
      ])
    }
    add(table)
  }

  private mutating func streams() {
    var table = TextTable([
      .left("STREAM"), .left("PROTOCOL"), .right("LAST SEQUENCE"), .right("A SECOND"),
      .right("IN FLIGHT"), .left("LAST POSITION"), .left("REFUSED"),
    ])
    let earlier = named("streams", before)
    for stream in now.list("streams") {
      let rate = StatusWords.growth(
        stream.count("last_sequence"),
        earlier[stream.text("name") ?? ""]?.count("last_sequence"), in: seconds)
      table.add([
        stream.text("name") ?? "?", stream.text("protocol") ?? "?",
        "\(stream.count("last_sequence"))", rate.map { StatusWords.rate($0) } ?? "-",
        "\(stream.count("in_flight"))", stream.text("last_position") ?? "-",
        stream.text("refusal", "reason") ?? "",
      ])
    }
    add(table)
  }

  /// Those that the bridge alone publishes are only counted.
  private mutating func groups() {
    let all = now.list("cutover_groups")
    let moved = all.filter { $0.text("phase") != CutoverPhase.bridge.rawValue }
    guard !moved.isEmpty else { return }
    var table = TextTable([
      .left("GROUP"), .left("PHASE"), .right("LAG"), .right("BY PRODUCER"), .right("FILLED"),
      .right("MISMATCHED"), .right("PHANTOM"), .right("MISSED"), .left("PROBLEM"),
    ])
    for group in moved {
      table.add(
        [group.text("group") ?? "?", group.text("phase") ?? "?"]
          + [group.number("lag_seconds").map { StatusWords.duration($0) } ?? "-"]
          + ["by_producer", "filled", "mismatched", "phantom", "missed"].map {
            "\(group.count("counts", $0))"
          } + [group.text("problem") ?? ""])
    }
    add(table)
    let rest = all.count - moved.count
    if rest > 0 { add("and \(rest) in phase bridge") }
  }

  private func named(_ list: String, _ reading: StatusReading?) -> [String: StatusReading] {
    Dictionary(
      (reading?.list(list) ?? []).map { ($0.text("name") ?? "", $0) },
      uniquingKeysWith: { first, _ in first })
  }

  private mutating func add(_ table: TextTable) {
    let drawn = table.lines
    guard drawn.count > 1 else { return }
    add("")
    for (number, line) in drawn.enumerated() { add(line, number == 0 ? .heading : .plain) }
  }

  private static let mostErrors = 5

  private mutating func troubles() {
    for (title, items) in [
      ("LOSSES", strings("losses")),
      ("DIFFERS FROM THE CONFIGURATION", now.list("drift").compactMap { $0.text("detail") }),
    ] where !items.isEmpty {
      add("")
      add(title, .heading)
      for item in items.prefix(Self.mostErrors) { add(item, .warning) }
    }
    let errors = now.list("last_errors")
    guard !errors.isEmpty else { return }
    add("")
    add("LAST ERRORS", .heading)
    for error in errors.prefix(Self.mostErrors) {
      add(
        "\(StatusWords.duration(error.number("age_seconds"))) ago: \(error.text("error") ?? "")")
    }
  }

  private func strings(_ name: String) -> [String] {
    (now.json[name]?.arrayValue ?? []).compactMap(\.stringValue)
  }

  /// Whether health has a status that is an exit code of its own: `stalled`, `gap` or `failed`.
  public static func isUnhealthy(_ document: JSONValue) -> Bool { StatusReading(document).isOver }
}

/// Columns under headings, as wide as their widest cell.
struct TextTable {
  enum Column {
    case left(String)
    case right(String)

    var title: String {
      switch self {
      case .left(let title), .right(let title): title
      }
    }
  }

  private let columns: [Column]
  private var rows: [[String]]

  init(_ columns: [Column]) {
    self.columns = columns
    rows = [columns.map(\.title)]
  }

  mutating func add(_ cells: [String]) {
    // Escaped before it is measured.
    rows.append(cells.map { TerminalText.printable($0) })
  }

  var lines: [String] {
    let widths = columns.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      var line = ""
      for (n, cell) in row.enumerated() {
        let gap = String(repeating: " ", count: widths[n] - cell.count)
        if case .right = columns[n] { line += gap + cell } else { line += cell + gap }
        line += "  "
      }
      while line.hasSuffix(" ") { line.removeLast() }
      return line
    }
  }
}
