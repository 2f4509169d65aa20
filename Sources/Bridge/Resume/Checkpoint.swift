public import JSON
public import MongoSource
public import Oplog

/// How far the bridge is, as kept in KV: written only when everything before it is acknowledged.
///
/// `resume` names the oplog entry to begin reading at, inclusive: it still exists when the bridge
/// comes back, or the position is lost. What of that entry (and after it) is already stored, the
/// streams themselves show, each its own part.
public struct Checkpoint: Sendable, Equatable {
  /// What was last acknowledged on one stream.
  public struct Stream: Sendable, Equatable {
    /// Sequence of our last acknowledged message.
    public var sequence: UInt64
    /// Its Nats-Msg-Id, as read back from the stream; empty if a limit had removed it by then.
    public var id: String
    public var position: EventPosition
    public var rule: RuleID
    /// The stream's creation time: another value means that the stream was created again.
    public var created: String

    public init(
      sequence: UInt64, id: String, position: EventPosition, rule: RuleID, created: String
    ) {
      self.sequence = sequence
      self.id = id
      self.position = position
      self.rule = rule
      self.created = created
    }
  }

  public var bridge: String
  public var source: String
  /// The process that wrote it.
  public var instance: String
  /// The leader's epoch when it was written; nil: by a version that had none.
  public var epoch: UInt64?
  /// Counts the writes of all instances.
  public var version: UInt64
  public var resume: OplogPosition
  public var term: Int64?
  /// A change stream's resume token, at or before `resume`.
  public var resumeToken: [UInt8]?
  /// Where the bridge first began; nothing before it is published.
  public var origin: Origin
  public var streams: [String: Stream]
  /// Every event before this is settled on each stream, except streams that are being refilled. Nil:
  /// unknown, and the streams' own ends decide.
  public var settled: EventPosition?
  /// Everything that was sent was acknowledged when this was written, and nothing was sent since: the
  /// bridge stopped. Later messages in the streams aren't its own.
  public var isFinal = false
  /// Other facts about the streams.
  public var states: [String: StreamState] = [:]
  public var configurationHash: String
  /// From where on messages were made with that configuration; nil: from the beginning.
  public var configurationSince: OplogPosition?
  /// Behind `settled`, events up to here may have been published by other rules than that configuration's:
  /// what streams hold of them is looked up message by message.
  public var earlierRulesTo: EventPosition?
  /// The checkpoint was lost, and this one was derived from the streams, which held events up to here at
  /// most. The configuration that made the messages before it is unknown.
  public var foundAgainAt: OplogPosition?
  /// The last snapshot, whether it is over or not.
  public var snapshot: Snapshot?

  /// Facts about a stream, besides its last acknowledged message.
  public struct StreamState: Sendable, Equatable {
    /// The creation time of that stream.
    public var created: String
    /// The stream's last sequence when the bridge first saw it: earlier messages are those of others.
    public var base: UInt64?
    /// No message of ours lies behind the acknowledged one up to this sequence: a shared stream was
    /// searched so far.
    public var searched: UInt64?
    /// Up to this sequence, what is gone is not counted as ours: sequences don't show whether it was.
    public var uncounted: UInt64?
    /// Events up to here are being written again, in order; behind the stream's last message none can
    /// be considered stored.
    public var refillTo: EventPosition?
    /// The stream already holds messages of events after the next one to be refilled.
    public var hasLater = false
    /// Its protocol can leave gaps: the messages behind the acknowledged one are looked up one by one.
    public var mayLeaveGaps = false
    /// The stream was halted (`on_loss`) at this position, and lacks everything after it.
    public var halted: OplogPosition?
    /// It had the messages of events up to here already, by their ids or as they were looked up, behind what was
    /// acknowledged as stored: a stream that was made again since has lost them, …
    public var hadTo: EventPosition?
    /// … and one that ends before this sequence some of them. Nil: where they are is not known.
    public var hadThrough: UInt64?
    /// Messages of the bridge that its consumers or limits removed before they were in a checkpoint.
    package var inherited: InheritedMessages?

