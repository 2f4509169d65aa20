import BSON
import Oplog
import SimulatedMongo
import Testing

@Suite struct ReplicaSetTests {
  let set = SimulatedReplicaSet(seed: 1, now: 1_800_000_000_000_000_000)
  let collection: CollectionID

  init() { collection = set.collection("app", "c") }

  private func commit() {
    for member in 0..<3 { set.replicate(member) }
    set.updateMajority()
    for member in 0..<3 { set.replicate(member) }
  }

  private func read(_ member: Int, from position: OplogPosition, majority: Bool) throws -> [OpTime]
  {
    try set.find(on: member, from: position, majority: majority, batchSize: 100).entries
      .map { set.entry($0).opTime }
  }

  // MARK: Histories

  @Test func theFirstEntriesAreCommitted() throws {
    #expect(set.committed.map(\.term) == [-1, 1])
    #expect(set.primary == 0)
    for member in 0..<3 { #expect(try set.newestCommitted(on: member)?.term == 1) }
  }

  /// A write that no majority has is lost, and its position is used again.
  @Test func whatAMajorityLacksIsRolledBack() throws {
    set.setLinks(of: 0, areUp: false)
    let phantom = try #require(set.insert(collection, .int32(1)))
    set.updateMajority()
    #expect(try read(0, from: phantom, majority: false).count == 1)
    #expect(try read(0, from: phantom, majority: true).isEmpty)
    let cursor = try set.find(on: 0, from: phantom, majority: false, batchSize: 1).cursor
    #expect(set.elect(1))
    // It doesn't know yet.
    #expect(set.members[0].isPrimary)
    #expect(set.write(DocumentChange(.delete, collection, .int32(1)), on: 0) != nil)
    let noop = try #require(try set.newest(on: 1))
    #expect(noop.opTime == OpTime(position: phantom, term: 2))
    #expect(set.replicate(0) == .unconnected)
    set.setLinks(of: 0, areUp: true)
    #expect(set.replicate(0) == .rolledBack(2))
    #expect(throws: ServerAnswer.self) {
      try set.getMore(on: 0, cursor: cursor, batchSize: 1)
    }
    #expect(!set.members[0].isPrimary)
    #expect(set.replicate(0) == .applied(1))
    commit()
    for member in 0..<3 {
      #expect(try read(member, from: phantom, majority: true) == [noop.opTime])
      #expect(try !set.has(on: member, OpTime(position: phantom, term: 1), majority: true))
      #expect(try set.has(on: member, noop.opTime, majority: true))
    }
    #expect(set.committed.last?.term == 2)
    #expect(set.rolledBackEntries == 2)
  }

  @Test func twoOfThreeElect() {
    set.insert(collection, .int32(1))
    set.replicate(1)
    // The third member lacks an entry that the second has; alone with the first it has a majority too late.
    set.stop(0)
    #expect(!set.elect(2))
    #expect(set.insert(collection, .int32(2)) == nil)
    set.setLink(1, 2, isUp: false)
    #expect(!set.elect(1))
    set.setLink(1, 2, isUp: true)
    #expect(set.elect(1))
    #expect(set.primary == 1)
    #expect(!set.elect(0))
  }

  /// An entry of an earlier term isn't committed by being on two members, only by one of the own term.
  @Test func theTermCommits() throws {
    let position = try #require(set.insert(collection, .int32(1)))
    set.replicate(1)
    set.stop(0)
    #expect(set.elect(1))
    set.replicate(2, count: 1)
    set.updateMajority()
    #expect(set.committed.last?.term == 1)
    #expect(try read(1, from: position, majority: true).isEmpty)
    set.replicate(2, count: 1)
    set.updateMajority()
    #expect(try read(1, from: position, majority: true).count == 2)
    // The other hears of it later.
    #expect(try read(2, from: position, majority: true).isEmpty)
    set.replicate(2, count: 0)
    #expect(try read(2, from: position, majority: true).count == 2)
  }

