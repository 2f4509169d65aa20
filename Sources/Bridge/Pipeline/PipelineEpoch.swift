import BSON
import JetStream
import MongoSource
import NATS
import NIOCore
import Oplog

extension Pipeline {
  /// What an epoch works with.
  struct Epoch: Sendable {
    var connection: NATSConnection
    var source: EventSource
    /// The source's generation whose batches belong to this epoch.
    var generation: UInt64
    var origin: Checkpoint.Origin
    var start: OplogPosition
    var startTerm: Int64
    /// Events of earlier entries precede this bridge's origin: they are read only for
    /// transactions that commit later.
    var floor: OplogPosition
    /// Largest message the server takes, headers and body.
    var maximumPayload: Int
    /// Acks arrive under it: `<inbox>.<lane>.<token>`.
    var inbox: String
    /// Lane of each rule; -1: its messages are signals.
    var laneOfRule: [Int]
    /// Changes that an earlier leader may have signalled.
    var signalFloor = EventFloor()
    var deadLetterLane: Int
    var ackTimeout: TimeAmount
    /// Reads no further than the entry there.
    var stopAfter: OplogPosition?
    /// The newest entry when the streams' ends were read: no later one can have been stored then.
    var observedAt: OplogPosition?
    /// Until when which streams' ids are relied on, and up to which entry.
    var reliance: (stream: String, until: ContinuousClock.Instant, through: OplogPosition)?
    /// The last entry that may be published already: rules change behind it.
    var reach: OplogPosition?
    /// What streams hold of events that other rules may have published.
    var earlierRules: EarlierRules?
    /// A snapshot's progress when the epoch began.
    var snapshot: Checkpoint.Snapshot?
    /// … and the number of its first event.
    var firstIndex = SnapshotDecoder.firstIndex
    /// … and the rules that publish its documents; empty: no snapshot.
    var snapshotRules: [Bool] = []
    /// By rule: what followers decide instead. Empty: nothing.
    var handedOver: [[HandedRange]] = []
    /// Entries up to here are sent one by one, …
    var alone: EventPosition?
    /// … and so are their events.
    var separatesEvents = false
    /// Messages that the server never accepts.
    var refused: [RefusalBook.Key: String] = [:]
    /// Asked before every write to the socket.
    var tenure: Tenure
    var onEnd: @Sendable (EpochEnd, PipelineMark?) -> Void
  }
}
