/// Who sent what: each process of a bridge, and by which epoch of leadership. Messages as they are stored have a number
/// of this list (`StoredMessage.origin`); 0 is anybody else.
final class Publishers {
  struct Publisher: Equatable {
    /// Of the world.
    var instance: Int
    var bridge: Int
    var process: String
    /// Nil: it didn't lead then, or bridges don't say.
    var epoch: UInt64?
    /// When the bucket with the lease was made: in another bucket epochs may begin again.
    var bucket: Int64 = 0
    /// Somebody else, or this process once more, led already when it sent this.
    var isReplaced = false

    var text: String { process + (epoch.map { " (epoch \($0))" } ?? "") }
  }

  private var all: [Publisher?] = [nil]
  /// By number: the one of what the process sends after it was replaced.
  private var replaced: [Int: Int] = [:]
  /// By bridge: the last bucket, and the highest epoch in it.
  private var newest: [Int: (bucket: Int64, epoch: UInt64)] = [:]
  /// Some process has said that it leads: from then on the judge expects that of every publisher.
  private(set) var knowLeadership = false

  /// - Returns: the number of what this process sends from now on.
  func add(_ publisher: Publisher) -> Int {
    if let epoch = publisher.epoch {
      knowLeadership = true
      let next = (bucket: publisher.bucket, epoch: epoch)
      if newest[publisher.bridge].map({ $0 < next }) ?? true { newest[publisher.bridge] = next }
    }
    all.append(publisher)
    return all.count - 1
  }

  subscript(origin: Int) -> Publisher? { all.indices.contains(origin) ? all[origin] : nil }

  /// By which number the process of `origin` led then, or last; 0: it never did.
  func leading(_ origin: Int) -> Int {
    guard let process = self[origin]?.process else { return 0 }
    return all[...origin].lastIndex { $0?.process == process && $0?.epoch != nil } ?? 0
  }

  /// Whether another process, or this one once more, has come to lead since.
  func isReplaced(_ origin: Int) -> Bool {
    guard let publisher = self[origin], let newest = newest[publisher.bridge] else { return false }
    return (publisher.bucket, publisher.epoch ?? 0) < newest
  }

  /// The number of what a process sends now.
  func sending(_ origin: Int) -> Int {
    guard isReplaced(origin), var publisher = self[origin] else { return origin }
    if let known = replaced[origin] { return known }
    publisher.isReplaced = true
    all.append(publisher)
    replaced[origin] = all.count - 1
    return all.count - 1
  }

  /// Whether a message of one publisher may follow, in a stream, the last one of another.
  ///
  /// - Returns: why not; nil: it may.
  func objection(to next: Int, after last: Int) -> String? {
    guard knowLeadership, let next = self[next] else { return nil }
    guard let epoch = next.epoch else { return "is of \(next.process), which did not lead" }
    guard let last = self[last], let before = last.epoch else { return nil }
    let follows =
      (next.bucket, epoch) > (last.bucket, before)
      || next.bucket == last.bucket && epoch == before && next.process == last.process
    return follows ? nil : "is of \(next.text), behind a message of \(last.text)"
  }

  /// Who published a message, and who the one before it.
  func text(_ next: Int, after last: Int) -> String {
    func name(_ origin: Int) -> String { self[origin]?.text ?? "nobody known" }
    return "published by \(name(next)), the one before by \(name(last))"
  }
}
