import Bridge
import JSON
import Oplog
import SimulatedJetStream
import Verification

/// Judges a group that is cut over: its phases follow each other as they may, each event is in the stream once, by
/// whomever, and behind the fence of a committed group there is nothing of the bridge's.
final class CutoverJudge {
  /// An event of the group that was committed.
  private struct Event {
    var position: EventPosition
    var subject: String
    var digest: JSONDigest?
  }

  private struct Stored {
    var sequence: UInt64
    var isOfBridge: Bool
    var isRight: Bool
    /// In the world's time.
    var at: Int64
  }

  private enum Arrival {
    case message(StoredMessage)
    case record(StoredMessage)
    case audit(StoredMessage)
  }

  private let world: World
  private let scenario: CutoverScenario
  private let bridge: String
  private var events: [String: Event] = [:]
  /// Ids in the order of the oplog.
  private var order: [String] = []
  private var stored: [String: [Stored]] = [:]
  /// When somebody has deleted the message of an event.
  private var deleted: [String: Int64] = [:]
  /// When the group's last commit began, how far its events were decided then, and behind which entry it verifies them.
  private var commit: (at: Int64, decided: OplogPosition, begin: OplogPosition)?
  private var arrivals: [Arrival] = []
  private var record: CutoverRecord?
  private var progress: CutoverProgress?
  /// The number of the last change of phase in the audit stream.
  private var audited: UInt64 = 0
  /// Behind the newest event that the bridge has published.
  private var newestOfBridge = EventPosition(
    entry: OplogPosition(seconds: 0, increment: 0), index: 0)
  /// Events before this index of `order` are stored.
  private var complete = 0
  /// What is wrong with the committed oplog.
  private var wrongOplog: String?
  /// Called when the group enters a phase.
  var onPhase: (CutoverPhase) -> Void = { _ in }

  /// - Parameter truth: learns what is to be stored.
  init(_ world: World, _ scenario: CutoverScenario, _ truth: Truth, bridge: String) {
    self.world = world
    self.scenario = scenario
    self.bridge = bridge
    let stream = truth.names.firstIndex(of: CutoverScenario.stream)
    truth.onDerived = { [unowned self] message, _ in
      guard message.stream == stream, message.error == nil else { return }
      derive(message)
    }
  }

  var phase: CutoverPhase { record?.phase ?? .bridge }

  /// What the bridge needs of the oplog to decide the group's events; nil: nothing.
  var needsFrom: OplogPosition? {
    guard let record, record.hasRanges, record.phase != .finalized else { return nil }
    if let end = record.end, record.phase == .bridge, let progress, progress.position.entry >= end {
      return nil
    }
    let begins = record.ranges.compactMap(\.resume) + [record.rewind].compactMap { $0 }
    // A later range begins behind what was decided.
    let range = record.generation == progress?.generation ? progress?.resume : begins.min()
    return [range, progress?.resume, record.ranges.last?.resume].compactMap { $0 }.min()
  }

  func note(_ state: CutoverState) { world.reached.note(state) }

  private func derive(_ message: DerivedMessage) {
    let id = MessageMarks(message.headers).id.map { String(decoding: $0, as: UTF8.self) } ?? ""
    if events[id] != nil { wrongOplog = "two events have the id \(id)" }
    events[id] = Event(
      position: message.position, subject: String(decoding: message.subject, as: UTF8.self),
      digest: JSONDigest(message.body))
    order.append(id)
  }

  // MARK: - What is stored

  func arrive(_ message: StoredMessage, in stream: SimulatedStream) {
    switch stream.configuration.name {
    case CutoverScenario.stream: arrivals.append(.message(message))
    case "KV_TAILRACE"
    where message.subject == "$KV.TAILRACE.\(bridge).cutover-progress.\(CutoverScenario.group)"
      && !message.payload.isEmpty:
      progress = try? CutoverProgress(parsing: message.payload)
    case "KV_TAILRACE"
    where message.subject == "$KV.TAILRACE.\(bridge).cutover.\(CutoverScenario.group)"
      && !message.payload.isEmpty:
      arrivals.append(.record(message))
    case CutoverStore.auditStream: arrivals.append(.audit(message))
    default: break
    }
  }

  /// What is wrong with what has arrived, or nil.
  func look() -> String? {
    let news = arrivals
    arrivals.removeAll(keepingCapacity: true)
    for one in news {
      let wrong =
        switch one {
        case .message(let message): take(message)
        case .record(let message): take(record: message)
        case .audit(let message): take(audit: message)
        }
      if let wrong { return wrong }
    }
    return wrongOplog
  }

  /// Somebody deletes a message: of those that the bridge knows of, it will not publish it again.
  func noteDeletion(of sequence: UInt64) {
    _ = look()
    for (id, messages) in stored where messages.contains(where: { $0.sequence == sequence }) {
      let left = messages.filter { $0.sequence != sequence }
      stored[id] = left.isEmpty ? nil : left
      deleted[id] = world.now
      complete = 0
      return
    }
  }