    public init(created: String) { self.created = created }

    var isEmpty: Bool {
      base == nil && searched == nil && uncounted == nil && refillTo == nil && !hasLater
        && !mayLeaveGaps && halted == nil && hadTo == nil && inherited == nil
    }
  }

  /// The progress of a snapshot. While it is running, `resume` is its position.
  public struct Snapshot: Sendable, Equatable {
    /// Its entry: the snapshot shows what came before, and the tail what comes after.
    public var position: OplogPosition
    public var term: Int64?
    /// The documents to continue after; nil: the snapshot is finished.
    public var marker: SnapshotMarker?
    /// The lowest index that a message of a document behind `marker` can have.
    public var floor: UInt32
    /// The rules and collections that it covers.
    public var selection: SnapshotSelection

    public init(at point: ResumePoint, of selection: SnapshotSelection = SnapshotSelection()) {
      self.selection = selection
      position = point.position
      term = point.term
      marker = SnapshotMarker(beginningAt: point)
      floor = SnapshotDecoder.firstIndex
    }

    init(
      position: OplogPosition, term: Int64?, marker: SnapshotMarker?, floor: UInt32,
      selection: SnapshotSelection
    ) {
      self.selection = selection
      self.position = position
      self.term = term
      self.marker = marker
      self.floor = floor
    }

    public var isOver: Bool { marker == nil }

    public var point: ResumePoint { ResumePoint(position: position, term: term) }
  }

  /// The beginning of everything this bridge publishes.
  public struct Origin: Sendable, Equatable {
    public var position: OplogPosition
    /// Whether the entry at `position` itself belongs to it.
    public var inclusive: Bool

    public init(position: OplogPosition, inclusive: Bool) {
      self.position = position
      self.inclusive = inclusive
    }

    /// The first event that belongs to the bridge.
    var first: EventPosition { EventPosition(entry: position, index: inclusive ? 0 : .max) }

    func precedes(_ other: Origin) -> Bool {
      first < other.first
    }
  }

  public init(
    bridge: String, source: String, instance: String, version: UInt64, resume: OplogPosition,
    term: Int64?, origin: Origin, streams: [String: Stream], configurationHash: String
  ) {
    self.bridge = bridge
    self.source = source
    self.instance = instance
    self.version = version
    self.resume = resume
    self.term = term
    self.origin = origin
    self.streams = streams
    self.configurationHash = configurationHash
  }

  /// Takes over from `earlier` since when this configuration is in use.
  package mutating func inheritConfiguration(from earlier: Checkpoint?) {
    guard let earlier else { return }
    configurationSince =
      earlier.configurationHash == configurationHash
      ? earlier.configurationSince
      : max(resume, settled?.entry ?? resume, earlierRulesTo?.entry ?? resume)
  }

  package static let format = 1

  public var json: JSONValue {
    var value: JSONValue = [
      "format": .int(Self.format), "bridge": .string(bridge), "source": .string(source),
      "instance": .string(instance), "version": .int(version),
      "position": .string(resume.description),
    ]
    if let epoch { value["epoch"] = .int(epoch) }
    if let term { value["term"] = .int(term) }
    if let resumeToken { value["resume_token"] = .string(Self.hex(resumeToken)) }
    value["origin"] = [
      "position": .string(origin.position.description), "inclusive": .bool(origin.inclusive),
    ]
    value["streams"] = .object(
      streams.sorted { $0.key < $1.key }.map { name, stream in
        JSONValue.Member(
          name,
          [
            "sequence": .int(stream.sequence), "id": .string(stream.id),
            "position": .string(stream.position.description), "rule": .string(stream.rule.name),
            "created": .string(stream.created),
          ])
      })
    if let settled { value["settled"] = .string(settled.description) }
    let known = states.filter { !$0.value.isEmpty }.sorted { $0.key < $1.key }
    if !known.isEmpty {
      value["states"] = .object(known.map { JSONValue.Member($0.key, json($0.value)) })
    }
    value["configuration"] = .string(configurationHash)
    if let configurationSince {
      value["configuration_since"] = .string(configurationSince.description)
    }
    if let earlierRulesTo { value["earlier_rules_to"] = .string(earlierRulesTo.description) }
    if let foundAgainAt { value["found_again_at"] = .string(foundAgainAt.description) }
    if let snapshot { value["snapshot"] = json(snapshot) }
    if isFinal { value["final"] = true }
    return value
  }

