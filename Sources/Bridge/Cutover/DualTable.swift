package import JSON
package import Oplog

/// Joins a group's events with what its streams hold, by message id. Pure, and bounded by its owner, which asks for
/// `events` and `strangers` before it adds any.
///
/// An event is *decided* once its message is known to be stored, or (after the group is committed) known to be missing.
/// Events are decided in any order, and leave in the oplog's, so that `taken` is a resume position.
package struct DualTable: Sendable {
  /// An event's message.
  package struct Event: Sendable {
    package var stream: Int
    package var id: String
    package var rule: Int
    package var position: EventPosition
    package var subject: String
    package var digest: JSONDigest?
    /// A producer has until then. Milliseconds since 1970, by MongoDB's clock.
    package var due: Int64
    package var headers: [UInt8]
    package var body: [UInt8]

    package init(
      stream: Int, id: String, rule: Int, position: EventPosition, subject: String,
      digest: JSONDigest?, due: Int64, headers: [UInt8] = [], body: [UInt8] = []
    ) {
      self.stream = stream
      self.id = id
      self.rule = rule
      self.position = position
      self.subject = subject
      self.digest = digest
      self.due = due
      self.headers = headers
      self.body = body
    }

    var size: Int { headers.count + body.count + subject.utf8.count + id.utf8.count }
  }

  /// A stored message.
  package struct Stored: Sendable {
    package var sequence: UInt64
    package var subject: String
    /// Nil: its body is no JSON, or was not looked at.
    package var digest: JSONDigest?
    /// The bridge itself published it.
    package var isOwn: Bool
    /// Its event must have come by then, if it is a message of the group. Milliseconds since 1970, by MongoDB's clock;
    /// nil: it may be of somebody else.
    package var horizon: Int64
    package var mayBePhantom: Bool

    package init(
      sequence: UInt64, subject: String, digest: JSONDigest?, isOwn: Bool, horizon: Int64,
      mayBePhantom: Bool
    ) {
      self.sequence = sequence
      self.subject = subject
      self.digest = digest
      self.isOwn = isOwn
      self.horizon = horizon
      self.mayBePhantom = mayBePhantom
    }
  }

  package enum Verdict: Sendable, Equatable {
    case byProducer
    case filled
    case mismatched
    case missed
    /// The stream's limits have removed what it held at the time, so who published it can't be told.
    case expired
    /// The pipeline publishes it after all.
    case handedBack
  }

  /// A decided event.
  package struct Decided: Sendable {
    package var event: Event
    package var verdict: Verdict
    /// Of its message.
    package var sequence: UInt64?
  }

  private struct Key: Hashable, Sendable {
    var stream: Int
    var id: String
  }

  private struct Slot: Sendable {
    var event: Event
    var verdict: Verdict?
    var sequence: UInt64?
    var isAsked = false
    /// It is handed out then, if its stream was read up to that time.
    var due: Int64

    init(event: Event) {
      self.event = event
      due = event.due
    }
  }

  /// A message that waits for its event, in the order of reading.
  private struct Waiting: Sendable {
    var key: Key
    var sequence: UInt64
    var horizon: Int64
  }

  private var slots: [Slot] = []
  /// Slots before it have left.
  private var head = 0
  /// The number of the first of `slots`.
  private var base: UInt64 = 0
  /// Slots before it have been asked for.
  private var cursor: UInt64 = 0
  private var undecided: [Key: UInt64] = [:]
  private var stored: [Key: Stored] = [:]
  private var waiting: [Waiting] = []
  private var waitingHead = 0

  /// The newest event that has left with a decision. One that was handed back has none: another range may begin before
  /// it, where the pipeline has not come as far.
  package private(set) var settled: EventPosition?

  /// Messages of events that were handed back: whoever decides about those reads them again.
  private var handedBack: [(stream: Int, sequence: UInt64)] = []

  /// Bytes of the events' messages.
  package private(set) var bytes = 0

  package init() {}

  /// Events that have not left.
  package var events: Int { slots.count - head }
  /// Messages that wait for their events.
  package var strangers: Int { stored.count }
  /// The oldest event that has not left; nil: there is none.
  package var oldest: Event? { head < slots.count ? slots[head].event : nil }

  // MARK: - Both sides

  /// The next event, in the order of the oplog.
  ///
  /// - Returns: its number, if its message was not observed so far.
  @discardableResult
  package mutating func expect(_ event: Event) -> UInt64? {
    let number = base + UInt64(slots.count)
    bytes += event.size
    var slot = Slot(event: event)
    let key = Key(stream: event.stream, id: event.id)
    if let found = stored.removeValue(forKey: key) {
      slot.verdict = Self.verdict(event, found)
      slot.sequence = found.sequence
    } else if undecided[key] == nil {
      undecided[key] = number
    }
    slots.append(slot)
    return slot.verdict == nil ? number : nil
  }

  /// The next message of a stream.
  package mutating func observe(_ message: Stored, id: String?, in stream: Int) {
    // Without an id it can't be anybody's answer, nor can a second one under the same id be.
    var key = Key(stream: stream, id: id ?? "\u{0}\(message.sequence)")
    if id != nil, let number = undecided[key] {
      decide(number, Self.verdict(slots[Int(number - base)].event, message), message.sequence)
      return
    }
    if stored[key] != nil { key.id = "\u{0}\(message.sequence)" }
    stored[key] = message
    waiting.append(Waiting(key: key, sequence: message.sequence, horizon: message.horizon))
  }

  /// Whether the stored message is the event's.
  package static func verdict(_ event: Event, _ message: Stored) -> Verdict {
    if message.isOwn { return .filled }
    guard let wanted = event.digest, message.digest == wanted, message.subject == event.subject
    else { return .mismatched }
    return .byProducer
  }

  // MARK: - Events without a message

  /// The next undecided events whose time is over, as far as the streams have been read. Each is handed out once, until
  /// `ask` asks for it again.
  ///
  /// - Parameters:
  ///   - through: by stream: everything that was stored before this time has been observed.
  ///   - limit: events behind it are kept back; nil: none is.
  package mutating func due(
    at now: Int64, readThrough through: [Int64], limit: OplogPosition? = nil, most: Int
  ) -> [(number: UInt64, event: Event)] {
    var found: [(number: UInt64, event: Event)] = []
    cursor = max(cursor, base + UInt64(head))
    while found.count < most, Int(cursor - base) < slots.count {
      let slot = slots[Int(cursor - base)]
      if slot.verdict == nil, !slot.isAsked {
        let event = slot.event
        guard slot.due <= now, through[event.stream] >= slot.due,
          limit.map({ event.position.entry <= $0 }) ?? true
        else { break }
        slots[Int(cursor - base)].isAsked = true
        found.append((cursor, event))
      }
      cursor += 1
    }
    return found
  }

  /// The oldest event, if it is due but its stream hasn't been read far enough: its message has to be looked for.
  package func stuck(
    at now: Int64, readThrough through: [Int64], limit: OplogPosition?
  ) -> (number: UInt64, event: Event)? {
    guard head < slots.count else { return nil }
    let slot = slots[head]
    guard slot.verdict == nil, !slot.isAsked, slot.due <= now,
      through[slot.event.stream] < slot.due,
      limit.map({ slot.event.position.entry <= $0 }) ?? true
    else { return nil }
    return (base + UInt64(head), slot.event)
  }

  /// The event was handed out, and could not be dealt with.
  ///
  /// - Parameter time: its stream has to be read up to this time first: it may hold the message by now. Milliseconds
  ///   since 1970, by MongoDB's clock.
  package mutating func ask(again number: UInt64, afterReadingThrough time: Int64 = 0) {
    guard let index = index(number), slots[index].verdict == nil else { return }
    slots[index].isAsked = false
    slots[index].due = max(slots[index].due, time)
    cursor = min(cursor, number)
  }

  package mutating func markAsked(_ number: UInt64) {
    guard let index = index(number) else { return }
    slots[index].isAsked = true
  }

  package mutating func decide(_ number: UInt64, _ verdict: Verdict, _ sequence: UInt64?) {
    guard let index = index(number), slots[index].verdict == nil else { return }
    slots[index].verdict = verdict
    slots[index].sequence = sequence
    let key = Key(stream: slots[index].event.stream, id: slots[index].event.id)
    if undecided[key] == number { undecided[key] = nil }
  }

  /// What an event that waits for its message is; nil: it is decided.
  package func undecidedEvent(_ number: UInt64) -> Event? {
    guard let index = index(number), slots[index].verdict == nil else { return nil }
    return slots[index].event
  }

  /// Events behind the entry are the pipeline's again.
  package mutating func handBack(after entry: OplogPosition) {
    for index in slots.indices[head...] where slots[index].event.position.entry > entry {
      decide(base + UInt64(index), .handedBack, nil)
      slots[index].verdict = .handedBack
    }
  }

  private func index(_ number: UInt64) -> Int? {
    guard number >= base + UInt64(head) else { return nil }
    let index = Int(number - base)
    return index < slots.count ? index : nil
  }

  // MARK: - Leaving

  /// The next decided event, in the order of the oplog.
  package mutating func next() -> Decided? {
    guard head < slots.count, let verdict = slots[head].verdict else { return nil }
    let slot = slots[head]
    if verdict != .handedBack {
      settled = slot.event.position
    } else if let sequence = slot.sequence {
      handedBack.append((slot.event.stream, sequence))
    }
    head += 1
    bytes -= slot.event.size
    if head > 1024, head > slots.count / 2 {
      slots.removeFirst(head)
      base += UInt64(head)
      head = 0
    }
    return Decided(event: slot.event, verdict: verdict, sequence: slot.sequence)
  }

  /// Messages whose events should have come by now: the next one leaves. Whether it is a phantom, `mayBePhantom` tells.
  ///
  /// - Parameter passed: every event up to this time is here. Milliseconds since 1970, by MongoDB's clock.
  package mutating func nextStranger(passed: Int64) -> (stream: Int, id: String, Stored)? {
    while waitingHead < waiting.count {
      let one = waiting[waitingHead]
      guard let message = stored[one.key], message.sequence == one.sequence else {
        leaveWaiting()
        continue
      }
      guard one.horizon <= passed else { return nil }
      leaveWaiting()
      stored[one.key] = nil
      return (one.key.stream, one.key.id.hasPrefix("\u{0}") ? "" : one.key.id, message)
    }
    return nil
  }

  private mutating func leaveWaiting() {
    waitingHead += 1
    if waitingHead > 1024, waitingHead > waiting.count / 2 {
      waiting.removeFirst(waitingHead)
      waitingHead = 0
    }
  }

  /// Sequences of a stream that are needed to decide again, after a crash, what has not left.
  package func openSequences(in stream: Int) -> [UInt64] {
    var found: [UInt64] = []
    for (key, message) in stored where key.stream == stream { found.append(message.sequence) }
    for one in handedBack where one.stream == stream { found.append(one.sequence) }
    for slot in slots[head...] where slot.event.stream == stream {
      if let sequence = slot.sequence { found.append(sequence) }
    }
    return found
  }
}
