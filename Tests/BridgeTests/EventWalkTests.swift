import Bridge
import MongoSource
import Oplog
import TestRandom
import Testing

@Suite("A walk over changes") struct EventWalkTests {
  /// A walk over recorded entries, read from one of them on.
  private final class Walked {
    let feed = EventFeed(.entriesAlone)
    let reader: RecordedReader
    let walk: EventWalk

    init(
      _ oplog: RandomOplog, _ range: WalkRange, from start: OplogPosition? = nil, sizes: [Int] = [3]
    ) {
      reader = RecordedReader(oplog.entries) { sizes[$0 % sizes.count] }
      walk = EventWalk(feed)
      begin(range, from: start ?? oplog.positions[0])
    }

    func begin(_ range: WalkRange, from start: OplogPosition) {
      let generation = reader.restart(at: ResumePoint(position: start), after: nil)
      walk.begin(range)
      feed.begin(.tail(reader), generation: generation, firstIndex: 1 << 31)
    }

    /// Up to `most` events; nil behind the end.
    func events(_ most: Int = .max, mayOmit: (MissingEntries) -> Bool = { _ in false }) throws
      -> [EventPosition]
    {
      var all: [EventPosition] = []
      while all.count < most {
        guard case .event(let event) = try walk.next(mayOmit: mayOmit) else { break }
        all.append(event.position)
      }
      return all
    }
  }

  private static let seeds = Array(UInt64(1)...40)

  @Test(arguments: seeds) func `batches make no difference`(seed: UInt64) throws {
    let oplog = RandomOplog(seed: seed, count: 40)
    let all = try oplog.events()
    for sizes in [[1], [2, 5, 1], [1000]] {
      #expect(try Walked(oplog, .everything, sizes: sizes).events() == all)
    }
  }

  @Test(arguments: seeds) func `a range is a part of the whole`(seed: UInt64) throws {
    let oplog = RandomOplog(seed: seed, count: 40)
    let all = try oplog.events()
    var random = SeededRandom(seed: seed ^ 0xFACE)
    for _ in 0..<30 {
      let ends = [random.pick(all), random.pick(all)].sorted()
      let walked = Walked(oplog, WalkRange(ends[0]...ends[1]))
      #expect(try walked.events() == all.filter { ends[0] <= $0 && $0 <= ends[1] })
      // Its last entry is read to the end, and nothing behind it is begun.
      #expect(walked.walk.hasEnded)
      #expect(walked.feed.lastEntry.map { $0.position <= ends[1].entry } ?? false)
    }
  }

  @Test(arguments: seeds) func `bounds need not be entries`(seed: UInt64) throws {
    let oplog = RandomOplog(seed: seed, count: 40)
    let all = try oplog.events()
    var random = SeededRandom(seed: seed ^ 0xBEEF)
    for _ in 0..<30 {
      var (from, to) = (random.pick(oplog.positions), random.pick(oplog.positions))
      if to < from { swap(&from, &to) }
      if random.chance(1, in: 2) { to.increment += 1 }
      if random.chance(1, in: 2) { from.increment += 1 }
      let isInclusive = random.chance(1, in: 2)
      let walked = Walked(oplog, WalkRange(from: from, isInclusive: isInclusive, through: to))
      let wanted = all.filter {
        (isInclusive ? from <= $0.entry : from < $0.entry) && $0.entry <= to
      }
      #expect(try walked.events() == wanted)
      // Something behind the end has to be read where no entry is at the end itself.
      let isKnownToEnd = oplog.positions.contains { $0 >= to }
      #expect(walked.walk.hasEnded == isKnownToEnd)
    }
  }

  @Test(arguments: seeds) func `where to resume is exact`(seed: UInt64) throws {
    let oplog = RandomOplog(seed: seed, count: 40)
    let all = try oplog.events()
    for settled in all.indices {
      let walked = Walked(oplog, .everything, sizes: [4])
      #expect(try walked.events(settled + 1) == Array(all[...settled]))
      let place = walked.feed.resume(
        from: OpTime(position: all[settled].entry, term: 1))
      // Another process begins there, and lacks nothing of what is not settled.
      var rest = WalkRange.everything
      rest.first = all[settled]
      let resumed = Walked(oplog, rest, from: place.position)
      #expect(try resumed.events() == Array(all[settled...]))
    }
  }

