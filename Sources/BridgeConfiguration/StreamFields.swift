import JSON
import Mapping

/// JetStream's own fields up to server 2.15. A field that resembles none of them is accepted: servers may know
/// more than this list. Values out of range are refused by every server.
enum StreamFields {
  private static let millisecond: Int64 = 1_000_000
  private static let unlimited = StreamFieldKind.count(-1...(.max))
  private static let natural = StreamFieldKind.count(0...(.max))
  private static let anyDuration = StreamFieldKind.duration(least: 0)
  private static let transform = StreamFieldKind.object(["src": .subject, "dest": .text])
  private static let source = StreamFieldKind.object([
    "name": .text, "opt_start_seq": natural, "opt_start_time": .time, "filter_subject": .subject,
    "subject_transforms": .each(transform), "domain": .text,
    "external": .object(["api": .text, "deliver": .text]),
    "consumer": .object(["name": .text, "deliver_subject": .text]),
  ])

  /// A misspelt or partial name of a field: `max_aeg`, `replicas`, `numReplicas`, `max_messages`.
  static func meant(by key: String, among fields: [String]) -> String? {
    if let near = nearest(to: key, among: fields) { return near }
    let words = Set(self.words(of: key))
    return words.isEmpty
      ? nil : fields.filter { words.isSubset(of: self.words(of: $0)) }.min { $0.count < $1.count }
  }

  private static func words(of key: String) -> [String] {
    let others = [
      "messages": "msgs", "message": "msg", "dedup": "duplicate", "dedupe": "duplicate",
      "duplicates": "duplicate", "source": "src", "destination": "dest", "bandwidth": "rate",
    ]
    var spaced = ""
    for letter in key {
      if letter.isUppercase { spaced.append("_") }
      spaced += letter.lowercased()
    }
    return spaced.split { $0 == "_" || $0 == "-" }.map { others[String($0)] ?? String($0) }
  }

  static let ofStreams: [String: StreamFieldKind] = [
    "description": .text, "retention": .words(["limits", "interest", "workqueue"]),
    "max_consumers": unlimited, "max_msgs": unlimited, "max_bytes": .size(most: .max),
    "discard": .words(["old", "new"]), "max_age": .duration(least: 100 * millisecond),
    "max_msgs_per_subject": unlimited, "max_msg_size": .size(most: Int64(Int32.max)),
    "storage": .words(["file", "memory"]), "num_replicas": .count(1...5), "no_ack": .flag,
    "template_owner": .text, "duplicate_window": .duration(least: 100 * millisecond),
    "placement": .object(["cluster": .text, "tags": .each(.text), "preferred": .text]),
    "mirror": source, "sources": .each(source), "sealed": .flag, "deny_delete": .flag,
    "deny_purge": .flag, "allow_rollup_hdrs": .flag, "compression": .words(["none", "s2"]),
    "first_seq": natural, "subject_transform": transform,
    "republish": .object(["src": .subject, "dest": .text, "headers_only": .flag]),
    "allow_direct": .flag, "mirror_direct": .flag, "discard_new_per_subject": .flag,
    "consumer_limits": .object([
      "inactive_threshold": anyDuration, "max_ack_pending": unlimited,
    ]),
    "metadata": .texts, "allow_msg_ttl": .flag,
    "subject_delete_marker_ttl": .duration(least: 1000 * millisecond), "allow_msg_counter": .flag,
    "allow_atomic": .flag, "allow_batched": .flag, "allow_msg_schedules": .flag,
    "persist_mode": .words(["default", "async"]),
  ]

  static let ofConsumers: [String: StreamFieldKind] = [
    "name": .text, "durable_name": .text, "description": .text,
    "deliver_policy": .words([
      "all", "last", "new", "by_start_sequence", "by_start_time", "last_per_subject",
    ]),
    "opt_start_seq": .count(1...(.max)), "opt_start_time": .time,
    // The last for push consumers of servers from 2.14 on.
    "ack_policy": .words(["none", "all", "explicit", "flow_control"]), "ack_wait": anyDuration,
    "max_deliver": unlimited, "backoff": .each(anyDuration), "filter_subject": .subject,
    "filter_subjects": .each(.subject), "replay_policy": .words(["instant", "original"]),
    "rate_limit_bps": natural, "sample_freq": .percentage, "max_waiting": unlimited,
    "max_ack_pending": unlimited, "flow_control": .flag,
    "idle_heartbeat": .duration(least: 100 * millisecond), "headers_only": .flag,
    "max_batch": unlimited, "max_expires": .duration(least: millisecond),
    "max_bytes": .size(most: .max), "deliver_subject": .text, "deliver_group": .text,
    "inactive_threshold": anyDuration, "num_replicas": .count(0...5), "mem_storage": .flag,
    "metadata": .texts, "pause_until": .time, "priority_groups": .each(.text),
    "priority_policy": .words(["none", "overflow", "pinned_client", "prioritized"]),
    "priority_timeout": anyDuration,
  ]
}

/// Fields that servers refuse in combination, or that this bridge can't publish with.
struct StreamConstraints {
  let section: Section
  let settings: JSONValue

  private func isOn(_ field: String) -> Bool { settings[field]?.boolValue == true }

  private func has(_ field: String) -> Bool {
    switch settings[field] {
    case nil, .null?: false
    case .bool(let flag)?: flag
    case .number(let digits)?: digits != "0"
    case .string(let text)?: !text.isEmpty
    case .array(let items)?: !items.isEmpty
    case .object?: true
    }
  }

