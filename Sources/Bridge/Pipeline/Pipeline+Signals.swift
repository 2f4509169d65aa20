import BSON
import Mapping
import NIOCore
import Oplog

/// Rules with `delivery: core`: their events are counted, and hold nothing up.
extension Pipeline {
  /// What to do with a signal.
  enum SignalAdmission {
    case send
    /// An earlier epoch of this tenure has counted it.
    case past
    /// It is counted as dropped.
    case late
    /// The server has not answered for the signals that are on their way.
    case wait
  }

  func admitSignal(
    _ rule: Int, match: Int, of event: borrowing ChangeEvent
  ) -> SignalAdmission {
    guard let signals, pending?.isNew(match) == true else { return .past }
    let position = event.position
    if signals.floor.covers(position) { return .late }
    let wallTime = event.wallTime ?? Int64(position.entry.seconds) * 1000
    if signals.isLate(wallTime, rule: rule) { return .late }
    return signals.canSend ? .send : .wait
  }

  /// False: nothing was written.
  func flushSignals(_ epoch: Epoch) -> Bool {
    guard let signals, signals.output.count > 0 else { return false }
    count(signals.write(to: epoch.connection), \.published)
    signals.confirm(on: epoch.connection) { [eventLoop] in
      eventLoop.preconditionInEventLoop()
      self.schedulePump()
    }
    return true
  }

  /// Signals that the end of an epoch leaves behind.
  func abandonSignals() {
    guard let signals else { return }
    count(signals.abandon(), \.dropped)
    self.signals = nil
  }

  private func count(_ counts: [UInt64], _ outcome: WritableKeyPath<Outcomes, UInt64>) {
    for (rule, count) in counts.enumerated() where count > 0 {
      counters.rules[rule].outcomes[keyPath: outcome] &+= count
    }
  }
}
