import Bridge
import Mapping
import Oplog
import Parity

/// Why an event of which a message is derived became a dead letter: a reason that only the server had, and
/// the oplog does not tell.
enum ServerReason: Sendable {
  /// Its stream had its id for another event.
  case idConflict
  /// The server did not take the message.
  case refused

  /// Nil for a message that is no such dead letter.
  init?(_ marks: MessageMarks) {
    guard let error = marks.error else { return nil }
    if error.elementsEqual(MappingErrorCode.idConflict.rawValue.utf8) {
      self = .idConflict
    } else if error.elementsEqual(MappingErrorCode.refused.rawValue.utf8),
      !(marks.errorDetail.map { MessageLimits.tellsSize($0) } ?? false)
    {
      // (With the bridge's own words about a size it is a letter that somebody has changed.)
      self = .refused
    } else {
      return nil
    }
  }
}

/// Such a letter, as the first pass has seen it.
struct ServerLetter: Sendable {
  var event: EventOfRule
  var reason: ServerReason
  var sequence: UInt64

  /// Its event is no entry's.
  var isOfSnapshot: Bool { event.position.index >= SnapshotDecoder.firstIndex }
}

/// Ids that were expected lately, to find those that come again. Bounded: the oldest are forgotten.
struct RecentIDs {
  private var ids: Set<MessageDigest> = []
  private var order: [MessageDigest] = []
  private var first = 0
  private let most: Int

  init(most: Int = 500_000) { self.most = most }

  /// True: it was there before.
  mutating func add(_ id: MessageDigest) -> Bool {
    guard ids.insert(id).inserted else { return true }
    order.append(id)
    if ids.count > most {
      ids.remove(order[first])
      first += 1
      if first > most {
        order.removeFirst(first)
        first = 0
      }
    }
    return false
  }
}