  private func json(_ state: StreamState) -> JSONValue {
    var value: JSONValue = ["created": .string(state.created)]
    if let base = state.base { value["base"] = .int(base) }
    if let searched = state.searched { value["searched"] = .int(searched) }
    if let uncounted = state.uncounted { value["uncounted"] = .int(uncounted) }
    if let position = state.refillTo { value["refill_to"] = .string(position.description) }
    if state.hasLater { value["has_later"] = true }
    if state.mayLeaveGaps { value["may_leave_gaps"] = true }
    if let position = state.halted { value["halted_at"] = .string(position.description) }
    if let position = state.hadTo { value["had_to"] = .string(position.description) }
    if let hadThrough = state.hadThrough { value["had_through"] = .int(hadThrough) }
    if let inherited = state.inherited { value["inherited"] = inherited.json }
    return value
  }

  private func json(_ snapshot: Snapshot) -> JSONValue {
    var value: JSONValue = [
      "position": .string(snapshot.position.description), "over": .bool(snapshot.isOver),
    ]
    if let term = snapshot.term { value["term"] = .int(term) }
    if !snapshot.selection.isWhole { value["selection"] = snapshot.selection.json }
    guard let marker = snapshot.marker else { return value }
    value["documents"] = .int(marker.documents)
    value["namespace"] = .string(marker.namespace)
    value["marker"] = .string(Self.hex(marker.encoded()))
    value["floor"] = .int(snapshot.floor)
    return value
  }

  private static func hex(_ bytes: [UInt8]) -> String {
    bytes.map { byte in String(byte >> 4, radix: 16) + String(byte & 15, radix: 16) }.joined()
  }

  private static func bytes(hex: String) -> [UInt8]? {
    let digits = hex.compactMap(\.hexDigitValue)
    guard digits.count == hex.count, digits.count.isMultiple(of: 2) else { return nil }
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
  }