  /// The newest of the producer's messages.
  var newestOfProducer: [UInt64] {
    order.suffix(10).compactMap { id in stored[id]?.first { !$0.isOfBridge }?.sequence }
  }

  private func take(_ message: StoredMessage) -> String? {
    let (id, isOfBridge, isFilled) = message.headers.withUnsafeBytes { headers in
      let marks = MessageMarks(headers)
      return (
        marks.storedID.map { String(decoding: $0, as: UTF8.self) } ?? "",
        marks.isOfBridge && marks.bridge?.elementsEqual(bridge.utf8) ?? false, marks.isFilled
      )
    }
    let event = events[id]
    let isRight = event.map {
      $0.subject == message.subject && $0.digest == JSONDigest(message.payload)
    }
    // What was deleted meanwhile may be stored again.
    let store = world.jetStream.streams[CutoverScenario.stream]?.store
    let before = stored[id].map { $0.filter { store?[$0.sequence] != nil } }
    if let before, before.isEmpty { deleted[id] = deleted[id] ?? world.now }
    stored[id] = before
    if !message.subject.hasPrefix("tailrace.") {
      stored[id, default: []].append(
        Stored(
          sequence: message.sequence, isOfBridge: isOfBridge, isRight: isRight ?? false,
          at: world.now))
    }
    guard isOfBridge else {
      if event != nil { note(before == nil ? .byProducer : .doubled) }
      return nil
    }
    note(isFilled ? .filled : .byPipeline)
    let place = "\(CutoverScenario.stream) \(message.sequence)"
    guard let event else { return "\(place): \(id) of the bridge is nothing that was committed" }
    guard isRight == true else { return "\(place): \(id) of the bridge has other contents" }
    if let last = before?.last {
      // Outside of `dual` producers have no business, and only the server's memory of ids keeps both apart.
      if !isFilled, !last.isOfBridge, world.now - last.at > scenario.duplicates {
        note(.doubledByPipeline)
        return nil
      }
      return
        "\(place): the bridge stores \(id) a second time; \(last.isOfBridge ? "it" : "the producer") had stored it \(Nano.text(world.now - last.at)) s before (\(last.sequence)), in phase \(phase.rawValue)"
    }
    newestOfBridge = max(newestOfBridge, event.position)
    if let record, let fence = record.fence,
      record.phase == .committed || record.phase == .finalized,
      event.position.entry > fence
    {
      return
        "\(place): the bridge publishes \(event.position) in phase \(record.phase.rawValue), behind the fence \(fence)"
    }
    return nil
  }

  // MARK: - Phases

  private static let ways: Set<[CutoverPhase]> = [
    [.bridge, .dual], [.dual, .committing], [.dual, .bridge], [.committing, .dual],
    [.committing, .committed], [.committed, .dual], [.committed, .finalized],
  ]

  private func take(record message: StoredMessage) -> String? {
    let next: CutoverRecord
    do {
      next = try CutoverRecord(parsing: message.payload)
    } catch {
      return "the group's record can't be read: \(error)"
    }
    let before = record ?? CutoverRecord(group: next.group)
    defer { record = next }
    guard next.number != before.number else {
      return next.phase == before.phase && next.change == before.change
        ? nil
        : "the group's record has changed from \(before.phase.rawValue) to \(next.phase.rawValue) without a change of phase"
    }
    guard next.number == before.number + 1, next.change.from == before.phase,
      next.change.to == next.phase, Self.ways.contains([before.phase, next.phase])
    else {
      return
        "the group goes from \(before.phase.rawValue) (\(before.number)) to \(next.phase.rawValue) (\(next.number)), which says from \(next.change.from.rawValue)"
    }
    world.history.note(world.now, 61, next.number)
    world.history.note(
      world.now,
      "the group is in phase \(next.phase.rawValue), by \(next.change.by): \(next.change.reason)")
    tally(before.phase, next)
    if next.phase == .committing {
      let nowhere = OplogPosition(seconds: 0, increment: 0)
      commit = (world.now, progress?.position.entry ?? nowhere, next.begin ?? nowhere)
    }
    defer { onPhase(next.phase) }
    return next.phase == .committed ? lookAtCommit(next) : nil
  }

  private func tally(_ before: CutoverPhase, _ next: CutoverRecord) {
    switch (before, next.phase) {
    case (.dual, .bridge): note(.cancelled)
    case (.committing, .dual):
      if next.change.by.hasPrefix("instance") {
        note(.ranOut)
      } else {
        note(next.change.reason.hasPrefix("the commit failed") ? .commitFailed : .commitCancelled)
      }
    case (.committed, .dual): note(.rolledBack)
    case (_, .dual): note(.dual)
    case (_, .committing): note(.committing)
    case (_, .committed): note(.committed)
    case (_, .finalized): note(.finalized)
    case (_, .bridge): break
    }
  }

