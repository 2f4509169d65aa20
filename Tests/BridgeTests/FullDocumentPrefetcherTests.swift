import BSON
import Bridge
import Mapping
import MongoSource
import NIOCore
import NIOEmbedded
import Oplog
import TestRandom
import Testing

@Suite("The prefetcher of full documents") struct FullDocumentPrefetcherTests {
  /// An event as a feed hands it out: its documents are those that `RecordedDocuments` made for it, or none.
  private struct Seen: Equatable {
    var position: EventPosition
    var operation: OperationType
    var after: [UInt8]?
    var before: [UInt8]?
  }

  /// A feed over recorded entries whose updates get documents, if any rule wants them.
  private final class Fetched {
    let documents = RecordedDocuments()
    let loop = EmbeddedEventLoop()
    let feed: EventFeed
    private let reader: RecordedReader

    init(_ entries: [[UInt8]], _ rules: [Rule], size: @escaping @Sendable (Int) -> Int = { _ in 3 })
    {
      reader = RecordedReader(entries, size: size)
      let prefetcher = FullDocumentPrefetcher(
        reader: documents, rules: rules, eventLoop: loop, onAnswer: {})
      feed = EventFeed(FeedWishes(isUpdateWanted: nil, images: { _ in prefetcher }))
    }

    func begin(at start: OplogPosition) {
      let generation = reader.restart(at: ResumePoint(position: start), after: nil)
      feed.begin(.tail(reader), generation: generation, firstIndex: 1 << 31)
    }

    /// The next event; nil while documents are awaited, and at the end.
    func next() throws -> Seen? {
      while true {
        do {
          guard case .event(let event) = try feed.next(mayOpen: { true }) else { return nil }
          return Seen(
            position: event.position, operation: event.operation,
            after: event.operation == .update ? event.fullDocument.map { Array($0.bytes) } : nil,
            before: event.fullDocumentBeforeChange.map { Array($0.bytes) })
        } catch is MissingEntries {
          // The feed passes over such an entry only if its walk says so; here it ends the test's range.
          return nil
        }
      }
    }

    /// All events, with answers of `most()` images at a time.
    func all(answering most: () -> Int = { .max }) throws -> [Seen] {
      var seen: [Seen] = []
      while true {
        if let event = try next() {
          seen.append(event)
        } else if documents.open > 0 {
          try documents.answer(most())
          loop.run()
        } else {
          return seen
        }
      }
    }
  }

  private static func rule(
    after: DocumentLookup = .whenAvailable, before: DocumentLookup = .off,
    namespace: String = "app.c"
  ) throws -> Rule {
    var rule = Rule(
      name: "r", namespace: try NamespacePattern(parsing: namespace),
      operations: OperationSet(rawValue: .max), subject: try Template(subject: "s"))
    rule.fullDocument = after
    rule.fullDocumentBeforeChange = before
    return rule
  }

  /// What feeds without a prefetcher hand out, with the documents that each event should have.
  private static func wanted(
    _ entries: [[UInt8]], after: Bool = true, before: Bool = false
  ) throws -> [Seen] {
    var decoder = OplogDecoder()
    var all: [Seen] = []
    for entry in entries {
      try entry.withUnsafeBytes { bytes in
        _ = try decoder.begin(try BSONView(bytes))
        while let event = try decoder.next() {
          var seen = Seen(position: event.position, operation: event.operation)
          let place = decoder.operationPlace
          if after, event.operation == .update, let key = event.documentKey {
            seen.after = RecordedDocuments.document(event.position.entry, Array(key.bytes), nil)
          }
          if before, event.operation != .insert, event.collectionUUID != nil {
            seen.before = RecordedDocuments.document(place.entry, [], place.operation)
          }
          all.append(seen)
        }
      }
    }
    return all
  }

  private static let seeds = Array(UInt64(1)...40)

