import BridgeConfiguration
import JSON
import JetStream

/// What servers require of a consumer, and what they never change in an existing one (nats-server's
/// `checkConsumerCfg` and `checkNewConsumerConfig`, where all supported versions agree). Pure.
///
/// A stream's consumers are judged before the stream is made, when no server can be asked yet.
struct ConsumerRules: Sendable {
  package let name: String
  package let stream: String
  /// Its configuration on the server; nil if it has to be created.
  package let present: JSONValue?
  /// Its complete wanted configuration.
  package let config: JSONValue
  let isUnchanged: Bool
  private let wanted: JSONValue
  private let streamConfig: JSONValue

  init(
    _ name: String, stream: String, streamConfig: JSONValue, present: JSONValue?, wanted: JSONValue
  ) {
    self.name = name
    self.stream = stream
    self.present = present
    self.wanted = wanted
    self.streamConfig = streamConfig
    if let present {
      let (merged, changed) = present.merging(wanted)
      config = merged
      isUnchanged = changed.isEmpty
    } else {
      config = wanted
      isUnchanged = false
    }
  }

  package var refusal: StartRefusal? {
    if isUnchanged { return nil }
    if let present, let key = fixedField {
      let (now, then) = (text(present[key]), text(wanted[key]))
      return .consumer(
        name, of: stream,
        "it has \(key): \(now), which servers don't change, and the configuration says \(then)",
        remedy: """
          # In the configuration:
          streams:
            - { name: \(stream), consumers: [{ durable_name: \(name), \(key): \(now) }] }
          # or delete the consumer, with its place in the stream: nats consumer rm \(stream) \(name)
          """)
    }
    guard let why = contradiction else { return nil }
    return .consumer(
      name, of: stream, why,
      remedy: "# Correct it in the configuration, under streams, \(stream), consumers, \(name).")
  }

  private func text(_ value: JSONValue?) -> String { value?.stringValue ?? value?.text() ?? "none" }

  // MARK: Values, with the servers' defaults

  private func word(_ key: String, _ fallback: String = "") -> String {
    let text = config[key]?.stringValue ?? ""
    return text.isEmpty ? fallback : text
  }
  private func number(_ key: String) -> Int64 { config[key]?.integer(Int64.self) ?? 0 }
  private func isOn(_ key: String) -> Bool { config[key]?.boolValue ?? false }
  private var isPush: Bool { !word("deliver_subject").isEmpty }
  private var filters: [String] {
    let one = word("filter_subject")
    let many = config["filter_subjects"]?.arrayValue?.compactMap(\.stringValue) ?? []
    return one.isEmpty ? many : [one] + many
  }

  // MARK: Changes

  /// A field in which the present consumer differs and that servers never change.
  var fixedField: String? { isUnchanged ? nil : present.flatMap { unchangeable($0) } }

  private static let fixed = [
    "deliver_policy", "opt_start_seq", "ack_policy", "replay_policy", "idle_heartbeat",
    "flow_control", "max_waiting",
  ]

  private func unchangeable(_ present: JSONValue) -> String? {
    for key in Self.fixed {
      guard let value = wanted[key], !isZero(value) || key != "max_waiting" else { continue }
      if isZero(value), isZero(present[key] ?? .null) { continue }
      if present[key] != value { return key }
    }
    // The server compares times in other forms.
    if let start = wanted["opt_start_time"]?.stringValue.flatMap({ ServerTime($0) }) {
      let now = present["opt_start_time"]?.stringValue.flatMap { ServerTime($0) }
      if now?.seconds != start.seconds { return "opt_start_time" }
    }
    // A pull consumer never becomes a push consumer, or vice versa.
    if wanted["deliver_subject"] != nil,
      (present["deliver_subject"]?.stringValue ?? "").isEmpty == isPush
    {
      return "deliver_subject"
    }
    return nil
  }

  private func isZero(_ value: JSONValue) -> Bool {
    switch value {
    case .null, .bool(false), .number("0"), .string(""), .array([]): true
    default: false
    }
  }

  // MARK: Contradictions

  private var contradiction: String? {
    nameTrouble ?? replicaTrouble ?? deliveryTrouble ?? filterTrouble ?? startTrouble
      ?? queueTrouble
  }

  private var nameTrouble: String? {
    if name.contains(where: { ".*>/\\".contains($0) || $0.isWhitespace }) {
      return "a consumer's name must not contain . * > / \\ or white space"
    }
    if let durable = wanted["durable_name"]?.stringValue, let other = wanted["name"]?.stringValue,
      durable != other
    {
      return "name and durable_name differ: \(other), \(durable)"
    }
    return nil
  }

  private var replicaTrouble: String? {
    let replicas = number("num_replicas")
    let ofStream = streamConfig["num_replicas"]?.integer(Int64.self) ?? 1
    if replicas > ofStream {
      return "num_replicas is \(replicas), more than the stream's \(ofStream)"
    }
    if replicas != 0, replicas != ofStream, retention != "limits" {
      return
        "num_replicas is \(replicas), and has to be the stream's \(ofStream) (retention: \(retention))"
    }
    return nil
  }

  private var retention: String { streamConfig["retention"]?.stringValue ?? "limits" }

