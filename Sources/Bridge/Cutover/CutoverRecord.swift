package import BridgeConfiguration
package import JSON
package import Oplog

/// What the state bucket holds of a group's cut-over, in key `<bridge>.cutover.<group>`. Every write is a
/// compare-and-set, so operators' commands and the leader can't overwrite each other's.
package struct CutoverRecord: Sendable, Equatable {
  package var group: String
  package var phase = CutoverPhase.bridge
  /// The change that led to this phase.
  package var change: CutoverChange
  /// In the order of the oplog. Kept for ever: a bridge that reads from further back must not publish them either.
  package var ranges: [HandedRange] = []
  /// Phases `committing` to `finalized`: the bridge publishes nothing of the group behind this entry. Nil in
  /// `committing`: the leader has not chosen it yet.
  package var fence: OplogPosition?
  /// In `committing`: after so long it is committed, or the group returns to `dual`. Not a time: the clocks of the machines
  /// that compare it may differ (`CommitTimer`).
  package var limit: Duration?
  /// In `committing`: everything up to the fence is settled.
  package var isDrained = false
  /// Grows when counting begins again: with `dual` and `committed`.
  package var generation: UInt64 = 0
  /// After a rollback: events behind this entry are decided once more.
  package var rewind: OplogPosition?
  /// The generation that began with `rewind`: a progress of an earlier one has not gone back there yet, even if the
  /// group has left `dual` meanwhile.
  package var rewindGeneration: UInt64 = 0
  /// Counts the changes of phase.
  package var number: UInt64 = 0
  /// Of the leader that read it last.
  package var epoch: UInt64 = 0
  /// The group's rules as they were when it was handed over; nil: it isn't, or an earlier version wrote this.
  package var contract: RuleContract?

  package init(group: String) {
    self.group = group
    change = CutoverChange(from: .bridge, to: .bridge, at: 0, by: "", reason: "")
  }

  /// Whether the pipeline leaves an event of the group to the follower.
  package func isHandedOver(_ position: EventPosition) -> Bool {
    ranges.contains { $0.contains(position) }
  }

  /// The pipeline has to say where one of the ranges begins or ends.
  package var needsBoundary: Bool {
    guard let last = ranges.last else { return false }
    if last.from == nil { return true }
    return phase == .bridge && last.until == nil
  }

  /// What the pipeline leaves out.
  package var leftOut: [HandedRange] {
    var found = ranges.filter { $0.from != nil }
    guard phase == .finalized, let fence, var last = found.popLast() else { return found }
    last.until = fence
    var final = HandedRange(from: fence)
    final.isFinal = true
    return found + [last, final]
  }

  /// The group's rules must be what they were when it was handed over.
  package var bindsRules: Bool {
    switch phase {
    case .bridge: ranges.last.map { $0.from != nil && $0.until == nil } ?? false
    case .dual: hasOpenRange
    case .committing, .committed: true
    case .finalized: false
    }
  }

  private var hasOpenRange: Bool { ranges.last?.from != nil }

  /// Events are, or may have to be, decided by their ids.
  package var hasRanges: Bool { ranges.contains { $0.from != nil } }

  /// A follower decides, or may have to decide, events of the group.
  package var isFollowed: Bool { hasRanges && phase != .finalized }

  /// Where the present part of the group's course begins.
  package var begin: OplogPosition? {
    [rewind, lastRange?.from].compactMap { $0 }.max()
  }

  /// The newest range whose beginning is known.
  package var lastRange: HandedRange? { ranges.last { $0.from != nil } }

  /// Whether no range has begun since `before`: whose events are is what it was. (A range may begin where the one before it
  /// began, and ended.)
  package func hasRanges(of before: CutoverRecord) -> Bool {
    ranges.count { $0.from != nil } == before.ranges.count { $0.from != nil }
      && lastRange?.from == before.lastRange?.from
  }

  /// The end of what has to be decided; nil: it has none. Behind it, events are the pipeline's, or of a range that is to
  /// come.
  package var end: OplogPosition? { lastRange?.until }
}

/// One change of a group's phase.
package struct CutoverChange: Sendable, Equatable {
  package var from: CutoverPhase
  package var to: CutoverPhase
  /// Milliseconds since 1970.
  package var at: Int64
  /// Who asked for it: a user and a host, or the leading instance.
  package var by: String
  package var reason: String

  package init(from: CutoverPhase, to: CutoverPhase, at: Int64, by: String, reason: String) {
    self.from = from
    self.to = to
    self.at = at
    self.by = by
    self.reason = reason
  }
}

