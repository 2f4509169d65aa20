import Oplog

/// What a stream may hold behind the last acknowledged message, if its protocol can leave gaps.
package struct SuspectTail: Sendable, Equatable {
  package var stream: String
  package var acknowledged: Checkpoint.Stream?
  /// What was sent and not acknowledged, in order.
  package var unanswered: [ResumePlan.StoredWatermark]
  /// The stream's last sequence when it was looked through for them; nil: it wasn't yet.
  package var observedTo: UInt64?

  /// Those that are not stored. What comes before the last stored one was refused; of what comes behind,
  /// the server may still be deciding, and may yet store some and refuse others.
  func absent(_ stored: [StreamObservation.Own]) -> [ResumePlan.StoredWatermark] {
    let found = Set(stored.map { "\($0.position) \($0.rule)" })
    return unanswered.filter { !found.contains("\($0.position) \($0.rule)") }
  }

  /// Nil: all of it is acknowledged by now. It was sent again, in order, before what has been stored since
  /// and was acknowledged last.
  func continuing(behind acknowledged: Checkpoint.Stream?) -> SuspectTail? {
    guard let acknowledged, let observedTo, acknowledged.sequence > observedTo,
      unanswered.allSatisfy({ $0.position <= acknowledged.position })
    else { return self }
    return nil
  }

  func replacing(
    _ unanswered: [ResumePlan.StoredWatermark], observedTo: UInt64
  ) -> SuspectTail {
    var copy = self
    copy.unanswered = unanswered
    copy.observedTo = observedTo
    return copy
  }

  /// With what a later epoch left unanswered.
  func adding(_ later: [ResumePlan.StoredWatermark]) -> SuspectTail {
    var sum = self
    sum.unanswered = unanswered.filter { !later.contains($0) } + later
    sum.observedTo = nil
    return sum
  }
}
