import Oplog

/// What a stream may hold behind the last acknowledged message, if its protocol can leave gaps.
package struct SuspectTail: Sendable {
  package var stream: String
  package var acknowledged: Checkpoint.Stream?
  /// What was sent and not acknowledged, in order.
  package var unanswered: [ResumePlan.StoredWatermark]

  /// The messages that are missing although a later one, `end` at the latest, is stored.
  func missing(_ stored: [StreamObservation.Own], end: EventPosition) -> [ResumePlan
    .StoredWatermark]
  {
    let found = Set(stored.map { "\($0.position) \($0.rule)" })
    return unanswered.filter {
      $0.position < end && !found.contains("\($0.position) \($0.rule)")
    }
  }

  func replacing(_ unanswered: [ResumePlan.StoredWatermark]) -> SuspectTail {
    var copy = self
    copy.unanswered = unanswered
    return copy
  }

  /// With what a later epoch left unanswered.
  func adding(_ later: [ResumePlan.StoredWatermark]) -> SuspectTail {
    var sum = self
    sum.unanswered = unanswered.filter { !later.contains($0) } + later
    return sum
  }
}
