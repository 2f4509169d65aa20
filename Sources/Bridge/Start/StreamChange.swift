import JSON
import NATS

/// What servers never change in an existing stream, and never create. Pure.
struct StreamChange: Sendable {
  let name: String
  /// Its configuration on the server; nil if it has to be created.
  let present: JSONValue?
  /// Its complete wanted configuration.
  let wanted: JSONValue

  /// From this version on, servers change `max_consumers`.
  private static let changesMaxConsumers = NATSVersion(2, 12, 5)

  func refusal(version: NATSVersion, isClustered: Bool) -> StartRefusal? {
    let replicas = wanted["num_replicas"]?.integer(Int.self) ?? 1
    if !isClustered, replicas > 1, present?["num_replicas"]?.integer(Int.self) != replicas {
      return .stream(
        name, "num_replicas is \(replicas), but the server is on its own, without a cluster",
        remedy: "streams:\n  - { name: \(name), num_replicas: 1 }")
    }
    guard let present, let key = fixedFields(version: version).first else { return nil }
    return refusal(
      key, present,
      Self.fixed.contains(key) ? "which servers don't change" : "which servers don't take back")
  }

  /// The fields that differ and that servers leave as they are.
  func fixedFields(version: NATSVersion) -> [String] {
    guard let present else { return [] }
    let changed = Self.fixed.filter { key in
      differ(key, in: present) && (key != "max_consumers" || version < Self.changesMaxConsumers)
    }
    return changed
      + Self.neverTakenBack.filter {
        present[$0]?.boolValue == true && wanted[$0]?.boolValue != true
      }
  }

  private static let fixed = [
    "storage", "max_consumers", "retention", "allow_msg_counter", "persist_mode",
  ]
  private static let neverTakenBack = [
    "deny_delete", "deny_purge", "allow_msg_ttl", "allow_msg_schedules",
  ]

  private func differ(_ key: String, in present: JSONValue) -> Bool {
    let pair = [present[key], wanted[key]].map { Self.text($0, of: key) }
    guard pair[0] != pair[1] else { return false }
    // From limits to interest and back, they do.
    return key != "retention" || pair.contains("workqueue")
  }

  /// The meaning of a setting that is left out, or zero.
  private static func text(_ value: JSONValue?, of key: String) -> String {
    switch key {
    case "max_consumers":
      let count = value?.integer(Int64.self) ?? -1
      return count > 0 ? "\(count)" : "-1"
    case "storage": return value?.stringValue ?? "file"
    case "retention": return value?.stringValue ?? "limits"
    case "persist_mode": return value?.stringValue ?? "default"
    default: return value?.boolValue == true ? "true" : "false"
    }
  }

  private func refusal(_ key: String, _ present: JSONValue, _ why: String) -> StartRefusal {
    let (now, then) = (Self.text(present[key], of: key), Self.text(wanted[key], of: key))
    return .stream(
      name, "it has \(key): \(now), \(why), and the configuration says \(then)",
      remedy: """
        # In the configuration (or delete the stream, with all that it holds: nats stream rm \(name)):
        streams:
          - { name: \(name), \(key): \(now) }
        """)
  }
}