  @Test(arguments: seeds) func `each event gets its own documents`(seed: UInt64) throws {
    let oplog = RandomOplog(seed: seed, count: 60, changesDocuments: true)
    var random = SeededRandom(seed: seed)
    for (after, before) in [(true, false), (false, true), (true, true)] {
      let rule = try Self.rule(
        after: after ? .required : .off, before: before ? .whenAvailable : .off)
      let wanted = try Self.wanted(oplog.entries, after: after, before: before)
      for sizes in [[1], [2, 5, 1], [1000]] {
        // Answers may be cut short anywhere, even between the two documents of one event.
        let fetched = Fetched(oplog.entries, [rule]) { sizes[$0 % sizes.count] }
        fetched.begin(at: oplog.positions[0])
        #expect(try fetched.all { 1 + random.below(4) } == wanted)
        #expect(wanted.contains { $0.after != nil || $0.before != nil })
      }
    }
  }

  @Test func `nothing is asked for where no rule wants it`() throws {
    let oplog = RandomOplog(seed: 1, count: 60, changesDocuments: true)
    let fetched = Fetched(oplog.entries, [try Self.rule(namespace: "app.other")])
    fetched.begin(at: oplog.positions[0])
    #expect(try fetched.all() == Self.wanted(oplog.entries, after: false))
    #expect(fetched.documents.counts == [])
  }

