import JSON

/// A consumer's settings. Durations are nanoseconds.
///
/// The model serves consumers that are pulled from. The others can be made, and are never sent anything.
public struct ConsumerConfiguration: Sendable, Equatable {
  public enum AckPolicy: String, Sendable {
    case none, all, explicit
    case flowControl = "flow_control"
  }
  public enum Delivery: String, Sendable {
    case all, last, new
    case bySequence = "by_start_sequence"
    case byTime = "by_start_time"
    case lastPerSubject = "last_per_subject"
  }

  public var durableName = ""
  public var name = ""
  public var delivery = Delivery.all
  public var startSequence: UInt64 = 0
  public var ackPolicy = AckPolicy.none
  public var filters: [String] = []
  public var headersOnly = false
  public var inactiveThreshold: Int64 = 0
  public var replicas = 0
  public var inMemory = false
  public var maxWaiting = 0
  public var maxAckPending = 0
  public var maxBatch = 0
  public var isPushed = false
  /// All that was asked for, with the server's defaults.
  var members: JSONValue

  var isDurable: Bool { !durableName.isEmpty }

  /// From a request. Members that the model does not know are kept as they are.
  init(_ json: JSONValue, _ rules: ServerRules) throws(Refusal) {
    func text(_ key: String) -> String { json[key]?.stringValue ?? "" }
    func number<T: FixedWidthInteger>(_ key: String) -> T { json[key]?.integer() ?? 0 }
    func choice<T: RawRepresentable<String>>(_ key: String, _ otherwise: T) throws(Refusal) -> T {
      let word = text(key)
      if word.isEmpty { return otherwise }
      guard let value = T(rawValue: word) else {
        throw .invalidJSON("invalid JSON: can not unmarshal \"\(word)\"")
      }
      return value
    }
    if rules.refusesUnknownSettings {
      for member in json.objectValue ?? [] where !Self.known.contains(member.key) {
        throw .invalidJSON("invalid JSON: json: unknown field \"\(member.key)\"")
      }
    }
    durableName = text("durable_name")
    name = text("name")
    delivery = try choice("deliver_policy", .all)
    startSequence = number("opt_start_seq")
    ackPolicy = try choice("ack_policy", .none)
    let many = json["filter_subjects"]?.arrayValue?.compactMap(\.stringValue) ?? []
    filters = text("filter_subject").isEmpty ? many : [text("filter_subject")]
    headersOnly = json["headers_only"]?.boolValue ?? false
    inactiveThreshold = number("inactive_threshold")
    replicas = number("num_replicas")
    inMemory = json["mem_storage"]?.boolValue ?? false
    maxWaiting = number("max_waiting")
    maxAckPending = number("max_ack_pending")
    maxBatch = number("max_batch")
    isPushed = !text("deliver_subject").isEmpty
    members = json
  }

  private static let known: Set<String> = [
    "durable_name", "name", "description", "deliver_policy", "opt_start_seq", "opt_start_time",
    "ack_policy", "ack_wait", "max_deliver", "backoff", "filter_subject", "filter_subjects",
    "replay_policy", "rate_limit_bps", "sample_freq", "max_waiting", "max_ack_pending",
    "headers_only", "max_batch", "max_expires", "max_bytes", "deliver_subject", "deliver_group",
    "flow_control", "idle_heartbeat", "inactive_threshold", "num_replicas", "mem_storage",
    "metadata", "pause_until", "priority_groups", "priority_policy", "priority_timeout", "direct",
    "sourcing",
  ]

  private static let mostWaiting = 512
  private static let mostAckPending = 1000
  private static let ackWait: Int64 = 30_000_000_000
  private static let threshold: Int64 = 5_000_000_000

  /// With the server's defaults, or refused.
  func checked(_ stream: StreamConfiguration, _ rules: ServerRules) throws(Refusal)
    -> ConsumerConfiguration
  {
    var made = self
    if !isPushed, maxWaiting <= 0 { made.maxWaiting = Self.mostWaiting }
    if maxAckPending == 0, ackPolicy != .none { made.maxAckPending = Self.mostAckPending }
    if !isDurable, inactiveThreshold <= 0 { made.inactiveThreshold = Self.threshold }
    try made.check(stream)
    made.fill(rules)
    return made
  }

