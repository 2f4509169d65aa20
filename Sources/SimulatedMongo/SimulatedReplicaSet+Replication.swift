public import Oplog

extension SimulatedReplicaSet {
  // MARK: Replication

  /// A member takes the next entries from the primary, up to `count`, and hears what is committed.
  ///
  /// If it has entries that the primary doesn't have, it removes those instead, closes its cursors, and takes nothing
  /// yet. A member that took itself for the primary of an earlier term learns better.
  @discardableResult
  public func replicate(_ member: Int, count: Int = .max) -> Replication {
    guard let primary, member != primary, isConnected(member, primary), members[member].isUp else {
      return .unconnected
    }
    members[member].term = members[primary].term
    members[member].isPrimary = false
    let common = members[member].log.common(with: members[primary].log)
    // The last common entry has to be there, or nothing shows that the histories are the same.
    let isTooStale =
      common <= members[primary].log.start || common <= members[member].log.start
    members[member].isRecovering = isTooStale
    if isTooStale {
      members[member].cursors = []
      return .tooStale
    }
    let excess = members[member].log.end - common
    if excess > 0 {
      rollBack(member, to: common)
      return .rolledBack(excess)
    }
    let end = min(members[primary].log.end, count == .max ? .max : common + count)
    for index in common..<end { members[member].log.append(members[primary].log[index]) }
    members[member].knownCommitted = members[primary].knownCommitted
    return .applied(end - common)
  }

  private func rollBack(_ member: Int, to common: Int) {
    for index in common..<members[member].log.end {
      precondition(
        !isCommitted(members[member].log[index]),
        "a committed entry is rolled back: \(entries[members[member].log[index]].opTime)")
    }
    rolledBackEntries += members[member].log.end - common
    members[member].log.cut(to: common)
    members[member].cursors = []
  }

  func isCommitted(_ number: Int) -> Bool {
    let index = entries[number].index
    return index < committed.count && committed[index].number == number
  }

  /// A member that is too stale, or lost its data, copies the primary's newest entries.
  ///
  /// - Parameter keeping: how many entries its oplog has then, at least one; nil: as many as the primary's.
  /// - Returns: false where it isn't connected to a primary.
  @discardableResult
  public func resync(_ member: Int, keeping: Int? = nil) -> Bool {
    guard let primary, member != primary, isConnected(member, primary), members[member].isUp else {
      return false
    }
    var log = members[primary].log
    log.drop(
      before: min(
        keeping.map { log.end - max($0, 1) } ?? log.start, members[primary].committedEnd - 1))
    members[member].log = log
    members[member].term = members[primary].term
    members[member].isPrimary = false
    members[member].isRecovering = false
    members[member].knownCommitted = members[primary].knownCommitted
    members[member].cursors = []
    return true
  }

  /// The primary sees what two of three members have. Others hear of it when they replicate.
  public func updateMajority() {
    guard let primary else { return }
    let log = members[primary].log
    var end = 0
    for other in members.indices where other != primary {
      end = max(end, log.common(with: members[other].log))
    }
    // Only an entry of its own term shows that no other history can win.
    guard end > log.start, entries[log[end - 1]].term == members[primary].term else { return }
    if end > committed.count {
      for index in committed.count..<end {
        let entry = entries[log[index]]
        committed.append(
          CommittedEntry(position: entry.position, term: entry.term, number: log[index]))
      }
      forgetTransactions()
    }
    members[primary].knownCommitted = max(members[primary].knownCommitted, end)
  }

  // MARK: Elections

  /// Makes a member the primary of a new term, if two of three members vote for it: those that it can talk to, and
  /// that have nothing it lacks. A member that is too stale votes, but can't be elected.
  /// The former primary stays one for itself if nobody can tell it.
  ///
  /// - Returns: false if it isn't elected.
  @discardableResult
  public func elect(_ member: Int) -> Bool {
    guard members[member].isUp, !members[member].isRecovering else { return false }
    let votes = members.indices.filter { other in
      other == member
        || isConnected(member, other) && members[other].isUp && !isAhead(other, of: member)
    }
    guard votes.count >= 2 else { return false }
    let term = (members.map(\.term).max() ?? 0) + 1
    for other in members.indices where isConnected(member, other) && members[other].isUp {
      members[other].term = term
      members[other].isPrimary = other == member
    }
    primary = member
    elections += 1
    let log = members[member].log
    precondition(
      committed.last.map { log.has($0.number, at: committed.count - 1) } ?? true,
      "the new primary lacks committed entries")
    append(to: member, term: term) { EntryForm.noop(&$0, "new primary") }
    inheritTransactions(member)
    return true
  }

