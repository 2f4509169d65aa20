import JSON
import Mapping

extension StreamSpec {
  /// Fields of JetStream's stream configuration up to server 2.15, for finding misspelt ones. A
  /// field that is like none of them passes: servers may know more than this list.
  private static let fields = [
    "description", "retention", "max_consumers", "max_msgs", "max_bytes", "discard", "max_age",
    "max_msgs_per_subject", "max_msg_size", "storage", "num_replicas", "no_ack", "template_owner",
    "duplicate_window", "placement", "mirror", "sources", "sealed", "deny_delete", "deny_purge",
    "allow_rollup_hdrs", "compression", "first_seq", "subject_transform", "republish",
    "allow_direct", "mirror_direct", "discard_new_per_subject", "consumer_limits", "metadata",
    "allow_msg_ttl", "subject_delete_marker_ttl", "allow_msg_counter", "allow_atomic",
    "allow_batched", "allow_msg_schedules", "persist_mode",
  ]
  private static let durations: Set = [
    "max_age", "duplicate_window", "subject_delete_marker_ttl", "inactive_threshold",
  ]
  private static let consumerFields = [
    "name", "durable_name", "description", "deliver_policy", "opt_start_seq", "opt_start_time",
    "ack_policy", "ack_wait", "max_deliver", "backoff", "filter_subject", "filter_subjects",
    "replay_policy", "rate_limit_bps", "sample_freq", "max_waiting", "max_ack_pending",
    "flow_control", "idle_heartbeat", "headers_only", "max_batch", "max_expires", "max_bytes",
    "deliver_subject", "deliver_group", "inactive_threshold", "num_replicas", "mem_storage",
    "metadata", "pause_until", "priority_groups", "priority_policy", "priority_timeout",
  ]
  private static let consumerDurations: Set = [
    "ack_wait", "inactive_threshold", "max_expires", "backoff", "idle_heartbeat",
    "priority_timeout",
  ]
  private static let sizes: Set = ["max_bytes", "max_msg_size"]

  static func readAll(_ root: Section) -> [StreamSpec] {
    guard let node = root.node("streams") else {
      root.missing("streams", "add one: streams: [{ name: CHANGES, subjects: [\"changes.>\"] }]")
      return []
    }
    guard case .sequence(let items, _) = node else {
      root.problems.add(
        node.position, "streams is \(node.kind), not a list", "write - name: … items")
      return []
    }
    if items.isEmpty {
      root.problems.add(
        node.position, "streams is empty", "add one: - { name: CHANGES, subjects: [\"changes.>\"] }"
      )
    }
    var streams: [StreamSpec] = []
    for (index, item) in items.enumerated() {
      let section = Section(
        item, name: "streams[\(index)]", at: item.position, problems: root.problems)
      guard let stream = read(section) else { continue }
      if streams.contains(where: { $0.name == stream.name }) {
        root.problems.add(
          section.node("name")?.position ?? section.position,
          "there is another stream named \(stream.name)", "give each stream a name of its own")
      } else {
        reportOverlap(section, with: streams)
      }
      streams.append(stream)
    }
    return streams
  }

  /// JetStream takes a subject into one stream only.
  private static func reportOverlap(_ section: Section, with others: [StreamSpec]) {
    for scalar in section.scalars("subjects") ?? [] {
      for other in others {
        guard let taken = other.subjects.first(where: { subjectsOverlap($0, scalar.text) }) else {
          continue
        }
        section.problems.add(
          scalar.position, "\(scalar.text) overlaps \(taken) of stream \(other.name)",
          "let each subject belong to one stream")
      }
    }
  }

  private static func read(_ section: Section) -> StreamSpec? {
    let name = section.scalar("name")
    if let name {
      checkStreamName(name, section: section, key: "name")
    } else {
      section.missing("name", "add name: CHANGES")
    }
    let subjects = section.scalars("subjects")
    if subjects == nil || subjects?.isEmpty == true {
      section.missing("subjects", "add subjects: [\"changes.>\"]")
    }
    for subject in subjects ?? [] { checkSubject(subject, problems: section.problems) }
    let ownership: StreamOwnership = section.choice("ownership", default: .exclusive)
    let publish: PublishProtocol = section.choice("publish", default: .auto)
    let consumers = readConsumers(section)
    let settings = passThrough(
      section, fields: fields, durations: durations, sizes: sizes)
    guard let name else { return nil }
    return StreamSpec(
      name: name.text, subjects: (subjects ?? []).map(\.text), ownership: ownership,
      publish: publish, settings: settings, consumers: consumers)
  }

