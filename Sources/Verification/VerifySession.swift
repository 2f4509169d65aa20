import Bridge
import Foundation
import JSON
import JetStream
import Oplog
import Parity

/// How far a verification has come: it goes through its range in stretches, and between two of them it
/// can be written down and gone on from.
struct VerifySession: Sendable {
  struct Stream: Sendable, Equatable {
    var created: String
    /// Where reading continues.
    var next: UInt64
    /// What was read already, although it is behind there.
    var taken: Set<UInt64> = []
  }

  var report: VerifyReport
  var from: EventPosition
  /// Everything up to here is judged.
  var done: EventPosition?
  var streams: [String: Stream] = [:]
  /// Ids that were told to be missing, so that one that turns up later is not called doubled.
  var toldMissing: Set<String> = []

  /// Messages of one stretch, about.
  var stretch = 2_000_000.0
  private static let mostMissing = 10_000

  init(_ plan: VerifyPlan, _ report: VerifyReport) {
    from = plan.range.lowerBound
    self.report = report
  }

  /// The next stretch of the plan; nil at its end.
  func next(_ plan: VerifyPlan) -> VerifyPlan? {
    var part = plan
    let upper = plan.range.upperBound
    var lower = plan.range.lowerBound
    if let done {
      guard done < upper else { return nil }
      lower = done
      part.earliest = from
    }
    let end = stretchEnd(plan, lower)
    part.range = lower...end
    if end < upper { part.margin = 256 }
    part.toldMissing = toldMissing
    part.taken = plan.streams.map { streams[$0.name]?.taken ?? [] }
    for index in part.streams.indices {
      guard let known = streams[part.streams[index].name] else { continue }
      part.streams[index].first = max(known.next, part.streams[index].info.firstSequence)
    }
    return part
  }

  private func stretchEnd(_ plan: VerifyPlan, _ lower: EventPosition) -> EventPosition {
    let upper = plan.range.upperBound
    // Ids shared with other producers are looked for in all of the range.
    guard !plan.streams.contains(where: \.isShared) else { return upper }
    let messages = plan.streams.reduce(0.0) { sum, stream in
      let first = max(streams[stream.name]?.next ?? stream.first, stream.first)
      return sum + Double(stream.info.lastSequence - min(first, stream.info.lastSequence))
    }
    let seconds = Double(upper.entry.seconds) - Double(lower.entry.seconds)
    guard messages > 1.5 * stretch, seconds > 1 else { return upper }
    let part = max(1, seconds * stretch / messages)
    let end = EventPosition(
      entry: OplogPosition(seconds: lower.entry.seconds + UInt32(part), increment: .max),
      index: .max)
    return min(end, upper)
  }

  mutating func advance(_ part: VerifyPlan, _ found: VerifyReport, _ end: StretchEnd) {
    report.absorb(found)
    done = part.range.upperBound
    for (index, stream) in part.streams.enumerated() {
      streams[stream.name] = Stream(
        created: stream.info.created, next: end.next[index], taken: end.taken[index])
    }
    for id in end.missing where toldMissing.count < Self.mostMissing { toldMissing.insert(id) }
  }
}

/// Where a stretch has left the streams.
struct StretchEnd: Sendable {
  var next: [UInt64] = []
  var taken: [Set<UInt64>] = []
  var missing: [String] = []
}

// MARK: - On paper

/// A session that was written down.
struct SavedSession {
  /// Why a file can't be gone on from.
  struct Refusal: Error, CustomStringConvertible { var description: String }

  private let path: String
  private let json: JSONValue
  let from: EventPosition
  let done: EventPosition

  /// Nil where there is no file.
  init?(_ path: String) throws {
    guard FileManager.default.fileExists(atPath: path) else { return nil }
    self.path = path
    do {
      json = try JSONValue(parsing: Array(Data(contentsOf: URL(fileURLWithPath: path))))
    } catch {
      throw Self.refusal(path, "can't be read (\(error))")
    }
    guard json["format"]?.integer(Int.self) == 1 else {
      throw Self.refusal(path, "is no file of progress that this version writes")
    }
    guard let from = json["from"]?.stringValue.flatMap({ EventPosition($0) }),
      let done = json["done"]?.stringValue.flatMap({ EventPosition($0) })
    else { throw Self.refusal(path, "is damaged") }
    self.from = from
    self.done = done
  }

  private static func refusal(_ path: String, _ why: String) -> Refusal {
    Refusal(description: "\(path) \(why): remove it to begin again")
  }

