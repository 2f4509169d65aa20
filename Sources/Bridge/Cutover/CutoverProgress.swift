package import JSON
public import Oplog

/// How a group's events ended, in the present phase.
public struct CutoverCounts: Sendable, Equatable {
  /// The producer's message was there.
  public var byProducer: UInt64 = 0
  /// The bridge had to publish it.
  public var filled: UInt64 = 0
  /// Both have it, and subject or body differ.
  public var mismatched: UInt64 = 0
  /// A producer's message that no change explains.
  public var phantom: UInt64 = 0
  /// In `committed`: no producer has published it.
  public var missed: UInt64 = 0

  public init() {}

  package var json: JSONValue {
    [
      "by_producer": .int(byProducer), "filled": .int(filled), "mismatched": .int(mismatched),
      "phantom": .int(phantom), "missed": .int(missed),
    ]
  }

  package init(_ json: JSONValue?) {
    byProducer = json?["by_producer"]?.integer() ?? 0
    filled = json?["filled"]?.integer() ?? 0
    mismatched = json?["mismatched"]?.integer() ?? 0
    phantom = json?["phantom"]?.integer() ?? 0
    missed = json?["missed"]?.integer() ?? 0
  }
}

/// One event or message that did not end as it should have.
public struct CutoverFinding: Sendable, Equatable {
  public enum Kind: String, Sendable, CaseIterable { case filled, mismatched, phantom, missed }

  public var kind: Kind
  public var id: String
  /// Empty for a phantom.
  public var rule = ""
  /// Nil for a phantom.
  public var position: EventPosition?
  public var stream = ""
  public var sequence: UInt64?
  /// Milliseconds since 1970.
  public var at: Int64
  /// JSON pointer of a body's first difference.
  public var pointer: String?
  public var detail: String

  package init(
    _ kind: Kind, id: String, rule: String = "", position: EventPosition? = nil, stream: String,
    sequence: UInt64? = nil, at: Int64, pointer: String? = nil, detail: String = ""
  ) {
    self.kind = kind
    self.id = id
    self.rule = rule
    self.position = position
    self.stream = stream
    self.sequence = sequence
    self.at = at
    self.pointer = pointer
    self.detail = detail
  }

  package var json: JSONValue {
    [
      "kind": .string(kind.rawValue), "id": .string(id), "rule": .string(rule),
      "position": position.map { .string($0.description) } ?? .null, "stream": .string(stream),
      "seq": sequence.map { .int($0) } ?? .null, "at_ms": .int(at),
      "pointer": pointer.map { .string($0) } ?? .null, "detail": .string(detail),
    ]
  }

  package init?(_ json: JSONValue) {
    guard let kind = json["kind"]?.stringValue.flatMap({ Kind(rawValue: $0) }) else { return nil }
    self.init(
      kind, id: json["id"]?.stringValue ?? "", rule: json["rule"]?.stringValue ?? "",
      position: json["position"]?.stringValue.flatMap { EventPosition($0) },
      stream: json["stream"]?.stringValue ?? "", sequence: json["seq"]?.integer(),
      at: json["at_ms"]?.integer() ?? 0, pointer: json["pointer"]?.stringValue,
      detail: json["detail"]?.stringValue ?? "")
  }
}

