package import Oplog

/// Messages that a lane has passed because the stream has them: by their ids, or as its end was looked up. None of them
/// was acknowledged as the stream's last, so that they are in the checkpoint beside its `streams`: reading does not come
/// back to their events, and what happens to them has to be noticed all the same.
package struct MetMessages: Sendable, Equatable {
  /// The last of their events.
  package var to: EventPosition
  /// The highest of their sequences; 0: not known.
  package var through: UInt64

  package init(to: EventPosition, through: UInt64) {
    self.to = to
    self.through = through
  }

  mutating func add(_ position: EventPosition, at sequence: UInt64) {
    to = max(to, position)
    through = max(through, sequence)
  }
}

extension ResumePlan {
  /// What a checkpoint says of such messages is over: their loss is known, or the stream's end shows them.
  package func rereads(_ stream: String, _ state: Checkpoint.StreamState) -> Bool {
    guard halted[stream] == nil, let had = state.had else { return false }
    if losses.contains(where: { $0.stream == stream }) { return true }
    return found[stream].map { $0.position >= had.position && $0.sequence >= had.sequence } ?? false
  }
}

extension Checkpoint.StreamState {
  /// What represents them: the last event, and the highest sequence, which may be another message's.
  package var had: Checkpoint.Stream? {
    hadTo.map { position in
      Checkpoint.Stream(
        sequence: hadThrough ?? 0, id: "", position: position, rule: RuleID(""), created: created)
    }
  }

  /// It has these as well.
  mutating func note(_ met: MetMessages) {
    hadTo = max(hadTo ?? met.to, met.to)
    if met.through > 0 { hadThrough = max(hadThrough ?? 0, met.through) }
  }

  /// A later message was acknowledged, or the loss of these was noticed.
  mutating func forgetHad() {
    hadTo = nil
    hadThrough = nil
  }
}