  private var deliveryTrouble: String? {
    let backoffs = config["backoff"]?.arrayValue?.count ?? 0
    let tries = number("max_deliver") == 0 ? -1 : number("max_deliver")
    if backoffs > 0, tries != -1, backoffs > tries {
      return "backoff has \(backoffs) values, more than max_deliver: \(tries)"
    }
    if isOn("flow_control"), number("idle_heartbeat") == 0 {
      return "flow_control needs an idle_heartbeat"
    }
    let sample = word("sample_freq").trimmingSuffix("%")
    if !sample.isEmpty, UInt32(sample) == nil {
      return "sample_freq is \(word("sample_freq")), no percentage"
    }
    guard isPush else { return pullTrouble }
    let subject = word("deliver_subject")
    if subject.split(separator: ".").contains(where: { $0 == "*" || $0 == ">" }) {
      return "deliver_subject has wildcards: \(subject)"
    }
    let taken = streamConfig["subjects"]?.arrayValue?.compactMap(\.stringValue) ?? []
    if taken.contains(where: { subjectIsCovered(subject, by: $0) }) {
      return "deliver_subject is one of the stream's own: \(subject)"
    }
    if number("max_waiting") != 0 { return "max_waiting is for consumers without deliver_subject" }
    if number("max_ack_pending") > 0, word("ack_policy", "none") == "none" {
      return "max_ack_pending needs an ack_policy other than none"
    }
    let beat = number("idle_heartbeat")
    if beat > 0, beat < 100_000_000 { return "idle_heartbeat is less than 100ms" }
    return nil
  }

  private var pullTrouble: String? {
    for key in ["rate_limit_bps", "idle_heartbeat"] where number(key) > 0 {
      return "\(key) is for consumers with a deliver_subject"
    }
    if isOn("flow_control") { return "flow_control is for consumers with a deliver_subject" }
    for key in ["max_waiting", "max_batch"] where number(key) < 0 { return "\(key) is negative" }
    let expires = number("max_expires")
    if expires != 0, expires < 1_000_000 { return "max_expires is less than 1ms" }
    return nil
  }

  private var filterTrouble: String? {
    let many = config["filter_subjects"]?.arrayValue?.compactMap(\.stringValue) ?? []
    if !word("filter_subject").isEmpty, !many.isEmpty {
      return "both filter_subject and filter_subjects are set"
    }
    if many.contains("") { return "filter_subjects has an empty one" }
    for (index, filter) in filters.enumerated() {
      for (other, wider) in filters.enumerated()
      where other != index && subjectIsCovered(filter, by: wider) {
        return "filter_subjects overlap: \(filter) is part of \(wider)"
      }
    }
    return nil
  }

  private var startTrouble: String? {
    let policy = word("deliver_policy", "all")
    let sequence = number("opt_start_seq") != 0
    let time = config["opt_start_time"]?.stringValue != nil
    if policy == "by_start_sequence", !sequence {
      return "deliver_policy is \(policy), but opt_start_seq is not set"
    }
    if policy == "by_start_time", !time {
      return "deliver_policy is \(policy), but opt_start_time is not set"
    }
    if sequence, policy != "by_start_sequence" {
      return "deliver_policy is \(policy), but opt_start_seq is set"
    }
    if time, policy != "by_start_time" {
      return "deliver_policy is \(policy), but opt_start_time is set"
    }
    if policy == "last_per_subject", filters.isEmpty {
      return "deliver_policy is \(policy), but there is no filter_subject"
    }
    return nil
  }

  private var queueTrouble: String? {
    guard retention == "workqueue", present == nil else { return nil }
    if word("ack_policy", "none") != "explicit" {
      return "the stream's retention is workqueue, which needs ack_policy: explicit"
    }
    if word("deliver_policy", "all") != "all" {
      return "the stream's retention is workqueue, which needs deliver_policy: all"
    }
    return nil
  }
}

/// What servers require of all consumers of a stream together. Pure.
struct ConsumerSetRules: Sendable {
  let stream: String
  let streamConfig: JSONValue
  let consumers: [JSONValue]

  var refusal: StartRefusal? {
    if let most = streamConfig.streamLimit("max_consumers"), consumers.count > most {
      return .stream(
        stream, "max_consumers is \(most), and \(consumers.count) consumers are configured",
        remedy: "streams:\n  - { name: \(stream), max_consumers: \(consumers.count) }")
    }
    guard streamConfig["retention"]?.stringValue == "workqueue" else { return nil }
    for (index, consumer) in consumers.enumerated() {
      for other in consumers[..<index] where overlap(consumer, other) {
        return .consumer(
          name(consumer), of: stream,
          "the stream's retention is workqueue, and consumer \(name(other)) takes subjects of this one",
          remedy: "# In the configuration, give each consumer of \(stream) subjects of its own.")
      }
    }
    return nil
  }

  private func name(_ consumer: JSONValue) -> String {
    (consumer["durable_name"] ?? consumer["name"])?.stringValue ?? "?"
  }

  private func filters(_ consumer: JSONValue) -> [String] {
    let many = consumer["filter_subjects"]?.arrayValue?.compactMap(\.stringValue) ?? []
    let all = consumer["filter_subject"]?.stringValue.map { [$0] + many } ?? many
    return all.isEmpty ? [">"] : all
  }

  private func overlap(_ one: JSONValue, _ other: JSONValue) -> Bool {
    filters(one).contains { a in filters(other).contains { b in subjectsOverlap(a, b) } }
  }
}

extension String {
  fileprivate func trimmingSuffix(_ suffix: String) -> String {
    hasSuffix(suffix) ? String(dropLast(suffix.count)) : self
  }
}
