public import JSON

/// A stream's settings, as far as the model knows them. Durations are nanoseconds; no limit is -1.
public struct StreamConfiguration: Sendable, Equatable {
  public enum Retention: String, Sendable { case limits, interest, workqueue }
  public enum Discard: String, Sendable { case old, new }
  public enum Storage: String, Sendable { case file, memory }

  public var name: String
  public var subjects: [String]
  public var retention = Retention.limits
  public var maxConsumers: Int64 = -1
  public var maxMessages: Int64 = -1
  public var maxBytes: Int64 = -1
  public var maxAge: Int64 = 0
  public var maxMessagesPerSubject: Int64 = -1
  public var maxMessageSize: Int64 = -1
  public var discard = Discard.old
  public var discardNewPerSubject = false
  public var storage = Storage.file
  public var replicas = 1
  public var noAck = false
  /// 0: the server chooses.
  public var duplicateWindow: Int64 = 0
  public var firstSequence: UInt64 = 0
  public var allowDirect = false
  public var isSealed = false
  public var denyDelete = false
  public var denyPurge = false
  public var allowRollup = false
  public var allowMessageTTL = false
  public var allowAtomic = false
  public var allowBatched = false
  public var summary = ""
  public var metadata: [JSONValue.Member] = []

  public init(name: String, subjects: [String]) {
    self.name = name
    self.subjects = subjects
  }

  /// From a request. Members that the model does not know are not looked at.
  public init(_ json: JSONValue) throws(Refusal) {
    name = json["name"]?.stringValue ?? ""
    subjects = json["subjects"]?.arrayValue?.compactMap(\.stringValue) ?? []
    func number(_ key: String, _ otherwise: Int64 = 0) -> Int64 {
      json[key]?.integer() ?? otherwise
    }
    func flag(_ key: String) -> Bool { json[key]?.boolValue ?? false }
    func choice<T: RawRepresentable<String>>(_ key: String, _ otherwise: T) throws(Refusal) -> T {
      guard let text = json[key]?.stringValue else { return otherwise }
      guard let value = T(rawValue: text) else {
        throw .invalidJSON("can not unmarshal \"\(text)\"")
      }
      return value
    }
    retention = try choice("retention", .limits)
    discard = try choice("discard", .old)
    storage = try choice("storage", .file)
    maxConsumers = number("max_consumers")
    maxMessages = number("max_msgs")
    maxBytes = number("max_bytes")
    maxAge = number("max_age")
    maxMessagesPerSubject = number("max_msgs_per_subject")
    maxMessageSize = number("max_msg_size")
    discardNewPerSubject = flag("discard_new_per_subject")
    replicas = Int(number("num_replicas"))
    noAck = flag("no_ack")
    duplicateWindow = number("duplicate_window")
    firstSequence = json["first_seq"]?.integer() ?? 0
    allowDirect = flag("allow_direct")
    isSealed = flag("sealed")
    denyDelete = flag("deny_delete")
    denyPurge = flag("deny_purge")
    allowRollup = flag("allow_rollup_hdrs")
    allowMessageTTL = flag("allow_msg_ttl")
    allowAtomic = flag("allow_atomic")
    allowBatched = flag("allow_batched")
    summary = json["description"]?.stringValue ?? ""
    metadata = json["metadata"]?.objectValue ?? []
  }

  /// As STREAM.INFO shows it. Members that are zero are left out where the server leaves them out.
  public func json(_ rules: ServerRules) -> JSONValue {
    var all: [JSONValue.Member] = [.init("name", .string(name))]
    func add(_ key: String, _ value: JSONValue, unless isZero: Bool = false) {
      if !isZero { all.append(.init(key, value)) }
    }
    add("description", .string(summary), unless: summary.isEmpty)
    add("subjects", .array(subjects.map { .string($0) }), unless: subjects.isEmpty)
    add("retention", .string(retention.rawValue))
    add("max_consumers", .int(maxConsumers))
    add("max_msgs", .int(maxMessages))
    add("max_bytes", .int(maxBytes))
    add("max_age", .int(maxAge))
    add("max_msgs_per_subject", .int(maxMessagesPerSubject))
    add("max_msg_size", .int(maxMessageSize), unless: maxMessageSize == 0)
    add("discard", .string(discard.rawValue))
    add("storage", .string(storage.rawValue))
    add("num_replicas", .int(replicas))
    add("no_ack", true, unless: !noAck)
    add("duplicate_window", .int(duplicateWindow), unless: duplicateWindow == 0)
    add("compression", "none")
    add("first_seq", .int(firstSequence), unless: firstSequence == 0)
    add("allow_direct", .bool(allowDirect))
    add("mirror_direct", false)
    add("discard_new_per_subject", true, unless: !discardNewPerSubject)
    add("sealed", .bool(isSealed))
    add("deny_delete", .bool(denyDelete))
    add("deny_purge", .bool(denyPurge))
    add("allow_rollup_hdrs", .bool(allowRollup))
    add("consumer_limits", .object([]))
    add("allow_msg_ttl", .bool(allowMessageTTL), unless: !rules.knowsMessageTTL)
    add("allow_atomic", true, unless: !allowAtomic)
    add("allow_batched", true, unless: !allowBatched)
    add("metadata", .object(metadata), unless: metadata.isEmpty)
    return .object(all)
  }
}