  @Test func `no event comes before its documents`() throws {
    let oplog = RandomOplog(seed: 2, count: 60, changesDocuments: true)
    let wanted = try Self.wanted(oplog.entries)
    let fetched = Fetched(oplog.entries, [try Self.rule()]) { _ in 1000 }
    fetched.begin(at: oplog.positions[0])
    // All of them are asked for at once, and nothing comes meanwhile, however often it is tried.
    for _ in 0..<3 { #expect(try fetched.next() == nil) }
    #expect(fetched.documents.counts == [wanted.count { $0.after != nil }])
    #expect(fetched.feed.count == 0)
    // With one answer come the events up to the next one that lacks its document.
    try fetched.documents.answer(1)
    fetched.loop.run()
    let first = try #require(wanted.firstIndex { $0.after != nil })
    let second = try #require(wanted[(first + 1)...].firstIndex { $0.after != nil })
    for event in wanted[..<second] { #expect(try fetched.next() == event) }
    #expect(try fetched.next() == nil)
  }

  @Test func `a request stays small`() throws {
    func updates(_ count: Int, key: String) -> [[UInt8]] {
      (1...count).map { number in
        Value.document([
          .init("ts", .timestamp(100, UInt32(number))), .init("t", .int64(1)),
          .init("v", .int64(2)), .init("op", .string("u")), .init("ns", .string("app.c")),
          .init(
            "o",
            .document([
              .init("$v", .int32(2)),
              .init("diff", .document([.init("u", .document([.init("a", .int32(1))]))])),
            ])), .init("o2", .document([.init("_id", .string("\(number)" + key))])),
        ]).bson
      }
    }
    let many = Fetched(updates(1_200, key: ""), [try Self.rule()]) { _ in 5_000 }
    many.begin(at: OplogPosition(seconds: 100, increment: 1))
    #expect(try many.all().count == 1_200)
    // 500, or fewer where the machine is so busy that looking ahead takes its 10 ms before.
    #expect(many.documents.counts.allSatisfy { 1...500 ~= $0 })
    #expect(many.documents.counts.reduce(0, +) == 1_200)

    let large = Fetched(
      updates(10, key: String(repeating: "k", count: 1 << 20)), [try Self.rule()]
    ) { _ in 100 }
    large.begin(at: OplogPosition(seconds: 100, increment: 1))
    #expect(try large.all().count == 10)
    #expect(large.documents.bytes.allSatisfy { $0 < 5 << 20 + 1 << 16 })
    #expect(large.documents.counts.reduce(0, +) == 10)
  }

  @Test func `an answer of an earlier epoch is ignored`() throws {
    let oplog = RandomOplog(seed: 3, count: 60, changesDocuments: true)
    let fetched = Fetched(oplog.entries, [try Self.rule()]) { _ in 1000 }
    fetched.begin(at: oplog.positions[0])
    #expect(try fetched.next() == nil)
    // Another epoch begins further on, and asks for other documents.
    let start = oplog.positions[20]
    fetched.begin(at: start)
    #expect(try fetched.next() == nil)
    #expect(fetched.documents.open == 2)
    try fetched.documents.answer()
    fetched.loop.run()
    #expect(try fetched.next() == nil)
    #expect(fetched.documents.open == 1)
    let rest = try fetched.all()
    #expect(rest.first.map { $0.position.entry >= start } ?? false)
    let wanted = try Self.wanted(oplog.entries).filter { seen in
      rest.contains { $0.position == seen.position }
    }
    #expect(rest == wanted)
  }

  @Test func `a refused thread is asked for again`() throws {
    let oplog = RandomOplog(seed: 4, count: 60, changesDocuments: true)
    let fetched = Fetched(oplog.entries, [try Self.rule()]) { _ in 1000 }
    fetched.documents.isRefusing = true
    fetched.begin(at: oplog.positions[0])
    #expect(try fetched.next() == nil)
    fetched.loop.advanceTime(by: .milliseconds(499))
    fetched.documents.isRefusing = false
    #expect(try fetched.next() == nil)
    #expect(fetched.documents.counts == [])
    fetched.loop.advanceTime(by: .milliseconds(1))
    #expect(fetched.documents.counts.count == 1)
    #expect(try fetched.all() == Self.wanted(oplog.entries))

    // Not once the epoch has ended.
    fetched.documents.isRefusing = true
    fetched.begin(at: oplog.positions[0])
    #expect(try fetched.next() == nil)
    fetched.feed.end()
    fetched.documents.isRefusing = false
    fetched.loop.advanceTime(by: .seconds(10))
    #expect(fetched.documents.open == 0)
  }

  @Test(arguments: seeds) func `a transaction that began before is passed over by both`(
    seed: UInt64
  ) throws {
    let oplog = RandomOplog(seed: seed, count: 60, changesDocuments: true)
    let start = oplog.positions[20]
    let cut = Set(
      oplog.transactions.filter { $0.first < start && start <= $0.commit }.map(\.commit))
    let fetched = Fetched(oplog.entries, [try Self.rule()])
    let walk = EventWalk(fetched.feed)
    walk.begin(WalkRange(from: start, isInclusive: true, through: nil))
    fetched.begin(at: start)
    var seen: [Seen] = []
    while true {
      if case .event(let event) = try walk.next(mayOmit: { _ in true }) {
        seen.append(
          Seen(
            position: event.position, operation: event.operation,
            after: event.operation == .update ? event.fullDocument.map { Array($0.bytes) } : nil))
      } else if fetched.documents.open > 0 {
        try fetched.documents.answer(2)
        fetched.loop.run()
      } else {
        break
      }
    }
    #expect(
      try seen
        == Self.wanted(oplog.entries).filter {
          $0.position.entry >= start && !cut.contains($0.position.entry)
        })
  }

  @Test func `events before a damaged entry keep their documents`() throws {
    let oplog = RandomOplog(seed: 5, count: 60, changesDocuments: true)
    var entries = oplog.entries
    let place = oplog.positions[40]
    entries[40] =
      Value.document([
        .init("ts", .timestamp(place.seconds, place.increment)), .init("t", .int64(1)),
        .init("op", .int32(1)), .init("ns", .string("a.b")), .init("o", .document([])),
      ]).bson
    let fetched = Fetched(entries, [try Self.rule()]) { _ in 1000 }
    fetched.begin(at: oplog.positions[0])
    var seen: [Seen] = []
    #expect(throws: (any Error).self) {
      while true {
        if let event = try fetched.next() {
          seen.append(event)
        } else if fetched.documents.open > 0 {
          try fetched.documents.answer()
          fetched.loop.run()
        } else {
          break
        }
      }
    }
    #expect(seen == (try Self.wanted(Array(entries[..<40]))))
  }
}
