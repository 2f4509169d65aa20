import DeliberateErrors
import JetStream
import Mapping
import NIOCore
import Oplog

/// A message that was written and is not acknowledged yet.
struct InFlightEvent: BitwiseCopyable {
  var position: EventPosition
  /// Term of the oplog entry, for the exact resume.
  var term: Int64
  /// Index of the rule; of a dead letter, the rule that refused it, or `noRule`.
  var rule: UInt16
  /// When the change was written, milliseconds since 1970 by MongoDB's clock; 0: not known.
  var wallTime: Int64
  /// When its entry was received, in nanoseconds of the monotonic clock; 0: not known.
  var receivedAt: UInt64

  static let noRule = UInt16.max
}

/// What a lane is created from at the start of an epoch.
struct LaneSpecification: Sendable {
  var name: String
  var isDeadLetter: Bool
  var publisher: LaneOptions
  var maximumMessage: Int
  var maximumBytes: Int?
  var created: String
  var watermark: Lane.StoredWatermark?
  /// Everything before this is stored, or not wanted.
  var floor: EventPosition?
  /// How many messages behind those were stored and removed since, and the sequence before them.
  var unseen: UInt64 = 0
  var unseenAfter: UInt64 = 0
  /// Events before the beginning of reading are written again.
  var isRefilling = false
  /// Nothing is published to the stream until an operator decides.
  var isHalted = false
  /// What the stream holds behind the watermark, if a later message doesn't prove the earlier ones; and where.
  var held: [Lane.StoredWatermark: UInt64] = [:]
  /// Of a bucket: the newest of those by their subjects.
  var entries: [[UInt8]: Lane.Entry] = [:]
  /// The last of those, if the stream's protocol may have left some out: they are sent late.
  var lacksUpTo: Lane.StoredWatermark?
  /// In a snapshot: ids of messages that the stream holds although the snapshot's marker is before
  /// their documents.
  var stored: Set<[UInt8]> = []
  var acked: Lane.Acked?
  /// Its messages of events that earlier rules may have published are looked up (`EarlierRules`).
  var hasEarlierRules = false
}

/// A stream's messages that this process has counted, from epoch to epoch. Owned by the pipeline's event loop.
///
/// Its method doesn't call out, so accesses can't overlap: no dynamic exclusivity check.
final class CountedMessages {
  /// Everything up to here.
  @exclusivity(unchecked) var last: Lane.StoredWatermark?

  func contains(_ position: EventPosition, _ rule: Int) -> Bool {
    last?.covers(position, rule) ?? false
  }
}

/// One stream as the pipeline sees it: the publisher of this epoch, what is in flight, and how far
/// the stream is. Owned by the pipeline's event loop.
///
/// Its methods don't call out, and the pipeline changes one lane at a time, so accesses to its properties
/// can't overlap: the hot ones go without the dynamic exclusivity check.
final class Lane {
  let name: String
  let counted: CountedMessages
  let isDeadLetter: Bool
  let publisher: PublishLane
  /// The limits of its messages.
  let limits: MessageLimits
  let created: String
  @exclusivity(unchecked) var inFlight = FIFO<InFlightEvent>()
  /// Everything up to here is stored: by an earlier epoch or process.
  let watermark: StoredWatermark?
  /// Everything before this is stored, or not wanted.
  let floor: EventPosition?
  /// How many messages behind watermark and floor were stored and removed since, by consumers or limits: the
  /// stream's sequence counts them.
  @exclusivity(unchecked) private(set) var unseen: UInt64
  private var unseenSequence: UInt64
  let isRefilling: Bool
  /// What it holds behind the watermark, and where.
  @exclusivity(unchecked) private var held: [StoredWatermark: UInt64]
  /// How many of them were not derived yet.
  private var heldLeft: Int
  /// Of a bucket: what its keys hold behind the watermark.
  private let entries: [[UInt8]: Entry]
  /// The highest position in it.
  private let heldTo: EventPosition?
  let isHalted: Bool
  /// Its end proves nothing about events that earlier rules may have published: those are looked up.
  private let hasEarlierRules: Bool
  /// The stream may lack some messages before this: they are sent late.
  let lacksUpTo: StoredWatermark?
  /// For a resumed snapshot: ids of messages that the stream holds already and that were not derived yet.
  @exclusivity(unchecked) var stored: Set<[UInt8]>
  /// The last of our messages known to be stored.
  private(set) var acked: Acked?
  /// What it had already behind that.
  private(set) var had: MetMessages?
  /// No message of ours was ever stored here: the first is awaited before the next entry begins.
  var awaitsFirst: Bool
  /// The entry of the message written last.
  var lastSent: OplogPosition?
  /// When the oldest unacknowledged message last saw progress.
  var waitingSince: NIODeadline?
  /// The stream had the id of a message in flight: the message that has it is being looked up.
  var isConfirming = false
  /// Since when something is in flight, or when something was last settled.
  var openSince = NIODeadline.now()
  /// The message whose ack is timed: when it was written, and how many are in flight up to it.
  @exclusivity(unchecked) var timed: (at: NIODeadline, left: Int)?
  /// The letter in flight is of an event with an id conflict. Nothing that follows it in its stream may be sent
  /// before its ack: else the stream's end would wrongly prove that the letter is stored.
  var holdsBackOthers = false

  struct StoredWatermark: Sendable, Hashable {
    var position: EventPosition
    /// Rules up to this index of the epoch's rule set have had their message of the event at `position`.
    var rule: Int

    /// Whether the event's message for the rule comes no later.
    func covers(_ position: EventPosition, _ rule: Int) -> Bool {
      position < self.position || (position == self.position && rule <= self.rule)
    }
  }