/// How far a group's events are decided, in key `<bridge>.cutover-progress.<group>`. Written by the leader alone,
/// together with the counts, so that after a crash each event is counted once.
package struct CutoverProgress: Sendable, Equatable {
  /// The part that concerns one stream.
  package struct Place: Sendable, Equatable {
    /// When the stream was created, as the server tells it.
    package var created: String
    /// Everything up to here has been read …
    package var readTo: UInt64
    /// … and is done with, except for these.
    package var open: SequenceSet
    /// There were too many to name: all behind the first of them may be open.
    package var isPartial = false
    /// Messages up to this time may have been gone before they were read; milliseconds since 1970. Nil: none.
    package var lostUntil: Int64?

    package init(
      created: String, readTo: UInt64, open: SequenceSet, isPartial: Bool = false,
      lostUntil: Int64? = nil
    ) {
      self.created = created
      self.readTo = readTo
      self.open = open
      self.isPartial = isPartial
      self.lostUntil = lostUntil
    }

    /// Reading begins here.
    package var next: UInt64 { open.first ?? readTo + 1 }

    /// Whether the message was read before, and is done with.
    package func isDone(_ sequence: UInt64) -> Bool {
      sequence <= readTo && !isPartial && !open.contains(sequence)
    }

    /// Whether that is unknown.
    package func isInDoubt(_ sequence: UInt64) -> Bool { sequence <= readTo && isPartial }
  }

  package var generation: UInt64
  package var epoch: UInt64
  /// Everything up to here is decided.
  package var position: EventPosition
  /// Reading continues here.
  package var resume: OplogPosition
  package var streams: [String: Place] = [:]
  package var counts = CutoverCounts()
  /// The newest of each kind, newest last.
  package var findings: [CutoverFinding] = []
  /// When one of a kind was last found; milliseconds since 1970.
  package var last: [CutoverFinding.Kind: Int64] = [:]
  /// When a producer's message was last found to be right.
  package var lastByProducer: Int64?
  /// Seconds between the newest majority entry and the oldest undecided event.
  package var lag: Double?
  /// When this was written; milliseconds since 1970.
  package var at: Int64 = 0

  package init(
    generation: UInt64, epoch: UInt64, position: EventPosition, resume: OplogPosition
  ) {
    self.generation = generation
    self.epoch = epoch
    self.position = position
    self.resume = resume
  }

  /// So many findings of a kind are kept.
  package static let mostFindings: [CutoverFinding.Kind: Int] = [
    .filled: 20, .mismatched: 20, .phantom: 20, .missed: 100,
  ]

  package mutating func note(_ finding: CutoverFinding) {
    findings.append(finding)
    last[finding.kind] = finding.at
    let most = Self.mostFindings[finding.kind] ?? 20
    if findings.count(where: { $0.kind == finding.kind }) > most,
      let oldest = findings.firstIndex(where: { $0.kind == finding.kind })
    {
      findings.remove(at: oldest)
    }
  }

  /// An event that was missed has a message after all.
  package mutating func noteLate(_ id: String, isRight: Bool) {
    // Of the present phase.
    guard counts.missed > 0 else { return }
    counts.missed -= 1
    if isRight { counts.byProducer += 1 } else { counts.mismatched += 1 }
    findings.removeAll { $0.kind == .missed && $0.id == id }
  }

  /// Counting begins again.
  package mutating func begin(_ generation: UInt64) {
    self.generation = generation
    counts = CutoverCounts()
    findings = []
    last = [:]
    lastByProducer = nil
  }
}

extension CutoverProgress {
  package var json: JSONValue {
    [
      "generation": .int(generation), "epoch": .int(epoch),
      "position": .string(position.description), "resume": .string(resume.description),
      "streams": .object(
        streams.sorted { $0.key < $1.key }.map { name, place in
          JSONValue.Member(
            name,
            [
              "created": .string(place.created), "read_to": .int(place.readTo),
              "open": .string(place.open.text), "partial": .bool(place.isPartial),
              "lost_until_ms": place.lostUntil.map { .int($0) } ?? .null,
            ])
        }),
      "counts": counts.json, "findings": .array(findings.map(\.json)),
      "last_ms": .object(
        last.sorted { $0.key.rawValue < $1.key.rawValue }
          .map { JSONValue.Member($0.key.rawValue, .int($0.value)) }),
      "last_by_producer_ms": lastByProducer.map { .int($0) } ?? .null,
      "lag_seconds": lag.map { .number(HealthReport.rounded($0)) } ?? .null, "at_ms": .int(at),
    ]
  }

  package init(parsing bytes: [UInt8]) throws(CutoverRecord.Unreadable) {
    guard let json = try? JSONValue(parsing: bytes),
      let generation = json["generation"]?.integer(UInt64.self),
      let position = json["position"]?.stringValue.flatMap({ EventPosition($0) }),
      let resume = json["resume"]?.stringValue.flatMap({ OplogPosition($0) })
    else {
      throw CutoverRecord.Unreadable(
        description: "the progress of the cut-over is not one of this version")
    }
    self.init(
      generation: generation, epoch: json["epoch"]?.integer() ?? 0, position: position,
      resume: resume)
    for member in json["streams"]?.objectValue ?? [] {
      guard let readTo = member.value["read_to"]?.integer(UInt64.self),
        let open = member.value["open"]?.stringValue.flatMap({ SequenceSet($0) })
      else {
        throw CutoverRecord.Unreadable(
          description: "the progress of the cut-over on stream \(member.key) can't be read")
      }
      streams[member.key] = Place(
        created: member.value["created"]?.stringValue ?? "", readTo: readTo, open: open,
        isPartial: member.value["partial"]?.boolValue ?? false,
        lostUntil: member.value["lost_until_ms"]?.integer())
    }
    counts = CutoverCounts(json["counts"])
    findings = (json["findings"]?.arrayValue ?? []).compactMap { CutoverFinding($0) }
    for member in json["last_ms"]?.objectValue ?? [] {
      if let kind = CutoverFinding.Kind(rawValue: member.key) {
        last[kind] = member.value.integer()
      }
    }
    lastByProducer = json["last_by_producer_ms"]?.integer()
    lag = json["lag_seconds"]?.doubleValue
    at = json["at_ms"]?.integer() ?? 0
  }
}