  private func check(_ stream: StreamConfiguration) throws(Refusal) {
    for (label, name) in [("consumer name", name), ("consumer durable name", durableName)]
    where !name.isEmpty && !StreamConfiguration.isValidName(name) {
      throw .invalidConfiguration(#"\#(label) can not contain '.', '*', '>', '\', '/'"#)
    }
    if replicas > stream.replicas {
      throw .consumer(400, 10126, "consumer config replica count exceeds parent stream")
    }
    if stream.retention != .limits, replicas != 0, replicas != stream.replicas {
      throw .consumer(
        400, 10134, "consumer config replicas must match interest retention stream's replicas")
    }
    if !isPushed, ackPolicy == .none, stream.retention == .workqueue {
      throw .consumer(
        400, 10084, "consumer in pull mode requires explicit ack policy on workqueue stream")
    }
    if delivery == .bySequence, startSequence == 0 {
      throw .startInvalid("by start sequence, but optional start sequence is not set")
    }
    if delivery != .bySequence, delivery != .byTime, startSequence > 0 {
      let policy = delivery.rawValue.split(separator: "_").joined(separator: " ")
      throw .startInvalid("\(policy), but optional start sequence is also set")
    }
    for filter in filters where !SubjectPattern.isValid(filter) {
      throw .invalidConfiguration("invalid subject")
    }
    if !durableName.isEmpty, !name.isEmpty, name != durableName {
      throw .consumer(
        400, 10132, "Consumer Durable and Name have to be equal if both are provided")
    }
  }

  /// Writes what the server shows besides what was asked for.
  private mutating func fill(_ rules: ServerRules) {
    func fill(_ key: String, _ value: JSONValue, unless isZero: Bool = false) {
      members[key] = isZero ? nil : value
    }
    let isZero: (JSONValue) -> Bool = {
      $0 == .null || $0 == false || $0 == 0 || $0 == "" || $0 == .array([])
    }
    members = .object((members.objectValue ?? []).filter { !isZero($0.value) })
    fill("deliver_policy", .string(delivery.rawValue))
    fill("ack_policy", .string(ackPolicy.rawValue))
    if members["replay_policy"] == nil { fill("replay_policy", "instant") }
    if members["max_deliver"] == nil { fill("max_deliver", -1) }
    if members["ack_wait"] == nil, ackPolicy == .explicit || ackPolicy == .all {
      fill("ack_wait", .int(Self.ackWait))
    }
    fill("max_waiting", .int(maxWaiting), unless: maxWaiting == 0)
    fill("max_ack_pending", .int(maxAckPending), unless: maxAckPending == 0)
    fill("inactive_threshold", .int(inactiveThreshold), unless: inactiveThreshold == 0)
    fill("num_replicas", .int(replicas))
    if rules.namesDurables, isDurable { fill("name", .string(durableName)) }
  }

  /// These settings in the place of `old`, or refused.
  func replacing(_ old: ConsumerConfiguration) throws(Refusal) {
    func refuse(_ what: String) -> Refusal { .consumer(500, 10012, "\(what) can not be updated") }
    if delivery != old.delivery { throw refuse("deliver policy") }
    if startSequence != old.startSequence { throw refuse("start sequence") }
    if ackPolicy != old.ackPolicy { throw refuse("ack policy") }
    if members["replay_policy"] != old.members["replay_policy"] { throw refuse("replay policy") }
    if members["idle_heartbeat"] != old.members["idle_heartbeat"] { throw refuse("heart beats") }
    if members["flow_control"] != old.members["flow_control"] { throw refuse("flow control") }
    if isPushed != old.isPushed {
      throw .consumer(
        500, 10012,
        isPushed
          ? "can not update pull consumer to push based"
          : "can not update push consumer to pull based")
    }
    if maxWaiting != old.maxWaiting { throw refuse("max waiting") }
  }
}
