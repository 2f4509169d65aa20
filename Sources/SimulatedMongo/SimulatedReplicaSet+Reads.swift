import BSON
public import Oplog

/// A server's reply to find or getMore.
public struct ReadReply: Sendable {
  public var cursor: Int64
  /// To find, not to getMore.
  public var isFirst: Bool
  /// Numbers of entries.
  public var entries: [Int]
  /// The member's position when it answered.
  public var operationTime: OplogPosition
}

extension SimulatedReplicaSet {
  /// The most that a reply holds, unless one entry is larger.
  static let replyLimit = 16 << 20

  // MARK: Cursors

  /// Opens a tailable cursor at the first entry at or after `position`.
  public func find(
    on member: Int, from position: OplogPosition, majority: Bool, batchSize: Int
  ) throws(ServerAnswer) -> ReadReply {
    try checkReadable(member)
    lastCursor += 1
    var cursor = Cursor(
      id: lastCursor, from: position, majority: majority,
      next: lowerBound(position, in: members[member].log))
    let reply = take(&cursor, on: member, batchSize: batchSize, isFirst: true)
    members[member].cursors.append(cursor)
    return reply
  }

  /// The next entries; none if there are none yet. A server would wait: `isReady` says whether it has to.
  public func getMore(
    on member: Int, cursor id: Int64, batchSize: Int
  ) throws(ServerAnswer) -> ReadReply {
    try checkReadable(member)
    guard let at = members[member].cursors.firstIndex(where: { $0.id == id }) else {
      throw .cursorNotFound(id)
    }
    var cursor = members[member].cursors[at]
    if cursor.isLost(in: members[member].log) {
      members[member].cursors.remove(at: at)
      throw .positionLost
    }
    let reply = take(&cursor, on: member, batchSize: batchSize, isFirst: false)
    members[member].cursors[at] = cursor
    return reply
  }

  /// Whether `getMore` would answer at once: with entries, or an error.
  public func isReady(on member: Int, cursor id: Int64) -> Bool {
    guard (try? checkReadable(member)) != nil else { return true }
    guard let cursor = members[member].cursors.first(where: { $0.id == id }) else { return true }
    let log = members[member].log
    let end = end(of: member, majority: cursor.majority)
    return cursor.isLost(in: log)
      || end > cursor.next && entries[log[end - 1]].position >= cursor.from
  }

  /// Closes a cursor; one that isn't there is no error.
  public func killCursor(on member: Int, _ id: Int64) throws(ServerAnswer) {
    try checkReachable(member)
    members[member].cursors.removeAll { $0.id == id }
  }

  /// Closes all of a member's cursors, as an administrator can.
  public func killCursors(on member: Int) { members[member].cursors = [] }

  private func take(
    _ cursor: inout Cursor, on member: Int, batchSize: Int, isFirst: Bool
  ) -> ReadReply {
    let log = members[member].log
    let end = end(of: member, majority: cursor.majority)
    var numbers: [Int] = []
    var bytes = 0
    numbers.reserveCapacity(max(min(batchSize, end - cursor.next), 0))
    while cursor.next < end, numbers.count < batchSize {
      let number = log[cursor.next]
      if entries[number].position >= cursor.from {
        bytes += entries[number].length
        if bytes > Self.replyLimit, !numbers.isEmpty { break }
        numbers.append(number)
      }
      cursor.hasLooked = true
      cursor.next += 1
    }
    return ReadReply(
      cursor: cursor.id, isFirst: isFirst, entries: numbers,
      operationTime: end > log.start
        ? entries[log[end - 1]].position : OplogPosition(seconds: 0, increment: 0))
  }

  private func end(of member: Int, majority: Bool) -> Int {
    majority ? members[member].committedEnd : members[member].log.end
  }

  private func checkReachable(_ member: Int) throws(ServerAnswer) {
    guard members[member].isUp, members[member].isReachable else { throw .unreachable }
  }

  private func checkReadable(_ member: Int) throws(ServerAnswer) {
    try checkReachable(member)
    if members[member].isRecovering { throw .recovering }
  }

  // MARK: Questions

  /// The newest entry that the member knows to be committed (`hello.lastWrite.majorityOpTime`).
  public func newestCommitted(on member: Int) throws(ServerAnswer) -> SimulatedEntry? {
    try checkReachable(member)
    return last(of: member, before: members[member].committedEnd)
  }

  /// The member's newest entry (`hello.lastWrite.opTime`).
  public func newest(on member: Int) throws(ServerAnswer) -> SimulatedEntry? {
    try checkReachable(member)
    return last(of: member, before: members[member].log.end)
  }

  public func oldest(on member: Int) throws(ServerAnswer) -> SimulatedEntry? {
    try checkReadable(member)
    let log = members[member].log
    return log.isEmpty ? nil : entries[log[log.start]]
  }

  /// The first entry at or after a position.
  public func first(
    on member: Int, from position: OplogPosition, majority: Bool
  ) throws(ServerAnswer) -> SimulatedEntry? {
    try checkReadable(member)
    let log = members[member].log
    let index = lowerBound(position, in: log)
    return index < end(of: member, majority: majority) ? entries[log[index]] : nil
  }

  /// Whether the member has this entry: at this position, with this term.
  public func has(
    on member: Int, _ opTime: OpTime, majority: Bool
  ) throws(ServerAnswer) -> Bool {
    try first(on: member, from: opTime.position, majority: majority)?.opTime == opTime
  }

  /// The first entry of the transaction that the entry at `position` belongs to, by `prevOpTime`; nil if the oplog
  /// doesn't hold one of its entries.
  public func transactionStart(
    on member: Int, from position: OplogPosition, majority: Bool
  ) throws(ServerAnswer) -> OplogPosition? {
    var position = position
    while true {
      guard let entry = try first(on: member, from: position, majority: majority),
        entry.position == position
      else { return nil }
      guard entry.previous.value != 0, entry.previous < position else { return position }
      position = entry.previous
    }
  }

  private func last(of member: Int, before end: Int) -> SimulatedEntry? {
    let log = members[member].log
    return end > log.start ? entries[log[end - 1]] : nil
  }

  // MARK: Bytes

  /// The reply as a server sends it.
  public func bytes(of reply: ReadReply) -> [UInt8] {
    withBytes(of: reply) { [UInt8]($0) }
  }

  /// The reply as a server sends it; valid within `body`.
  public func withBytes<R>(
    of reply: ReadReply, _ body: (UnsafeRawBufferPointer) throws -> R
  ) rethrows -> R {
    scratch.removeAll()
    write(reply, to: &scratch)
    return try body(scratch.bytes)
  }

  private func write(_ reply: ReadReply, to writer: inout ByteWriter) {
    let document = writer.beginDocument()
    let cursor = writer.beginDocument(key: "cursor")
    let batch = writer.beginArray(key: reply.isFirst ? "firstBatch" : "nextBatch")
    for (index, number) in reply.entries.enumerated() {
      let entry = entries[number]
      writer.appendHeader(.document, index: index)
      writer.append(
        UnsafeRawBufferPointer(rebasing: arena.bytes[entry.start..<entry.start + entry.length]))
    }
    writer.endDocument(batch)
    writer.append(key: "id", int64: reply.cursor)
    writer.append(key: "ns", string: "local.oplog.rs")
    writer.endDocument(cursor)
    writer.append(key: "ok", double: 1)
    writer.append(
      key: "operationTime", timestamp: reply.operationTime.seconds,
      increment: reply.operationTime.increment)
    writer.endDocument(document)
  }
}
