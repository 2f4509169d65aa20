import JSON
package import Oplog

/// Messages of the bridge behind the last one in the checkpoint, which an exclusive stream had stored before the
/// checkpoint was written, and which its consumers or limits had removed, or may yet: an earlier leader published them,
/// or an earlier epoch, whose acks were lost.
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
  /// An earlier epoch has sent some of their events, to ask for their ids, and not all answers came: such a message may
  /// arrive late, and be stored once more. Not behind the next one that the bridge stores.
  package var wereSent = false

  /// Their ids are asked for, or were.
  var areAsked: Bool { byIDs || wereSent }

  package init(
    through: UInt64, until: OplogPosition, since: ServerTime?, byIDs: Bool, isInDoubt: Bool = false
  ) {
    self.through = through
    self.until = until
    self.since = since
    self.byIDs = byIDs
    self.isInDoubt = isInDoubt
  }

  /// Whether every event of theirs is settled.
  func areSettled(_ settled: EventPosition?) -> Bool {
    settled.map { $0 >= EventPosition(entry: until, index: .max) } ?? false
  }

  /// Whether all of them are met, and nothing late can follow.
  ///
  /// - Parameters:
  ///   - acked: the sequence that was acknowledged last.
  ///   - settled: every event before this is settled.
  func areMet(acked: UInt64?, settled: EventPosition?) -> Bool {
    let last = acked ?? 0
    if wereSent { return areSettled(settled) && last > through }
    // Where ids are asked for, one that the server has forgotten is stored again, ahead of those that come next.
    return areSettled(settled) || !isInDoubt && !byIDs && acked != nil && last >= through
  }

  var json: JSONValue {
    var value: JSONValue = [
      "through": .int(through), "until": .string(until.description), "by_ids": .bool(byIDs),
    ]
    if let since { value["since"] = .int(since.seconds) }
    if isInDoubt { value["in_doubt"] = true }
    if wereSent { value["sent"] = true }
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
    wereSent = value["sent"]?.boolValue ?? false
  }
}

extension Checkpoint {
  /// What a stream has of such messages.
  func inherited(in stream: StreamObservation) -> InheritedMessages? {
    guard let state = states[stream.name], state.created == stream.created else { return nil }
    return state.inherited
  }
}