// MARK: - What a server makes of it

extension StreamConfiguration {
  private static let shortestDuration: Int64 = 100_000_000
  private static let defaultWindow: Int64 = 120_000_000_000

  /// With the server's defaults, or refused.
  func checked(_ rules: ServerRules) throws(Refusal) -> StreamConfiguration {
    func invalid(_ text: String) -> Refusal { .invalidConfiguration(text) }
    guard Self.isValidName(name) else {
      throw invalid(
        rules.knowsMessageTTL
          ? #"stream name is required and can not contain '.', '*', '>', '\', '/'"#
          : "stream name is required and can not contain '.', '*', '>'")
    }
    var made = self
    if made.replicas == 0 { made.replicas = 1 }
    if made.replicas > 5 { throw invalid("maximum replicas is 5") }
    for limit in [
      \StreamConfiguration.maxMessages, \.maxMessagesPerSubject, \.maxBytes, \.maxMessageSize,
      \.maxConsumers,
    ] where made[keyPath: limit] == 0 || made[keyPath: limit] < -1 {
      made[keyPath: limit] = -1
    }
    if maxAge < 0 { throw invalid("max age can not be negative") }
    if maxAge != 0, maxAge < Self.shortestDuration { throw invalid("max age needs to be >= 100ms") }
    if made.duplicateWindow == 0 {
      made.duplicateWindow = maxAge != 0 ? min(maxAge, Self.defaultWindow) : Self.defaultWindow
    }
    if made.duplicateWindow < 0 { throw invalid("duplicates window can not be negative") }
    if maxAge != 0, made.duplicateWindow > maxAge {
      throw invalid("duplicates window can not be larger then max age")
    }
    if made.duplicateWindow < Self.shortestDuration {
      throw invalid("duplicates window needs to be >= 100ms")
    }
    if denyPurge, allowRollup { throw invalid("roll-ups require the purge permission") }
    if discardNewPerSubject {
      if discard != .new {
        throw invalid("discard new per subject requires discard new policy to be set")
      }
      if made.maxMessagesPerSubject <= 0 {
        throw invalid("discard new per subject requires max msgs per subject > 0")
      }
    }
    try checkSubjects(&made, rules)
    return made
  }

  private func checkSubjects(_ made: inout StreamConfiguration, _ rules: ServerRules)
    throws(Refusal)
  {
    if subjects.isEmpty { made.subjects = [name] }
    for (index, subject) in subjects.enumerated() {
      guard SubjectPattern.isValid(subject) else { throw .invalidConfiguration("invalid subject") }
      if subjects[..<index].contains(subject) {
        throw .invalidConfiguration("duplicate subjects detected")
      }
      if subject == ">", !noAck {
        throw .invalidConfiguration("capturing all subjects requires no-ack to be true")
      }
      for other in subjects[(index + 1)...]
      where (rules.knowsMessageTTL || other != subject) && SubjectPattern.collide(other, subject) {
        throw .invalidConfiguration("subject \"\(subject)\" overlaps with \"\(other)\"")
      }
    }
  }

  static func isValidName(_ name: String) -> Bool {
    !name.isEmpty && !name.utf8.contains { [32, 46, 42, 62, 9, 10, 13, 12, 47, 92].contains($0) }
  }

  /// These settings in the place of `old`, or refused.
  func replacing(_ old: StreamConfiguration, _ rules: ServerRules) throws(Refusal)
    -> StreamConfiguration
  {
    func invalid(_ text: String) -> Refusal {
      .invalidConfiguration("stream configuration update can not \(text)")
    }
    var made = self
    if !rules.knowsMessageTTL, made.maxConsumers != old.maxConsumers {
      throw invalid("change MaxConsumers")
    }
    if made.storage != old.storage { throw invalid("change storage type") }
    if made.retention != old.retention, made.retention == .workqueue || old.retention == .workqueue
    {
      throw invalid("change retention policy to/from workqueue")
    }
    if !made.isSealed, old.isSealed { throw invalid("unseal a sealed stream") }
    if !made.denyDelete, old.denyDelete { throw invalid("cancel deny message deletes") }
    if !made.denyPurge, old.denyPurge { throw invalid("cancel deny purge") }
    if old.allowMessageTTL, !made.allowMessageTTL, rules.knowsMessageTTL {
      throw .invalidConfiguration("message TTL status can not be disabled")
    }
    if made.isSealed {
      made.maxAge = 0
      made.discard = .new
      made.denyDelete = true
      made.denyPurge = true
      made.allowRollup = false
    }
    return made
  }
}