  /// A key's newest message.
  struct Entry: Sendable {
    var position: EventPosition
    var sequence: UInt64
  }

  typealias Acked = AcknowledgedMessage

  /// - Parameters:
  ///   - maximumPayload: the server's limit.
  ///   - counted: of its stream.
  init(_ specification: LaneSpecification, maximumPayload: Int, counted: CountedMessages) {
    name = specification.name
    self.counted = counted
    isDeadLetter = specification.isDeadLetter
    publisher = PublishLane(specification.publisher)
    limits = MessageLimits(
      maximumPayload: maximumPayload, maximumMessage: specification.maximumMessage,
      maximumBytes: specification.maximumBytes)
    created = specification.created
    watermark = specification.watermark
    floor = specification.floor
    unseen = specification.isHalted ? 0 : specification.unseen
    unseenSequence = specification.unseenAfter
    isRefilling = specification.isRefilling
    held = specification.held
    heldLeft = specification.isHalted ? 0 : held.count
    entries = specification.entries
    heldTo = held.keys.map(\.position).max()
    isHalted = specification.isHalted
    hasEarlierRules = specification.hasEarlierRules
    lacksUpTo = specification.lacksUpTo
    stored = specification.stored
    acked = specification.acked
    awaitsFirst = specification.acked == nil && specification.watermark == nil
  }

  /// Whether a message of that event comes behind later ones, so that it is not the stream's end.
  func isLate(_ position: EventPosition) -> Bool {
    if let lacksUpTo, position <= lacksUpTo.position { return true }
    guard hasEarlierRules else { return false }
    return watermark.map { position <= $0.position } ?? false
  }

  /// Whether the next oplog entry has to wait for this lane's acks.
  var isBarrier: Bool {
    (isDeadLetter && !DeliberateError.isOn(.letterNotAwaited) || awaitsFirst) && !inFlight.isEmpty
  }

  /// Whether the stream holds all its messages of an event at `position`.
  func covers(_ position: EventPosition) -> Bool {
    if let floor, position < floor { return true }
    return watermark.map { position < $0.position && !hasEarlierRules } ?? false
  }

  /// The stream's last message of ours.
  func acknowledge(_ message: Acked) {
    acked = message
    had = nil
  }

  /// A message was met that the stream has, at that sequence (0: somewhere), and that is not its last.
  func met(_ position: EventPosition, at sequence: UInt64) {
    if let acked, sequence <= acked.sequence { return }
    if had == nil { had = MetMessages(to: position, through: sequence) }
    had?.add(position, at: sequence)
  }

  /// The same of one that was looked up.
  func metHeld(_ position: EventPosition, rule: Int) {
    guard let heldTo, position <= heldTo,
      let sequence = held[StoredWatermark(position: position, rule: rule)]
    else { return }
    heldLeft = max(heldLeft - 1, 0)
    met(position, at: sequence)
  }

  /// How many messages the stream may have stored behind the last acknowledged one, besides those that it holds.
  var unanswered: Int { inFlight.count + Int(clamping: unseen) }

  /// Whether reading has not come to all events whose messages the stream held when the epoch began.
  ///
  /// - Parameter read: the last entry that was read whole.
  func hasHeld(behind read: OplogPosition?) -> Bool {
    guard heldLeft > 0, let heldTo else { return false }
    return read.map { $0 < heldTo.entry } ?? true
  }

  /// The newest message of each key.
  static func entries(_ held: [StreamObservation.Own]) -> [[UInt8]: Entry] {
    var entries: [[UInt8]: Entry] = [:]
    for own in held {
      guard let key = own.subject.map({ Array($0.utf8) }) else { continue }
      if let known = entries[key], known.position > own.position { continue }
      entries[key] = Entry(position: own.position, sequence: own.sequence)
    }
    return entries
  }

  /// Whether a key may hold something newer than the event.
  func mayBeSuperseded(_ position: EventPosition) -> Bool {
    !entries.isEmpty && heldTo.map { position < $0 } ?? false
      && !DeliberateError.isOn(.evictedEntryPut)
  }

  /// Whether the key holds something newer: its history has removed the event's message, which must not come back
  /// behind that as the key's value. From then on the event counts as one that the stream holds.
  func isSuperseded(_ position: EventPosition, rule: Int, key: [UInt8]) -> Bool {
    guard let entry = entries[key], position < entry.position else { return false }
    held[StoredWatermark(position: position, rule: rule)] = entry.sequence
    heldLeft += 1
    return true
  }

  /// The next of the stored and removed messages was derived.
  func metUnseen(_ position: EventPosition, rule: RuleID) {
    unseen -= 1
    unseenSequence &+= 1
    acknowledge(Acked(sequence: unseenSequence, position: position, rule: rule))
  }

  /// No further message can be among those; returns how many weren't derived.
  func forgetUnseen() -> UInt64 {
    defer { unseen = 0 }
    return unseen
  }

  /// A batch is acknowledged at its end, so every batch must be completed, however slow the server is.
  var isOpenForLong: Bool { NIODeadline.now() - openSince > .milliseconds(500) }

  /// Whether the event's messages in the stream are looked up.
  func isLookedUp(_ position: EventPosition) -> Bool {
    hasEarlierRules && floor.map { position >= $0 } ?? true
  }

  /// Whether the stream has this event's message for this rule already.
  func holds(_ position: EventPosition, rule: Int) -> Bool {
    if let floor, position < floor { return true }
    if let heldTo, position <= heldTo,
      held[StoredWatermark(position: position, rule: rule)] != nil
    {
      return true
    }
    guard let watermark, !hasEarlierRules else { return false }
    return watermark.covers(position, rule)
  }
}
