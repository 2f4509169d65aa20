import JetStream
import MongoSource
import NATS
import NIOCore
import Oplog

/// What is settled, for health.
extension Pipeline {
  /// One look at this epoch: how far everything is settled, and the oldest event that is not.
  func sight() -> SettlementWatch.Sight {
    eventLoop.preconditionInEventLoop()
    var sight = SettlementWatch.Sight(at: .now)
    sight.activity = feed.count
    guard let epoch else { return sight }
    sight.oldest = oldestUnsettled
    if let snapshot = epoch.snapshot {
      sight.settled = EventPosition(entry: snapshot.position, index: feed.snapshotIndex)
    } else if let last = feed.lastEntry {
      sight.settled = EventPosition(entry: last.position, index: .max)
      if let header = feed.header, header.position == last.position {
        sight.settledWall = header.wallTime
      }
    } else {
      sight.settled = EventPosition(entry: epoch.start, index: 0)
    }
    return sight
  }

  /// Of what is in flight, waiting to be sent, or begun.
  private var oldestUnsettled: UnsettledEvent? {
    var oldest: UnsettledEvent?
    func consider(_ position: EventPosition, _ wallTime: Int64?) {
      if oldest.map({ position < $0.position }) ?? true {
        oldest = UnsettledEvent(position: position, wallTime: wallTime)
      }
    }
    for lane in lanes {
      guard let event = lane.inFlight.first else { continue }
      consider(event.position, event.wallTime > 0 ? event.wallTime : nil)
    }
    if let event = pending?.event { consider(event.position, event.wallTime) }
    // Everything before the first event of an entry that waits for its documents is counted elsewhere.
    if oldest == nil, feed.entryOpen, feed.isWaiting, let header = feed.header,
      epoch?.snapshot == nil
    {
      consider(EventPosition(entry: header.position, index: 0), header.wallTime)
    }
    return oldest
  }

  /// The server refused, outside of acks, what this epoch publishes or subscribes to: the epoch ends at once,
  /// since no ack would ever come.
  func refused(_ end: EpochEnd, on connection: NATSConnection) {
    eventLoop.preconditionInEventLoop()
    guard epoch?.connection === connection else { return }
    fail(end)
  }
}