  private static func readConsumers(_ section: Section) -> [JSONValue] {
    guard let node = section.node("consumers") else { return [] }
    guard case .sequence(let items, _) = node else {
      section.problems.add(
        node.position, "\(section.path("consumers")) is \(node.kind), not a list",
        "write - { durable_name: … } items")
      return []
    }
    var names: [String] = []
    return items.enumerated().map { index, item in
      let consumer = Section(
        item, name: "\(section.path("consumers"))[\(index)]", at: item.position,
        problems: section.problems)
      // Looked up without marking them as known: they pass through with the rest.
      let entries = consumer.rest
      let name = entries.first {
        ($0.key.text == "durable_name" || $0.key.text == "name") && !$0.value.isNull
      }?.value.scalar
      if let name {
        if names.contains(name.text) {
          section.problems.add(
            name.position, "there is another consumer named \(name.text)",
            "give each consumer of a stream a name of its own")
        }
        names.append(name.text)
      } else {
        consumer.missing("durable_name", "add durable_name: notifications")
      }
      for entry in entries where entry.key.text == "filter_subject" {
        if let filter = entry.value.scalar { checkSubject(filter, problems: section.problems) }
      }
      return passThrough(
        consumer, fields: consumerFields, durations: consumerDurations, sizes: ["max_bytes"])
    }
  }

  private static func passThrough(
    _ section: Section, fields: [String], durations: Set<String>, sizes: Set<String>
  ) -> JSONValue {
    let json = JSONConversion(problems: section.problems, durations: durations, sizes: sizes)
    let candidates = section.knownKeys + fields
    return .object(
      section.rest.compactMap { key, value in
        if !fields.contains(key.text), let near = nearest(to: key.text, among: candidates) {
          section.problems.add(
            key.position, "unknown key \(key.text) in \(section.name)", "did you mean \(near)?")
          return nil
        }
        if value.isNull { return nil }
        return JSONValue.Member(
          key.text, json.convert(value, key: key.text, path: section.path(key.text)))
      })
  }

  static func checkStreamName(_ scalar: ConfigScalar, section: Section, key: String) {
    section.checkName(scalar, key: key, dots: false)
  }

  static func checkSubject(_ scalar: ConfigScalar, problems: ProblemList) {
    let tokens = scalar.text.split(separator: ".", omittingEmptySubsequences: false)
    let trouble: String?
    if scalar.text.contains(where: { $0.isWhitespace || $0.asciiValue.map { $0 < 0x20 } ?? false })
    {
      trouble = "holds white space"
    } else if tokens.contains("") {
      trouble = "has an empty token"
    } else if tokens.dropLast().contains(">") {
      trouble = "has > before its end"
    } else if tokens.contains(where: { $0.count > 1 && ($0.contains("*") || $0.contains(">")) }) {
      trouble = "has a wildcard inside a token"
    } else if scalar.text.hasPrefix("$") {
      trouble = "starts with $, which belongs to the server"
    } else {
      trouble = nil
    }
    guard let trouble else { return }
    problems.add(
      scalar.position, "the subject \"\(scalar.text)\" \(trouble)",
      "write tokens between dots; * stands for one whole token, > at the end for all the rest")
  }
}

/// YAML to JSON for JetStream's own fields.
struct JSONConversion {
  let problems: ProblemList
  /// Keys whose text is a duration, to be sent in nanoseconds.
  let durations: Set<String>
  /// Keys whose text is a size, to be sent in bytes.
  let sizes: Set<String>

  func convert(_ node: ConfigNode, key: String, path: String) -> JSONValue {
    switch node {
    case .sequence(let items, _):
      return .array(
        items.enumerated().map { convert($1, key: key, path: "\(path)[\($0)]") })
    case .mapping(let entries, _):
      return .object(
        entries.map { entry in
          JSONValue.Member(
            entry.key.text,
            convert(entry.value, key: entry.key.text, path: "\(path).\(entry.key.text)"))
        })
    case .scalar(let scalar):
      if durations.contains(key) {
        return number(scalar, path, "a duration", Units.durationRemedy, Units.nanoseconds)
      }
      if sizes.contains(key) {
        return number(scalar, path, "a size", Units.sizeRemedy, Units.bytes)
      }
      return plainValue(scalar)
    }
  }

  /// A bare number passes as it is: that is how JetStream itself writes it.
  private func number(
    _ scalar: ConfigScalar, _ path: String, _ what: String, _ remedy: String,
    _ parse: (String) -> Int64?
  ) -> JSONValue {
    if let number = Int64(scalar.text) ?? parse(scalar.text) { return .int(number) }
    problems.add(scalar.position, "\(path) is \"\(scalar.text)\", not \(what)", remedy)
    return .null
  }

  /// YAML 1.2's core schema: what is quoted is text.
  private func plainValue(_ scalar: ConfigScalar) -> JSONValue {
    guard scalar.isPlain else { return .string(scalar.text) }
    switch scalar.text {
    case "true", "True", "TRUE": return .bool(true)
    case "false", "False", "FALSE": return .bool(false)
    case _ where scalar.isNull: return .null
    default:
      if let integer = Int64(scalar.text) { return .int(integer) }
      // Only what JSON writes the same way: no hexadecimal, no nan.
      if let parsed = try? JSONValue(parsing: scalar.text), case .number = parsed { return parsed }
      return .string(scalar.text)
    }
  }
}