  private func number(_ field: String) -> Int64? { settings[field]?.integer(Int64.self) }

  private func refuse(_ field: String, _ message: String, _ remedy: String) {
    section.problems.add(
      section.position(of: field), "\(section.path(field)): \(message)", remedy)
  }

  func checkStream(_ ownership: StreamOwnership) {
    if let age = number("max_age"), age > 0, let window = number("duplicate_window"), window > age {
      refuse(
        "duplicate_window", "it is longer than max_age", "servers take max_age at most")
    }
    if isOn("discard_new_per_subject") {
      if settings["discard"]?.stringValue != "new" {
        refuse("discard_new_per_subject", "it needs discard: new", "add discard: new")
      }
      if number("max_msgs_per_subject").map({ $0 <= 0 }) ?? true {
        refuse(
          "discard_new_per_subject", "it needs max_msgs_per_subject", "add a number of messages")
      }
    }
    if isOn("allow_rollup_hdrs"), isOn("deny_purge") {
      refuse("deny_purge", "roll-ups purge", "take out deny_purge, or allow_rollup_hdrs")
    }
    if isOn("mirror_direct"), !has("mirror") {
      refuse("mirror_direct", "the stream is no mirror", "take it out")
    }
    let refused: [(String, Bool, String, String)] = [
      ("mirror", has("mirror"), "a mirror takes no messages", "name a stream of the bridge's own"),
      ("sealed", isOn("sealed"), "nothing can be published to a sealed stream", "take it out"),
      ("no_ack", isOn("no_ack"), "nothing would be acknowledged", "take it out"),
      (
        "persist_mode", settings["persist_mode"]?.stringValue == "async",
        "an acknowledged event could be lost", "take it out, or write default"
      ),
      (
        "allow_msg_counter", isOn("allow_msg_counter"), "such a stream refuses events",
        "use a stream without counters"
      ),
      (
        "sources", ownership == .exclusive && has("sources"),
        "the bridge is an exclusive stream's only producer",
        "take them out, or use ownership: shared"
      ),
      (
        "template_owner", has("template_owner"), "servers have no templates any more", "take it out"
      ),
    ]
    for (field, isWrong, message, remedy) in refused where isWrong {
      refuse(field, message, remedy)
    }
  }

  func checkConsumer(replicas: Int64) {
    checkName()
    checkStart()
    if has("filter_subject"), has("filter_subjects") {
      refuse("filter_subject", "there is filter_subjects, too", "keep one of them")
    }
    let filters = (settings["filter_subjects"]?.arrayValue ?? []).compactMap(\.stringValue)
    for (index, filter) in filters.enumerated()
    where filters[..<index].contains(where: { subjectsOverlap($0, filter) }) {
      refuse("filter_subjects", "\(filter) overlaps another one", "keep the wider one of them")
    }
    if !has("deliver_subject") {
      for field in ["rate_limit_bps", "flow_control", "idle_heartbeat"] where has(field) {
        refuse(field, "it is for push consumers", "take it out, or add deliver_subject")
      }
      if settings["ack_policy"]?.stringValue == "flow_control" {
        refuse("ack_policy", "flow_control is for push consumers", "use explicit")
      }
    } else if isOn("flow_control"), !has("idle_heartbeat") {
      refuse("flow_control", "it needs idle_heartbeat", "add idle_heartbeat: 5s")
    }
    if let most = number("max_deliver"), most > 0,
      let waits = settings["backoff"]?.arrayValue?.count, waits > most
    {
      refuse(
        "backoff", "it has more steps than max_deliver allows", "raise max_deliver above \(waits)")
    }
    if let own = number("num_replicas"), own > replicas {
      refuse("num_replicas", "the stream has \(replicas)", "write \(replicas) at most")
    }
  }

  private func checkName() {
    let names = ["durable_name", "name"].filter { settings[$0]?.stringValue != nil }
    for field in names {
      let text = settings[field]?.stringValue ?? ""
      let isFit = text.unicodeScalars.allSatisfy {
        $0.value > 0x20 && !".*>/\\".unicodeScalars.contains($0)
      }
      if !isFit || text.isEmpty || text.utf8.count > 255 - 16 {
        refuse(
          field, "a consumer can't be named \"\(text)\"",
          "leave out white space, . * > / and \\; at most 239 bytes")
      }
    }
    if names.count == 2, settings["name"] != settings["durable_name"] {
      refuse("name", "durable_name is another one", "keep one of them")
    }
  }

  private func checkStart() {
    let policy = settings["deliver_policy"]?.stringValue ?? "all"
    for (wanted, field, example) in [
      ("by_start_sequence", "opt_start_seq", "1"),
      ("by_start_time", "opt_start_time", "2026-01-31T12:00:00Z"),
    ] {
      if policy == wanted, !has(field) {
        refuse("deliver_policy", "it needs \(field)", "add \(field): \(example)")
      } else if policy != wanted, has(field) {
        refuse(field, "it is for deliver_policy: \(wanted)", "add that, or take this out")
      }
    }
    if policy == "last_per_subject", !has("filter_subject"), !has("filter_subjects") {
      refuse("deliver_policy", "it needs filter_subject", "add filter_subject: \"chat.>\"")
    }
  }
}