  /// A primary gives up, as it does when it doesn't see a majority.
  public func stepDown(_ member: Int) {
    members[member].isPrimary = false
    if primary == member { primary = nil }
  }

  private func isAhead(_ other: Int, of member: Int) -> Bool {
    guard let theirs = newest(other), let own = newest(member) else { return newest(other) != nil }
    return (theirs.term, theirs.position) > (own.term, own.position)
  }

  private func newest(_ member: Int) -> SimulatedEntry? {
    let log = members[member].log
    return log.isEmpty ? nil : entries[log[log.end - 1]]
  }

  // MARK: Faults

  /// The process ends.
  ///
  /// - Parameter losing: the newest entries that hadn't reached the disk; never committed ones.
  public func stop(_ member: Int, losing: Int = 0) {
    stepDown(member)
    members[member].isUp = false
    members[member].cursors = []
    let log = members[member].log
    let end = max(log.end - losing, min(log.end, max(committed.count, log.start + 1)))
    if end < log.end {
      rolledBackEntries += log.end - end
      members[member].log.cut(to: end)
    }
  }

  /// The process starts again. It keeps its oplog, and doesn't know yet what is committed beyond what it knew.
  public func start(_ member: Int) { members[member].isUp = true }

  /// Whether clients can reach a member.
  public func setReachable(_ member: Int, _ isReachable: Bool) {
    members[member].isReachable = isReachable
  }

  /// How many nanoseconds a member's clock is ahead of the world's.
  public func setClock(of member: Int, ahead offset: Int64) { members[member].clockOffset = offset }

  public func isConnected(_ a: Int, _ b: Int) -> Bool { a == b || links[a][b] }

  /// Whether two members can talk to each other. Clients are another matter: `SimulatedMember.isReachable`.
  public func setLink(_ a: Int, _ b: Int, isUp: Bool) {
    links[a][b] = isUp
    links[b][a] = isUp
  }

  /// Cuts a member off from the two others, or connects it again.
  public func setLinks(of member: Int, areUp: Bool) {
    for other in members.indices where other != member { setLink(member, other, isUp: areUp) }
  }

  /// The oplog's window rolls over: a member removes entries before `position`. As a server does, it keeps what isn't
  /// committed, what an open transaction needs, and the newest entry.
  ///
  /// - Returns: how many it removed.
  @discardableResult
  public func truncate(_ member: Int, before position: OplogPosition) -> Int {
    let log = members[member].log
    let end =
      [
        lowerBound(position, in: log), members[member].committedEnd - 1, log.end - 1,
        neededIndex ?? .max,
      ].min() ?? log.start
    guard end > log.start else { return 0 }
    members[member].log.drop(before: end)
    return end - log.start
  }

  /// An operator restores the set from a backup, which replication never does: committed entries from `position` on
  /// are gone, and others of a new term stand at their positions.
  ///
  /// - Returns: false where no oplog reaches back so far.
  @discardableResult
  public func restore(before position: OplogPosition) -> Bool {
    guard let end = committed.firstIndex(where: { $0.position >= position }),
      var log = members.map(\.log).first(where: { $0.start < end && $0.end >= end })
    else { return false }
    let lost = committed[end...].map(\.position)
    let term = (members.map(\.term).max() ?? 0) + 1
    log.cut(to: end)
    for member in members.indices {
      members[member] = SimulatedMember()
      members[member].term = term
      members[member].log = log
      members[member].knownCommitted = end
    }
    committed.removeSubrange(end...)
    transactions = []
    primary = 0
    members[0].isPrimary = true
    elections += 1
    for position in lost {
      let last = entries[members[0].log[members[0].log.end - 1]].position
      let isNewSecond = position.seconds > last.seconds
      members[0].clockOffset = Int64(position.seconds) * 1_000_000_000 - now
      append(
        to: 0, term: term,
        slots: isNewSecond ? position.increment : position.increment - last.increment
      ) { EntryForm.noop(&$0, "restored") }
    }
    members[0].clockOffset = 0
    for other in 1..<3 { replicate(other) }
    updateMajority()
    for other in 1..<3 { replicate(other, count: 0) }
    return true
  }

  /// The index of the first entry at or after a position.
  func lowerBound(_ position: OplogPosition, in log: MemberLog) -> Int {
    var low = log.start
    var high = log.end
    while low < high {
      let middle = (low + high) / 2
      if entries[log[middle]].position < position { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
