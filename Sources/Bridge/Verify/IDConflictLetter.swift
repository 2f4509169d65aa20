import Oplog
import Parity

/// Names an event that became a dead letter because its stream had its id for another event.
struct IDConflictLetter: Hashable, Sendable {
  var position: EventPosition
  var rule: String

  /// Whether the message is such a dead letter.
  static func isOne(_ marks: MessageMarks) -> Bool {
    marks.error?.elementsEqual("id_conflict".utf8) ?? false
  }
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
