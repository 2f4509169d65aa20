import Mapping
import Oplog

/// Counts messages of events that earlier rules may have published: they may be sent late, so that what
/// was counted last does not tell.
extension Pipeline {
  /// A message of such an event is on its way.
  func noteSent(_ position: EventPosition, _ rule: Int, match: Int, _ lane: Lane) {
    guard let earlier = epoch?.earlierRules, position <= earlier.to, lane.isLookedUp(position),
      pending?.isNew(match) == true
    else { return }
    uncounted.insert(Lane.StoredWatermark(position: position, rule: rule))
  }

  /// A message is on its way that the stream stores after later ones, which may be counted before it.
  func noteLate(_ position: EventPosition, _ rule: Int, _ lane: Lane) {
    guard lane.isLate(position), isUncounted(lane, position, rule) else { return }
    uncounted.insert(Lane.StoredWatermark(position: position, rule: rule))
  }

  /// Counts a message of such an event, once in this process.
  ///
  /// - Parameters:
  ///   - isNew: this match was not counted before.
  ///   - duplicate: the stream had it already; nil: it had, unless this process sent it.
  func countEarlier(
    _ lane: Lane, _ position: EventPosition, _ rule: Int, isNew: Bool, duplicate: Bool?
  ) {
    let message = Lane.StoredWatermark(position: position, rule: rule)
    let wasSent = uncounted.remove(message) != nil
    guard isNew || wasSent || isUncounted(lane, position, rule) else { return }
    if isUncounted(lane, position, rule) { lane.counted.last = message }
    count(lane, rule, at: position, duplicate: duplicate ?? !wasSent)
  }
}