extension CutoverRecord {
  package var json: JSONValue {
    [
      "group": .string(group), "phase": .string(phase.rawValue), "number": .int(number),
      "change": [
        "from": .string(change.from.rawValue), "to": .string(change.to.rawValue),
        "at_ms": .int(change.at), "by": .string(change.by), "reason": .string(change.reason),
      ],
      "ranges": .array(
        ranges.map {
          [
            "from": Self.optional($0.from), "resume": Self.optional($0.resume),
            "until": Self.optional($0.until),
          ]
        }),
      "fence": Self.optional(fence), "limit_ms": limit.map { .int($0.milliseconds) } ?? .null,
      // For instances of 0.1.0, which compare it with their own clock.
      "deadline_ms": limit.map {
        .int(change.at.addingReportingOverflow($0.milliseconds).partialValue)
      } ?? .null,
      "drained": .bool(isDrained), "generation": .int(generation),
      "rewind": Self.optional(rewind), "rewind_generation": .int(rewindGeneration),
      "epoch": .int(epoch),
      "rules": contract.map(Self.json) ?? .null,
    ]
  }

  private static func json(_ contract: RuleContract) -> JSONValue {
    func object<T>(_ values: [String: T], _ json: (T) -> JSONValue) -> JSONValue {
      .object(values.sorted { $0.key < $1.key }.map { JSONValue.Member($0.key, json($0.value)) })
    }
    return object(contract.rules) { parts in object(parts) { .string($0) } }
  }

  private static func contract(_ json: JSONValue?) -> RuleContract? {
    guard let members = json?.objectValue else { return nil }
    var rules: [String: [String: String]] = [:]
    for member in members {
      var parts: [String: String] = [:]
      for part in member.value.objectValue ?? [] { parts[part.key] = part.value.stringValue }
      rules[member.key] = parts
    }
    return RuleContract(rules: rules)
  }

  private static func optional(_ position: OplogPosition?) -> JSONValue {
    position.map { .string($0.description) } ?? .null
  }

  /// The record can't be read: written by another version, or by something else.
  package struct Unreadable: Error, Equatable, CustomStringConvertible {
    package var description: String
  }

  package init(parsing bytes: [UInt8]) throws(Unreadable) {
    guard let json = try? JSONValue(parsing: bytes), let group = json["group"]?.stringValue,
      let phase = json["phase"]?.stringValue.flatMap({ CutoverPhase(rawValue: $0) }),
      let number = json["number"]?.integer(UInt64.self),
      let generation = json["generation"]?.integer(UInt64.self),
      let list = json["ranges"]?.arrayValue
    else { throw Unreadable(description: "the cut-over record is not one of this version") }
    func position(_ value: JSONValue?) throws(Unreadable) -> OplogPosition? {
      switch value {
      case nil, .null: return nil
      case .string(let text):
        if let position = OplogPosition(text) { return position }
        fallthrough
      default:
        throw Unreadable(description: "the cut-over record has a position that can't be read")
      }
    }
    func phaseOf(_ value: JSONValue?) -> CutoverPhase {
      value?.stringValue.flatMap { CutoverPhase(rawValue: $0) } ?? .bridge
    }
    self.init(group: group)
    self.phase = phase
    self.number = number
    self.generation = generation
    let change = json["change"]
    self.change = CutoverChange(
      from: phaseOf(change?["from"]), to: phaseOf(change?["to"]),
      at: change?["at_ms"]?.integer() ?? 0, by: change?["by"]?.stringValue ?? "",
      reason: change?["reason"]?.stringValue ?? "")
    for one in list {
      ranges.append(
        HandedRange(
          from: try position(one["from"]), resume: try position(one["resume"]),
          until: try position(one["until"])))
    }
    fence = try position(json["fence"])
    let milliseconds =
      json["limit_ms"]?.integer(Int64.self)
      ?? json["deadline_ms"]?.integer(Int64.self).map {
        max(0, $0.subtractingReportingOverflow(self.change.at).partialValue)
      }
    limit = milliseconds.map { .milliseconds($0) }
    isDrained = json["drained"]?.boolValue ?? false
    rewind = try position(json["rewind"])
    rewindGeneration = json["rewind_generation"]?.integer() ?? generation
    epoch = json["epoch"]?.integer() ?? 0
    contract = Self.contract(json["rules"])
  }
}