  /// Everything up to the fence is stored, and nothing behind it by the bridge.
  private func lookAtCommit(_ record: CutoverRecord) -> String? {
    guard let fence = record.fence else { return "the group is committed without a fence" }
    if newestOfBridge.entry > fence {
      return
        "the group is committed with the fence \(fence); the bridge has published \(newestOfBridge)"
    }
    if let unseen = deletedBeforeVerification(through: fence) {
      return
        "the group is committed with the fence \(fence), although the message of \(unseen) is gone"
    }
    if let lacking = missing(through: fence).first, let event = events[lacking] {
      return
        "the group is committed with the fence \(fence); \(lacking) at \(event.position) is not stored"
    }
    return nil
  }

  /// How long a command may take from its verification to `committing`.
  private static let longestDelay = 10 * Nano.second

  /// An event whose message was gone when the group was verified before its commit.
  private func deletedBeforeVerification(through fence: OplogPosition) -> String? {
    guard let commit else { return nil }
    let first = Int64(commit.decided.seconds) - Int64(scenario.window / 2)
    return deleted.filter { id, at in
      guard stored[id] == nil, at < commit.at - Self.longestDelay, let event = events[id] else {
        return false
      }
      let entry = event.position.entry
      return entry > commit.begin && entry <= fence && Int64(entry.seconds) > first
    }.keys.min()
  }

  private func take(audit message: StoredMessage) -> String? {
    guard let json = try? JSONValue(parsing: message.payload),
      let number = json["number"]?.integer(UInt64.self),
      let to = json["to"]?.stringValue
    else { return "an event of the audit can't be read" }
    guard number > audited else {
      return "the audit has change \(number) of the group behind \(audited)"
    }
    audited = number
    guard number <= record?.number ?? 0 else {
      return "the audit has change \(number) of the group, to \(to), which its record has not"
    }
    return nil
  }

  // MARK: - What is missing

  /// Ids of committed events, in order, that no message has.
  private func missing(through fence: OplogPosition? = nil) -> [String] {
    while complete < order.count,
      stored[order[complete]] != nil || deleted[order[complete]] != nil
    {
      complete += 1
    }
    return order[complete...].filter { id in
      guard stored[id] == nil, deleted[id] == nil, let event = events[id] else { return false }
      return fence.map { event.position.entry <= $0 } ?? true
    }
  }

  /// What the bridge still owes; nil: nothing.
  var unsettled: String? {
    if phase == .committing { return "the group is in committing" }
    let end = phase == .committed || phase == .finalized ? record?.fence : nil
    // What is missed is counted by then, too.
    if phase == .committed || phase == .dual, let last = order.last.flatMap({ events[$0] }),
      progress.map({ $0.position < last.position }) ?? true
    {
      return
        "the group is decided up to \(progress.map { "\($0.position)" } ?? "nowhere"), not \(last.position)"
    }
    guard let first = missing(through: end).first, let event = events[first] else { return nil }
    return
      "\(CutoverScenario.stream) lacks \(first) at \(event.position) (phase \(phase.rawValue)); in all \(missing(through: end).count)"
  }

  /// Whether events of a committed group have no message. Nil: that depends on when some were deleted.
  var producersMiss: Bool? {
    guard phase == .committed, let fence = record?.fence else { return false }
    guard deleted.isEmpty else { return nil }
    return missing().contains { events[$0].map { $0.position.entry > fence } ?? false }
  }

  /// What is wrong once everything is settled, or nil: whoever has committed a group knows what its producers miss.
  func lookAtEnd() -> String? {
    guard phase == .committed, let record, let fence = record.fence, let progress,
      progress.generation == record.generation
    else { return nil }
    let missed = missing().filter { events[$0].map { $0.position.entry > fence } ?? false }
    world.reached.note(.missed, missed.count)
    // Of what was deleted, it depends on when.
    guard deleted.isEmpty else { return nil }
    guard progress.counts.missed == missed.count else {
      return
        "\(missed.count) events of the committed group have no message, and \(progress.counts.missed) are counted as missed; they are \(missed.suffix(5).joined(separator: ", "))"
    }
    return nil
  }

  /// As `verify` does: whether each event of the range has its message, once and right.
  func verify(after: OplogPosition, through end: OplogPosition) -> (isPass: Bool, detail: String) {
    var count = 0
    for id in order {
      guard let event = events[id], event.position.entry > after, event.position.entry <= end else {
        continue
      }
      guard let messages = stored[id] else { return (false, "missing \(id)") }
      guard messages.count == 1 else { return (false, "duplicate \(id)") }
      guard messages[0].isRight else { return (false, "payload_mismatch \(id)") }
      count += 1
    }
    return (true, "\(count) messages")
  }
}
