package import JSON

/// One setting that differs between a server and the configuration. Pure.
package struct SettingChange: Sendable, Equatable {
  package enum Verdict: String, Sendable {
    /// The server makes it, and nothing is lost.
    case changes
    /// The server never changes it in what is there.
    case fixed
    /// Something would be lost.
    case loses
  }

  /// `max_age`, or `consumer_limits.max_ack_pending`.
  package var path: String
  /// Nil: it is not set.
  package var present: JSONValue?
  /// Nil: it is not to be set.
  package var wanted: JSONValue?
  package var verdict: Verdict

  /// The settings in which the wanted configuration, merged over the present one, differs.
  package static func list(
    from present: JSONValue, to wanted: JSONValue, verdict: (String) -> Verdict
  ) -> [SettingChange] {
    list("", present, wanted, verdict)
  }

  private static func list(
    _ prefix: String, _ present: JSONValue, _ wanted: JSONValue, _ verdict: (String) -> Verdict
  ) -> [SettingChange] {
    let keys = (present.objectValue ?? []).map(\.key) + (wanted.objectValue ?? []).map(\.key)
    var seen: Set<String> = []
    var found: [SettingChange] = []
    for key in keys where seen.insert(key).inserted {
      let (now, then) = (present[key], wanted[key])
      if now == then || now == nil && then?.isZero == true { continue }
      let path = prefix.isEmpty ? key : "\(prefix).\(key)"
      if let now, let then, case .object = now, case .object = then {
        found += list(path, now, then, verdict)
      } else {
        found.append(
          SettingChange(path: path, present: now, wanted: then, verdict: verdict(path)))
      }
    }
    return found
  }

  /// `max_age: 7d -> 9d`
  package var description: String {
    if path == "subjects" { return "subjects: \(subjects)" }
    return "\(path): \(text(present)) -> \(text(wanted))"
  }

  /// `+new -old`
  private var subjects: String {
    let (now, then) = (Self.texts(present), Self.texts(wanted))
    let words =
      then.filter { !now.contains($0) }.map { "+\($0)" }
      + now.filter { !then.contains($0) }.map { "-\($0)" }
    return words.isEmpty ? "another order" : words.joined(separator: " ")
  }

  private static func texts(_ value: JSONValue?) -> [String] {
    value?.arrayValue?.compactMap(\.stringValue) ?? []
  }

  private func text(_ value: JSONValue?) -> String {
    Self.text(value, of: path.split(separator: ".").last.map(String.init) ?? path)
  }

  /// As the configuration may have it: durations and sizes with their units.
  package static func text(_ value: JSONValue?, of key: String) -> String {
    guard let value, value != .null else { return "none" }
    if case .array(let items) = value {
      return "[\(items.map { text($0, of: key) }.joined(separator: ", "))]"
    }
    guard let number = value.integer(Int64.self) else { return value.stringValue ?? value.text() }
    if durations.contains(key), number > 0 { return duration(number) }
    if sizes.contains(key), number > 0 { return size(number) }
    return "\(number)"
  }

  private static let durations: Set<String> = [
    "max_age", "duplicate_window", "subject_delete_marker_ttl", "inactive_threshold", "ack_wait",
    "backoff", "max_expires", "idle_heartbeat", "priority_timeout",
  ]
  private static let sizes: Set<String> = ["max_bytes", "max_msg_size"]

  private static func duration(_ nanoseconds: Int64) -> String {
    for (unit, factor): (String, Int64) in [
      ("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("m", 60_000_000_000),
      ("s", 1_000_000_000), ("ms", 1_000_000),
    ] where nanoseconds >= factor && nanoseconds % factor == 0 {
      return "\(nanoseconds / factor)\(unit)"
    }
    return "\(nanoseconds)ns"
  }

  private static func size(_ bytes: Int64) -> String {
    for (unit, factor): (String, Int64) in [
      ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10),
    ] where bytes >= factor && bytes % factor == 0 {
      return "\(bytes / factor)\(unit)"
    }
    return "\(bytes)"
  }

  package var json: JSONValue {
    [
      "setting": .string(path), "from": present ?? .null, "to": wanted ?? .null,
      "verdict": .string(verdict.rawValue),
    ]
  }
}

extension JSONValue {
  /// Servers leave such members out.
  fileprivate var isZero: Bool {
    switch self {
    case .null, .bool(false), .number("0"), .string(""), .array([]), .object([]): true
    default: false
    }
  }
}