  @Test func positionsRiseThoughClocksFall() throws {
    let first = try #require(set.noop())
    set.now += 3_000_000_000
    let second = try #require(set.noop())
    #expect(second == OplogPosition(seconds: first.seconds + 3, increment: 1))
    set.setClock(of: 0, ahead: -60_000_000_000)
    let third = try #require(set.noop())
    #expect(third == OplogPosition(seconds: second.seconds, increment: 2))
    #expect(try set.newest(on: 0)?.wallTime == (set.now - 60_000_000_000) / 1_000_000)
  }

  /// What hadn't reached the disk is lost, unless it is committed.
  @Test func aCrashLosesTheNewestEntries() throws {
    set.insert(collection, .int32(1))
    commit()
    set.insert(collection, .int32(2))
    let length = set.members[0].historyLength
    set.stop(0, losing: 3)
    #expect(set.members[0].historyLength == length - 1)
    #expect(set.members[0].historyLength == set.committed.count)
  }

  // MARK: Windows

  @Test func theWindowRollsOver() throws {
    set.now += 1_000_000_000
    let first = try #require(set.insert(collection, .int32(1)))
    commit()
    let reader = try set.find(on: 0, from: first, majority: true, batchSize: 1)
    let fresh = try set.find(
      on: 0, from: OplogPosition(seconds: .max, increment: 1), majority: true, batchSize: 1)
    set.now += 1_000_000_000
    let second = try #require(set.insert(collection, .int32(2)))
    let third = try #require(set.insert(collection, .int32(3)))
    // What isn't committed stays, and one entry before it.
    #expect(set.truncate(0, before: third) == 2)
    commit()
    #expect(try set.getMore(on: 0, cursor: fresh.cursor, batchSize: 1).entries.isEmpty)
    #expect(set.truncate(0, before: third) == 2)
    #expect(try set.oldest(on: 0)?.position == third)
    #expect(try set.oldest(on: 1)?.position.seconds ?? 0 < second.seconds)
    #expect(throws: ServerAnswer.positionLost) {
      try set.getMore(on: 0, cursor: reader.cursor, batchSize: 1)
    }
    // One that has seen them loses nothing.
    #expect(try set.getMore(on: 0, cursor: fresh.cursor, batchSize: 1).entries.isEmpty)
    #expect(try read(0, from: first, majority: true).first?.position == third)
    #expect(try read(1, from: first, majority: true).first?.position == first)
  }

  @Test func aMemberThatIsTooStaleStartsOver() throws {
    set.stop(2)
    for key: Int32 in 0..<10 { set.insert(collection, .int32(key)) }
    commit()
    let newest = try #require(try set.newest(on: 0))
    #expect(set.truncate(0, before: newest.position) > 0)
    set.start(2)
    #expect(set.replicate(2) == .tooStale)
    #expect(throws: ServerAnswer.recovering) {
      try set.find(on: 2, from: newest.position, majority: true, batchSize: 1)
    }
    #expect(!set.elect(2))
    #expect(set.resync(2, keeping: 2))
    #expect(set.replicate(2) == .applied(0))
    #expect(try read(2, from: newest.position, majority: true) == [newest.opTime])
  }

  // MARK: Cursors

  @Test func cursorsWaitAndContinue() throws {
    let first = try #require(set.insert(collection, .int32(1)))
    let cursor = try set.find(on: 0, from: first, majority: true, batchSize: 2).cursor
    #expect(!set.isReady(on: 0, cursor: cursor))
    #expect(try set.getMore(on: 0, cursor: cursor, batchSize: 2).entries.isEmpty)
    for key: Int32 in 2..<5 { set.insert(collection, .int32(key)) }
    commit()
    #expect(set.isReady(on: 0, cursor: cursor))
    let replies = try (0..<3).map { _ in try set.getMore(on: 0, cursor: cursor, batchSize: 3) }
    #expect(replies.map(\.entries.count) == [3, 1, 0])
    #expect(replies.allSatisfy { !$0.isFirst && $0.cursor == cursor })
    #expect(replies[2].operationTime == (try set.newest(on: 0))?.position)
  }

  @Test func aCursorOfTheFutureStartsThere() throws {
    let last = try #require(set.noop())
    let start = OplogPosition(seconds: last.seconds, increment: last.increment + 2)
    let cursor = try set.find(on: 0, from: start, majority: false, batchSize: 10).cursor
    set.noop()
    #expect(!set.isReady(on: 0, cursor: cursor))
    #expect(try set.getMore(on: 0, cursor: cursor, batchSize: 10).entries.isEmpty)
    set.noop()
    #expect(set.isReady(on: 0, cursor: cursor))
    let reply = try set.getMore(on: 0, cursor: cursor, batchSize: 10)
    #expect(reply.entries.map { set.entry($0).position } == [start])
  }

  @Test func cursorsDie() throws {
    let position = try #require(set.noop())
    func open() throws -> Int64 {
      try set.find(on: 0, from: position, majority: false, batchSize: 1).cursor
    }
    let killed = try open()
    try set.killCursor(on: 0, killed)
    #expect(throws: ServerAnswer.cursorNotFound(killed)) {
      try set.getMore(on: 0, cursor: killed, batchSize: 1)
    }
    let all = try open()
    set.killCursors(on: 0)
    #expect(throws: ServerAnswer.cursorNotFound(all)) {
      try set.getMore(on: 0, cursor: all, batchSize: 1)
    }
    let stopped = try open()
    set.stop(0)
    #expect(throws: ServerAnswer.unreachable) {
      try set.getMore(on: 0, cursor: stopped, batchSize: 1)
    }
    set.start(0)
    #expect(throws: ServerAnswer.cursorNotFound(stopped)) {
      try set.getMore(on: 0, cursor: stopped, batchSize: 1)
    }
    let hidden = try open()
    set.setReachable(0, false)
    #expect(set.isReady(on: 0, cursor: hidden))
    #expect(throws: ServerAnswer.unreachable) { try set.oldest(on: 0) }
    set.setReachable(0, true)
    #expect(try set.getMore(on: 0, cursor: hidden, batchSize: 1).entries.isEmpty)
    #expect(set.members[0].openCursors == 1)
  }

  @Test func repliesHaveTheServersForm() throws {
    let first = try #require(set.insert(collection, .int32(1)))
    set.insert(collection, .int32(2))
    let found = try set.find(on: 0, from: first, majority: false, batchSize: 10)
    let more = try set.getMore(on: 0, cursor: found.cursor, batchSize: 10)
    for (reply, batch) in [(found, "firstBatch"), (more, "nextBatch")] {
      try set.bytes(of: reply).withUnsafeBytes { raw in
        let fields = try BSONView(raw).list()
        #expect(fields.map(\.name) == ["cursor", "ok", "operationTime"])
        let cursor = try #require(fields[0].document).list()
        #expect(cursor.map(\.name) == [batch, "id", "ns"])
        #expect(cursor[1].integer == reply.cursor)
        let entries = try #require(cursor[0].document).list()
        #expect(entries.map(\.name) == entries.indices.map { "\($0)" })
        #expect(
          entries.map { [UInt8]($0.value) } == reply.entries.map { set.bytes(of: $0) })
      }
    }
    #expect(found.entries.count == 2)
  }

  @Test func largeRepliesAreCut() throws {
    let first = try #require(set.insert(collection, .int32(1), padding: 7 << 20))
    for key: Int32 in 2..<5 { set.insert(collection, .int32(key), padding: 7 << 20) }
    let found = try set.find(on: 0, from: first, majority: false, batchSize: 10)
    #expect(found.entries.count == 2)
    #expect(
      try set.getMore(on: 0, cursor: found.cursor, batchSize: 10).entries.count == 2)
  }
}