  @Test(arguments: seeds) func `a transaction that began before what is read`(seed: UInt64) throws {
    let oplog = RandomOplog(seed: seed, count: 40)
    let all = try oplog.events()
    for start in oplog.positions {
      let cut = oplog.transactions.filter { $0.first < start && start <= $0.commit }
        .sorted { $0.commit < $1.commit }
      let range = WalkRange(from: start, isInclusive: true, through: nil)
      let wanted = all.filter { start <= $0.entry }
      // Left out on demand, it takes nothing else with it.
      var omitted: [OplogPosition] = []
      let passing = Walked(oplog, range, from: start)
      let rest = try passing.events {
        omitted.append($0.entry.position)
        return true
      }
      #expect(omitted == cut.map(\.commit))
      #expect(rest == wanted.filter { !omitted.contains($0.entry) })
      // Else the walk ends there, and reading from further back gives all.
      let strict = Walked(oplog, range, from: start)
      guard let first = cut.first else {
        #expect(try strict.events() == wanted)
        continue
      }
      let missing = #expect(throws: MissingEntries.self) { try strict.events() }
      #expect(missing?.entry.position == first.commit)
      #expect(missing.map { $0.previous < start && $0.previous >= first.first } ?? false)
      strict.begin(range, from: cut.map(\.first).min() ?? start)
      #expect(try strict.events() == wanted)
    }
  }

  @Test func `nobody misses a transaction that comes before the range`() throws {
    for seed in Self.seeds {
      let oplog = RandomOplog(seed: seed, count: 40)
      let all = try oplog.events()
      for cut in oplog.transactions {
        guard let start = oplog.positions.first(where: { $0 > cut.first }) else { continue }
        let range = WalkRange(from: cut.commit, isInclusive: false, through: nil)
        let walked = Walked(oplog, range, from: start)
        let others = oplog.transactions.filter {
          $0.first < start && start <= $0.commit && $0.commit > cut.commit
        }
        let wanted = all.filter { $0.entry > cut.commit }
        let found = try walked.events { missing in
          others.contains { $0.commit == missing.entry.position }
        }
        #expect(
          found == wanted.filter { event in !others.contains { $0.commit == event.entry } })
      }
    }
  }

  @Test(arguments: seeds) func `the end may move on the way`(seed: UInt64) throws {
    let oplog = RandomOplog(seed: seed, count: 40)
    let all = try oplog.events()
    var random = SeededRandom(seed: seed)
    let walked = Walked(oplog, .everything)
    var found = try walked.events(all.count / 3)
    let end = random.pick(oplog.positions.filter { $0 >= (found.last ?? all[0]).entry })
    walked.walk.end(after: EventPosition(entry: end, index: .max))
    found += try walked.events()
    #expect(found == all.filter { $0.entry <= end })
    #expect(walked.walk.hasEnded)
  }

  @Test func `a damaged entry ends it, with what is wrong`() throws {
    var entries = RandomOplog(seed: 1, count: 3).entries
    // The op is no string: the length of the batch's documents is right all the same.
    entries[1] =
      Value.document([
        .init("ts", .timestamp(1000, 1)), .init("t", .int64(1)), .init("op", .int32(1)),
        .init("ns", .string("a.b")), .init("o", .document([])),
      ]).bson
    let feed = EventFeed(.entriesAlone)
    let reader = RecordedReader(entries)
    let walk = EventWalk(feed)
    let generation = reader.restart(
      at: ResumePoint(position: OplogPosition(seconds: 0, increment: 0)), after: nil)
    feed.begin(.tail(reader), generation: generation, firstIndex: 1 << 31)
    let error = #expect(throws: (any Error).self) {
      while case .event = try walk.next(mayOmit: { _ in true }) {}
    }
    #expect("\(error.map { "\($0)" } ?? "")".contains("1000.1"))
  }
}
