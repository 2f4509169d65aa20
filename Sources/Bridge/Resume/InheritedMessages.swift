import JSON
package import Oplog

/// Messages of the bridge behind the last one in the checkpoint, which an exclusive stream had stored and its
/// consumers or limits had removed before the checkpoint was written: an earlier leader published them, or an
/// earlier epoch, whose acks were lost.
///
/// Such a checkpoint says nothing about their age, however young it is: whoever reads it next must know that
/// the server may have forgotten their ids. A pure value, part of the checkpoint until the bridge has met them.
package struct InheritedMessages: Sendable, Equatable {
  /// The stream's last sequence when it was read. What is acknowledged from there on was published since.
  package var through: UInt64
  /// The oplog's newest entry at that time: all of them are of events up to there.
  package var until: OplogPosition
  /// None was stored before this, by the servers' clock; nil: unknown.
  package var since: ServerTime?
  /// Which events are among them is looked up by their ids, as long as the server knows these. Else they are
  /// counted.
  package var byIDs: Bool
  /// They can't be counted either: once the server has forgotten the ids, nothing tells which events they are of.
  package var isInDoubt: Bool

  package init(
    through: UInt64, until: OplogPosition, since: ServerTime?, byIDs: Bool, isInDoubt: Bool = false
  ) {
    self.through = through
    self.until = until
    self.since = since
    self.byIDs = byIDs
    self.isInDoubt = isInDoubt
  }

  /// Whether all of them are met.
  ///
  /// - Parameters:
  ///   - acked: the sequence that was acknowledged last.
  ///   - settled: every event before this is settled.
  func areMet(acked: UInt64?, settled: EventPosition?) -> Bool {
    acked.map { $0 >= through } ?? false
      || settled.map { $0 >= EventPosition(entry: until, index: .max) } ?? false
  }

  var json: JSONValue {
    var value: JSONValue = [
      "through": .int(through), "until": .string(until.description), "by_ids": .bool(byIDs),
    ]
    if let since { value["since"] = .int(since.seconds) }
    if isInDoubt { value["in_doubt"] = true }
    return value
  }

  /// Nil if it can't be read.
  init?(_ value: JSONValue) {
    guard let through = value["through"]?.integer(UInt64.self),
      let until = value["until"]?.stringValue.flatMap({ OplogPosition($0) }),
      let byIDs = value["by_ids"]?.boolValue
    else { return nil }
    if let since = value["since"] {
      guard let seconds = since.integer(Int.self), seconds >= 0 else { return nil }
      self.since = ServerTime(seconds: seconds)
    }
    self.through = through
    self.until = until
    self.byIDs = byIDs
    isInDoubt = value["in_doubt"]?.boolValue ?? false
  }
}

extension Checkpoint {
  /// What a stream has of such messages.
  func inherited(in stream: StreamObservation) -> InheritedMessages? {
    guard let state = states[stream.name], state.created == stream.created else { return nil }
    return state.inherited
  }
}
