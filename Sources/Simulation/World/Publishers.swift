/// Who sent what: each process of a bridge, and by which epoch of leadership. Messages as they are stored have a number
/// of this list (`StoredMessage.origin`); 0 is anybody else.
final class Publishers {
  struct Publisher: Equatable {
    /// Of the world.
    var instance: Int
    /// Of the instance: its processes, from 1 on.
    var life: Int
    /// Nil: it didn't lead then, or bridges don't say.
    var epoch: UInt64?

    func isSameProcess(_ other: Publisher) -> Bool {
      instance == other.instance && life == other.life
    }
  }

  private var all: [Publisher?] = [nil]
  /// Some process has said that it leads: from then on the judge expects that of every publisher.
  private(set) var knowLeadership = false

  /// - Returns: the number of what this process sends from now on.
  func add(_ publisher: Publisher) -> Int {
    if publisher.epoch != nil { knowLeadership = true }
    all.append(publisher)
    return all.count - 1
  }

  subscript(origin: Int) -> Publisher? { all.indices.contains(origin) ? all[origin] : nil }

  /// Whether a message of one publisher may follow, in a stream, the last one of another.
  ///
  /// - Returns: why not; nil: it may.
  func objection(to next: Int, after last: Int) -> String? {
    guard knowLeadership, let next = self[next] else { return nil }
    guard let epoch = next.epoch else {
      return "is of instance \(next.instance), life \(next.life), which did not lead"
    }
    guard let last = self[last], let before = last.epoch else { return nil }
    if epoch < before {
      return
        "is of epoch \(epoch) (instance \(next.instance)), behind a message of epoch \(before) (instance \(last.instance))"
    }
    if epoch == before, !next.isSameProcess(last) {
      return "is of instance \(next.instance), life \(next.life), in epoch \(epoch) of another process"
    }
    return nil
  }
}
