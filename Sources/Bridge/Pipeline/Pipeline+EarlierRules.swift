import BSON
import Mapping
import Oplog

/// Events that earlier rules may have published: each message is looked up before it is made.
extension Pipeline {
  /// Settles the event for the rule if its message is stored somewhere. False: it is not.
  func settleEarlier(_ event: ChangeEvent, _ rule: Int, _ lane: Lane, _ epoch: Epoch) -> Bool {
    guard let earlier = epoch.earlierRules, event.position <= earlier.to,
      lane.isLookedUp(event.position)
    else { return false }
    identity.removeAll()
    mapper.writeIdentity(rule: rule, event: event, match: pending?.match ?? 0, into: &identity)
    let id = Array(identity.bytes)
    let found = earlier.find(event.position, rule: ruleSet.id(rule), stream: lane.name) {
      String(decoding: id, as: UTF8.self)
    }
    switch found {
    case .missing: return false
    case .idTaken(let other):
      // What `on_id_conflict` says of it follows.
      if conflicts.add(
        lane.name, ruleSet.id(rule), event.position, id: id,
        "the stream holds this event's message of rule \(other) under this id")
      {
        counters.rules[rule].idConflicts &+= 1
        counters.lastConflict = .now
      }
      return false
    case .stored(let message):
      // As a message, or as a dead letter.
      countEarlier(
        lanes.first { $0.name == message.stream } ?? lane, event.position, rule,
        isNew: pending?.isNew ?? false, duplicate: nil)
      advance(event, rule)
      return true
    }
  }

  /// A message of such an event is on its way.
  func noteSent(_ position: EventPosition, _ rule: Int, _ lane: Lane, _ epoch: Epoch) {
    guard let earlier = epoch.earlierRules, position <= earlier.to, lane.isLookedUp(position),
      pending?.isNew == true
    else { return }
    uncounted.insert(Lane.Horizon(position: position, rule: rule))
  }

  /// Counts a message of such an event, once in this process.
  ///
  /// - Parameters:
  ///   - isNew: nothing was counted of this match before.
  ///   - duplicate: the stream had it already; nil: it had, unless this process has sent it.
  func countEarlier(
    _ lane: Lane, _ position: EventPosition, _ rule: Int, isNew: Bool, duplicate: Bool?
  ) {
    let message = Lane.Horizon(position: position, rule: rule)
    let wasSent = uncounted.remove(message) != nil
    guard isNew || wasSent || isUncounted(lane, position, rule) else { return }
    if isUncounted(lane, position, rule) { counted[lane.name] = message }
    count(lane, rule, duplicate: duplicate ?? !wasSent)
  }

  /// Settles an event that no present rule takes if an earlier one has published it.
  func settleTakenEarlier(_ event: ChangeEvent, _ epoch: Epoch) -> Bool {
    guard let earlier = epoch.earlierRules, event.position <= earlier.to,
      lanes[epoch.deadLetterLane].isLookedUp(event.position),
      earlier.hasTaken(event.position) != nil
    else { return false }
    if pending?.isNew == true { counters.unmatched &+= 1 }
    pending = nil
    return true
  }
}