  /// Throws unless it is of this very comparison.
  func session(
    _ plan: VerifyPlan, _ fresh: VerifyReport, from wanted: VerifyOptions.From
  ) throws -> VerifySession {
    guard json["config_hash"]?.stringValue == plan.configurationHash else {
      throw Self.refusal(path, "is of another configuration")
    }
    if case .at(let position) = wanted, position != from.entry {
      throw Self.refusal(path, "is of a range that begins at \(from.entry)")
    }
    guard let saved = json["report"], var report = fresh.restored(from: saved) else {
      throw Self.refusal(path, "is damaged")
    }
    report.from = from
    var session = VerifySession(plan, report)
    session.from = from
    session.done = done
    session.toldMissing = Set(json["missing"]?.arrayValue?.compactMap(\.stringValue) ?? [])
    for member in json["streams"]?.objectValue ?? [] {
      guard let created = member.value["created"]?.stringValue,
        let next = member.value["next"]?.integer(UInt64.self)
      else { throw Self.refusal(path, "is damaged") }
      let now = plan.streams.first { $0.name == member.key }
      guard now?.info.created == created else {
        throw Self.refusal(path, "is of another stream \(member.key), since that was created again")
      }
      let taken = member.value["taken"]?.arrayValue?.compactMap { $0.integer(UInt64.self) } ?? []
      session.streams[member.key] = VerifySession.Stream(
        created: created, next: next, taken: Set(taken))
    }
    return session
  }
}

extension VerifySession {
  func save(_ path: String) throws {
    guard let done else { return }
    let json: JSONValue = [
      "format": 1, "config_hash": .string(report.configurationHash),
      "from": .string(from.description), "done": .string(done.description),
      "streams": .object(
        streams.sorted { $0.key < $1.key }.map { name, stream in
          JSONValue.Member(
            name,
            [
              "created": .string(stream.created), "next": .int(stream.next),
              "taken": .array(stream.taken.sorted().map { .int($0) }),
            ])
        }),
      "missing": .array(toldMissing.sorted().map { .string($0) }), "report": report.json,
    ]
    // Whole or not at all, whenever the process ends.
    try ResultFile.replace(path, with: json.text(pretty: true))
  }
}

extension VerifyReport {
  /// This report with the counts of an earlier one, as `json` wrote it.
  func restored(from json: JSONValue) -> VerifyReport? {
    guard let counts = json["counts"] else { return nil }
    var report = self
    func number(_ key: String, _ value: JSONValue?) -> UInt64 {
      value?[key]?.integer(UInt64.self) ?? 0
    }
    func mismatches(_ value: JSONValue?) -> MismatchCounts {
      var read = MismatchCounts()
      for kind in MismatchClass.allCases { read[kind] = number(kind.rawValue, value) }
      return read
    }
    report.counts = mismatches(counts)
    report.expected = number("expected", counts)
    report.observed = number("observed", counts)
    report.events = number("events", json)
    report.unmatched = number("unmatched", json)
    report.dropped = number("dropped", json)
    report.notHeld = number("not_held", json)
    report.superseded = number("superseded", json)
    report.resolvedDeadLetters = number("dead_letters_resolved", json)
    report.idConflicts = number("id_conflicts", json)
    report.refused = number("refused", json)
    report.imagesNotCompared = number("images_not_compared", json)
    report.unprovenCount = number("unproven", json)
    for value in json["streams"]?.arrayValue ?? [] {
      report.streams.append(
        Stream(
          name: value["name"]?.stringValue ?? "", expected: number("expected", value),
          observed: number("observed", value), foreign: number("other_producers", value),
          foreignMatched: number("shared_with_other_producers", value),
          snapshot: number("snapshot", value), replayed: number("replayed", value),
          firstSequence: number("first_seq", value), lastSequence: number("last_seq", value),
          floor: nil, mismatches: mismatches(value["counts"])))
    }
    for value in json["rules"]?.arrayValue ?? [] {
      guard let index = report.rules.firstIndex(where: { $0.name == value["name"]?.stringValue })
      else { continue }
      report.rules[index].expected = number("expected", value)
      report.rules[index].mismatches = mismatches(value["counts"])
    }
    report.mismatches = json["mismatches"]?.arrayValue?.compactMap { Mismatch(json: $0) } ?? []
    return report
  }
}

extension Mismatch {
  init?(json: JSONValue) {
    guard let kind = json["class"]?.stringValue.flatMap({ MismatchClass(rawValue: $0) }) else {
      return nil
    }
    func text(_ key: String) -> String { json[key]?.stringValue ?? "" }
    self.init(
      kind: kind, id: text("msg_id"), position: EventPosition(text("position")),
      rule: text("rule"), subject: text("subject"), stream: text("stream"),
      sequence: json["stream_seq"]?.integer(UInt64.self), detail: text("detail"),
      pointer: json["pointer"]?.stringValue)
  }
}
