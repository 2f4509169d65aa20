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

  static let noRule = UInt16.max
}

/// What a lane is made from at the start of an epoch.
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
  /// How many messages behind those are stored too, although nobody can see them any more, and the
  /// sequence of the one before them.
  var unseen: UInt64 = 0
  var unseenAfter: UInt64 = 0
  /// What lies before the place where reading begins is written again.
  var isRefilling = false
  /// Nothing is published here until an operator decides.
  var isHalted = false
  /// What the stream holds behind the watermark, where a later message says nothing of the earlier ones.
  var held: Set<Lane.StoredWatermark> = []
  /// The last of those, where the stream's protocol may have left some out: they are sent late.
  var lacksUpTo: Lane.StoredWatermark?
  /// In a snapshot: ids of messages that the stream holds although the snapshot's marker is before
  /// their documents.
  var stored: Set<[UInt8]> = []
  var acked: Lane.Acked?
  /// What it holds of events that earlier rules may have published is looked up (`EarlierRules`).
  var hasEarlierRules = false
}

/// One stream as the pipeline sees it: the publisher of this epoch, what is in flight, and how far
/// the stream is. Owned by the pipeline's event loop.
final class Lane {
  let name: String
  let isDeadLetter: Bool
  var publisher: PublishLane
  /// Of its messages.
  let limits: MessageLimits
  let created: String
  @exclusivity(unchecked) var inFlight = FIFO<InFlightEvent>()
  /// Everything up to here is stored: by an earlier epoch or an earlier life.
  let watermark: StoredWatermark?
  /// Everything before this is stored, or not wanted.
  let floor: EventPosition?
  /// How many messages behind watermark and floor are stored too, and gone since: consumers or limits
  /// removed them, and the stream's sequence counts them.
  @exclusivity(unchecked) private(set) var unseen: UInt64
  private var unseenSequence: UInt64
  let isRefilling: Bool
  /// What it holds behind the watermark.
  private let held: Set<StoredWatermark>
  /// Nothing of it is behind this.
  private let heldTo: EventPosition?
  let isHalted: Bool
  /// Its end says nothing of events that earlier rules may have published: those are looked up.
  private let hasEarlierRules: Bool
  /// Of what comes before, the stream may lack some: that is sent late.
  let lacksUpTo: StoredWatermark?
  /// Of a snapshot that is resumed: what the stream holds already, until it is met.
  @exclusivity(unchecked) var stored: Set<[UInt8]>
  /// The last of our messages known to be stored.
  var acked: Acked?
  /// No message of ours was ever stored here: the first is awaited before the next entry begins.
  var awaitsFirst: Bool
  /// The entry of the message written last.
  var lastSent: OplogPosition?
  /// When the oldest unacknowledged message last saw progress.
  var waitingSince: NIODeadline?
  /// The stream had the id of what is in flight: it is being found out whose message has it.
  var isConfirming = false
  /// Since when something is in flight, or when something was last settled.
  var openSince = NIODeadline.now()
  /// The letter in flight is of an event whose id was another event's. Nothing that its stream gets behind
  /// it may be sent before: afterwards it would look as if the stream had it.
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

  struct Acked: Sendable, Equatable {
    var sequence: UInt64
    var position: EventPosition
    var rule: RuleID
  }

  /// - Parameter maximumPayload: what the server takes.
  init(_ specification: LaneSpecification, maximumPayload: Int) {
    name = specification.name
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
    heldTo = held.map(\.position).max()
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

  /// Whether all messages of an event at `position` that belong here are here, whichever they are.
  func covers(_ position: EventPosition) -> Bool {
    if let floor, position < floor { return true }
    return watermark.map { position < $0.position && !hasEarlierRules } ?? false
  }

  /// The next of the messages that are stored and gone was met.
  func metUnseen(_ position: EventPosition, rule: RuleID) {
    unseen -= 1
    unseenSequence &+= 1
    acked = Acked(sequence: unseenSequence, position: position, rule: rule)
  }

  /// No further message can be among those; the number that were not met.
  func forgetUnseen() -> UInt64 {
    defer { unseen = 0 }
    return unseen
  }

  /// A batch is settled at its end, so it must come to one, however slow the server is.
  var isOpenForLong: Bool { NIODeadline.now() - openSince > .milliseconds(500) }

  /// Whether what the stream holds of the event is looked up.
  func isLookedUp(_ position: EventPosition) -> Bool {
    hasEarlierRules && floor.map { position >= $0 } ?? true
  }

  /// Whether the stream has this event's message for this rule already.
  func holds(_ position: EventPosition, rule: Int) -> Bool {
    if let floor, position < floor { return true }
    if let heldTo, position <= heldTo,
      held.contains(StoredWatermark(position: position, rule: rule))
    {
      return true
    }
    guard let watermark, !hasEarlierRules else { return false }
    return watermark.covers(position, rule)
  }
}
