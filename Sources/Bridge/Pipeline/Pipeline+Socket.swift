import BSON
import DeliberateErrors
import JetStream
import NATS
import NIOCore
import Oplog

/// From the lanes' buffers to the socket.
extension Pipeline {
  static let flushBytes = 64 << 10

  func flush(_ epoch: Epoch, _ pause: Pause) {
    guard holdsLease(epoch) else { return }
    let openEntry = feed.entryOpen ? feed.header?.position : nil
    var wrote = flushSignals(epoch)
    for lane in lanes {
      let publisher = lane.publisher
      // Full, and no ack is on its way: only the batch's end causes the ack that makes room.
      let stuck = pause == .blocked && !publisher.canSend && publisher.waitsForSeal
      // A transaction of MongoDB stays in one batch where it fits: nothing is sealed inside one.
      let insideEntry =
        openEntry != nil && lane.lastSent == openEntry && !DeliberateError.isOn(.transactionSplit)
      // Nothing more comes for this lane soon: the oplog is read, or another lane holds things up.
      let quiet = pause == .noInput || (pause == .blocked && publisher.canSend)
      // Nothing follows an entry, or an event, that is sent alone before its ack.
      let isAlone =
        pause == .blocked && epoch.alone != nil && (epoch.separatesEvents || !insideEntry)
      if publisher.hasOpenBatch,
        stuck || isAlone || letterWaits
          || (!insideEntry && (quiet || lane.isBarrier || lane.isOpenForLong))
      {
        publisher.seal()
      }
      guard lane.publisher.output.count > 0, lane.publisher.mayFlush else { continue }
      write(lane, epoch)
      wrote = true
      if pause == .blocked, publisher.collectsAhead { schedulePump() }
    }
    if wrote { epoch.connection.flushWrites() }
  }

  /// False: nothing may be written any more, and the epoch ends.
  func holdsLease(_ epoch: Epoch) -> Bool {
    if epoch.tenure.mayPublish || DeliberateError.isOn(.lapsedLeaseIgnored) { return true }
    let connection = epoch.connection
    // Not from within: callers use what an end takes away.
    eventLoop.execute {
      if self.epoch?.connection === connection { self.fail(.leaseLapsed) }
    }
    return false
  }

  func write(_ lane: Lane, _ epoch: Epoch) {
    let bytes = lane.publisher.output.bytes
    measures.bytes &+= UInt64(bytes.count)
    var buffer = ByteBufferAllocator().buffer(capacity: bytes.count)
    buffer.writeBytes(bytes)
    lane.publisher.output.removeAll()
    epoch.connection.writeRaw(buffer)
  }
}