  /// Reads what `json` wrote. A checkpoint that can't be read is an error, never a fresh start.
  public init(parsing bytes: [UInt8]) throws(CheckpointError) {
    let json: JSONValue
    do {
      json = try JSONValue(parsing: bytes)
    } catch {
      throw CheckpointError(message: "it is \(error)")
    }
    guard json["format"]?.integer(Int.self) == Self.format else {
      throw CheckpointError(message: "its format is not \(Self.format)")
    }
    func text(_ key: String, _ from: JSONValue) throws(CheckpointError) -> String {
      guard let value = from[key]?.stringValue else {
        throw CheckpointError(message: "'\(key)' is missing or no string")
      }
      return value
    }
    func number(_ key: String, _ from: JSONValue) throws(CheckpointError) -> UInt64 {
      guard let value = from[key]?.integer(UInt64.self) else {
        throw CheckpointError(message: "'\(key)' is missing or no number")
      }
      return value
    }
    func entry(_ key: String, _ from: JSONValue) throws(CheckpointError) -> OplogPosition {
      guard let position = OplogPosition(try text(key, from)) else {
        throw CheckpointError(message: "'\(key)' is no <seconds>.<increment>")
      }
      return position
    }
    bridge = try text("bridge", json)
    source = try text("source", json)
    instance = try text("instance", json)
    epoch = json["epoch"]?.integer(UInt64.self)
    version = try number("version", json)
    resume = try entry("position", json)
    term = json["term"]?.integer(Int64.self)
    resumeToken = json["resume_token"]?.stringValue.flatMap(Self.bytes(hex:))
    guard let origin = json["origin"], let inclusive = origin["inclusive"]?.boolValue else {
      throw CheckpointError(message: "'origin' is missing")
    }
    self.origin = Origin(position: try entry("position", origin), inclusive: inclusive)
    configurationHash = try text("configuration", json)
    configurationSince = json["configuration_since"]?.stringValue.flatMap { OplogPosition($0) }
    foundAgainAt = json["found_again_at"]?.stringValue.flatMap { OplogPosition($0) }
    if let value = json["snapshot"] {
      let isOver = value["over"]?.boolValue ?? false
      let marker = value["marker"]?.stringValue.flatMap(Self.bytes(hex:))
        .flatMap { SnapshotMarker(encoded: $0) }
      let floor = value["floor"]?.integer(UInt32.self)
      guard isOver || (marker != nil && floor != nil) else {
        throw CheckpointError(message: "'snapshot' has no marker that can be read")
      }
      snapshot = Snapshot(
        position: try entry("position", value), term: value["term"]?.integer(Int64.self),
        marker: isOver ? nil : marker, floor: floor ?? 0,
        selection: value["selection"].map { SnapshotSelection($0) } ?? SnapshotSelection())
    }
    if let value = json["settled"] {
      guard let position = value.stringValue.flatMap({ EventPosition($0) }) else {
        throw CheckpointError(message: "'settled' is no <seconds>.<increment>.<index>")
      }
      settled = position
    }
    if let value = json["earlier_rules_to"] {
      guard let position = value.stringValue.flatMap({ EventPosition($0) }) else {
        throw CheckpointError(message: "'earlier_rules_to' is no <seconds>.<increment>.<index>")
      }
      earlierRulesTo = position
    }
    isFinal = json["final"]?.boolValue ?? false
    for member in json["states"]?.objectValue ?? [] {
      states[member.key] = try Self.state(member.key, member.value)
    }
    streams = [:]
    for member in json["streams"]?.objectValue ?? [] {
      guard let position = EventPosition(try text("position", member.value)) else {
        throw CheckpointError(
          message: "the position of stream \(member.key) is no <seconds>.<increment>.<index>")
      }
      streams[member.key] = Stream(
        sequence: try number("sequence", member.value), id: try text("id", member.value),
        position: position, rule: RuleID(try text("rule", member.value)),
        created: try text("created", member.value))
    }
  }
}

extension Checkpoint {
  private static func state(
    _ name: String, _ value: JSONValue
  ) throws(CheckpointError) -> StreamState {
    func broken(_ key: String) -> CheckpointError {
      CheckpointError(message: "'\(key)' of the state of stream \(name) can't be read")
    }
    func number(_ key: String) throws(CheckpointError) -> UInt64? {
      guard let member = value[key] else { return nil }
      guard let number = member.integer(UInt64.self) else { throw broken(key) }
      return number
    }
    guard let created = value["created"]?.stringValue else { throw broken("created") }
    var state = StreamState(created: created)
    state.base = try number("base")
    state.searched = try number("searched")
    state.uncounted = try number("uncounted")
    if let member = value["refill_to"] {
      guard let position = member.stringValue.flatMap({ EventPosition($0) }) else {
        throw broken("refill_to")
      }
      state.refillTo = position
    }
    state.hasLater = value["has_later"]?.boolValue ?? false
    state.mayLeaveGaps = value["may_leave_gaps"]?.boolValue ?? false
    if let member = value["halted_at"] {
      guard let position = member.stringValue.flatMap({ OplogPosition($0) }) else {
        throw broken("halted_at")
      }
      state.halted = position
    }
    if let member = value["had_to"] {
      guard let position = member.stringValue.flatMap({ EventPosition($0) }) else {
        throw broken("had_to")
      }
      state.hadTo = position
    }
    state.hadThrough = try number("had_through")
    if let member = value["inherited"] {
      guard let inherited = InheritedMessages(member) else { throw broken("inherited") }
      state.inherited = inherited
    }
    return state
  }
}

public struct CheckpointError: Error, Sendable, CustomStringConvertible {
  public var message: String
  public var description: String { "the stored checkpoint can't be read: \(message)" }
}
