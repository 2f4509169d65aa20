import Bridge
import BridgeConfiguration
import MongoSource
import Oplog
import Testing

private func origin(_ seconds: UInt32, inclusive: Bool = false) -> Checkpoint.Origin {
  Checkpoint.Origin(position: entry(seconds), inclusive: inclusive)
}

private func stream(_ name: String, _ mark: StreamMark?, tail: UInt32? = nil) -> StreamObservation {
  var stream = StreamObservation(
    name: name, created: "c1", firstSequence: tail == nil ? 0 : 1,
    lastSequence: tail == nil ? 0 : 1, exclusive: name != "Q", isDeadLetter: name == "Q",
    tail: tail.map {
      StreamObservation.Own(
        sequence: 1, position: EventPosition(entry: entry($0), index: 0), rule: "r", id: "id")
    })
  stream.mark = mark
  return stream
}

/// Decides without a checkpoint, in an oplog of entries 100 to 900. What it has to ask is recorded.
private func decide(
  _ streams: [StreamObservation], start: RunOptions.Start = .now, closesGaps: Bool = false,
  _ change: (inout RunOptions) -> Void = { _ in }
) throws -> (decision: Result<EpochDecision, BridgeError>, asked: [EpochQuestion]) {
  var options = RunOptions()
  change(&options)
  var settings = EpochMachine.Settings(options: options, start: start)
  settings.snapshotsOnLoss = closesGaps
  let situation = EpochSituation(checkpoint: nil, streams: streams)
  var facts = EpochFacts()
  var asked: [EpochQuestion] = []
  while true {
    do {
      return (.success(try EpochMachine(settings).decide(situation, facts)), asked)
    } catch Undecided.refused(let why) {
      return (.failure(why), asked)
    } catch Undecided.asks(let question) {
      asked.append(question)
      switch question {
      case .newestEntry: facts[question] = .entry(.init(position: entry(900), term: 1))
      case .oldestEntry: facts[question] = .entry(.init(position: entry(100), term: 1))
      case .firstEntry(let position): facts[question] = .entry(.init(position: position, term: 1))
      case .unnamedTrace: facts[question] = .reason(nil)
      default:
        Issue.record("nobody should ask \(question)")
        throw Undecided.asks(question)
      }
    }
  }
}

private func plan(
  _ streams: [StreamObservation], start: RunOptions.Start = .now
) throws -> ResumePlan {
  guard case .tail(let plan) = try decide(streams, start: start).decision.get().mode else {
    throw BridgeError.halted("a snapshot begins")
  }
  return plan
}

private func place(_ seconds: UInt32, _ index: UInt32) -> EventPosition {
  EventPosition(entry: entry(seconds), index: index)
}

@Suite struct UnusedStreamTests {
  @Test(arguments: [RunOptions.Start.now, .oldest, .at(entry(700)), .snapshot])
  func `a checkpoint that was lost before anything was published is no first start`(
    start: RunOptions.Start
  ) throws {
    let unused = StreamMark.unused(origin(300))
    let (result, asked) = try decide([stream("A", unused), stream("Q", unused)], start: start)
    guard case .tail(let plan) = try result.get().mode else {
      Issue.record("a snapshot begins")
      return
    }
    #expect(!plan.isFresh && plan.start == entry(300) && plan.floor == entry(300))
    #expect(plan.origin == origin(300))
    // Nothing can have been published by other rules.
    #expect(plan.foundAgainAt == nil)
    #expect(plan.losses.isEmpty && plan.refilling.isEmpty && plan.watermarks.isEmpty)
    // Whether the oplog still has that very entry is the reader's to say.
    #expect(asked.isEmpty && !plan.startsAtMoment)
  }

  @Test func `each stream gets what came since its own beginning`() throws {
    // B came with a rule of its own when the bridge was started again.
    let found = try plan([
      stream("A", .unused(origin(300))), stream("B", .unused(origin(500, inclusive: true))),
      stream("Q", .unused(origin(300))),
    ])
    #expect(found.start == entry(300) && found.origin == origin(300))
    #expect(found.floors["A"] == place(300, .max) && found.floors["B"] == place(500, 0))
    // Of two at one entry, the one that has the entry itself.
    let same = try plan([
      stream("A", .unused(origin(300))), stream("B", .unused(origin(300, inclusive: true))),
    ])
    #expect(same.origin == origin(300, inclusive: true))
    #expect(same.floors["A"] == place(300, .max) && same.floors["B"] == place(300, 0))
  }

  @Test func `an exclusive stream that holds nothing but what others published is filled`() throws {
    for mark in [StreamMark.used(from: entry(200), inclusive: false), nil] {
      var lost = stream("A", mark)
      (lost.firstSequence, lost.lastSequence, lost.messages) = (1, 3, 3)
      let other = stream("B", .used(from: entry(200), inclusive: false), tail: 500)
      let found = try plan([lost, other], start: .oldest)
      #expect(found.refilling["A"] == place(500, 0) && found.watermarks["A"] == nil)
      // What is gone may have been the bridge's.
      lost.messages = 2
      #expect(throws: BridgeError.self) { try plan([lost, other], start: .oldest) }
    }
  }

  @Test func `marks that don't say where it began leave it to the configuration`() throws {
    let old = [stream("A", .unused(nil)), stream("Q", .unused(nil))]
    #expect(try plan(old).isFresh && plan(old).start == entry(900))
    #expect(try plan(old, start: .oldest).start == entry(100))
    // One that does is enough: nothing was published since.
    let mixed = try plan([stream("A", .unused(nil)), stream("Q", .unused(origin(300)))])
    #expect(!mixed.isFresh && mixed.start == entry(300) && mixed.floors["A"] == nil)
  }

  @Test func `beside an unused stream, an empty one of unknown past is no first start`() throws {
    let streams = [stream("A", nil), stream("Q", .unused(origin(300)))]
    guard case .failure(let why) = try decide(streams).decision else {
      Issue.record("it may have lost everything")
      return
    }
    #expect(why.exitCode == 75 && "\(why)".contains("stream A") && "\(why)".contains("300.1"))
    // The configuration wants all there is.
    let refilled = try plan(streams, start: .oldest)
    #expect(refilled.start == entry(100) && refilled.refilling["A"] != nil)
    #expect(refilled.floors["Q"] == place(300, .max))
  }

  @Test func `a stream that lost all is refilled, and an unused one gets what is new`() throws {
    let lost = stream("A", .used(from: entry(400), inclusive: false))
    let later = try plan([lost, stream("B", .unused(origin(600, inclusive: true)))])
    #expect(later.start == entry(400) && later.refilling["A"] == place(900, .max))
    #expect(later.floors["B"] == place(600, 0) && later.refilling["B"] == nil)
    let earlier = try plan([lost, stream("B", .unused(origin(200)))])
    #expect(earlier.start == entry(200) && earlier.origin == origin(200))
    #expect(earlier.floors["A"] == place(400, .max) && earlier.floors["B"] == place(200, .max))
  }

  @Test func `messages elsewhere say more than a mark, unless that is newer`() throws {
    let tail = stream("A", .used(from: entry(200), inclusive: false), tail: 500)
    let older = try plan([tail, stream("B", .unused(origin(300)))])
    #expect(older.start == entry(500) && older.floors["B"] == place(500, 0))
    let newer = try plan([tail, stream("B", .unused(origin(700, inclusive: true)))])
    #expect(newer.start == entry(500) && newer.floors["B"] == place(700, 0))
  }

  @Test func `a snapshot that had begun is not forgotten`() throws {
    let streams = [stream("A", .unused(.snapshot)), stream("Q", .unused(.snapshot))]
    for start in [RunOptions.Start.now, .oldest] {
      guard case .failure(let why) = try decide(streams, start: start).decision else {
        Issue.record("its documents would never be published")
        continue
      }
      #expect(why.exitCode == 75 && "\(why)".contains("tailrace snapshot"))
    }
    let others: [Result<EpochDecision, BridgeError>] = [
      try decide(streams, start: .snapshot).decision,
      try decide(streams, closesGaps: true).decision,
      try decide(streams) { $0.snapshot = true }.decision,
    ]
    for other in others {
      guard case .snapshot(let plan) = try other.get().mode else {
        Issue.record("\(other)")
        continue
      }
      #expect(plan.snapshot.position == entry(900))
    }
  }

  @Test func `from is no way around it, unless it is forced`() throws {
    let streams = [stream("A", .unused(origin(300)))]
    guard case .failure(let why) = try decide(streams, { $0.from = .now }).decision else {
      Issue.record("what came since would be left out")
      return
    }
    #expect(why.exitCode == 78 && "\(why)".contains("--force"))
    let forced = try decide(streams) {
      $0.from = .now
      $0.force = true
    }
    guard case .tail(let plan) = try forced.decision.get().mode else { return }
    #expect(plan.isFresh && plan.start == entry(900))
  }
}

@Suite struct StreamMarkTests {
  private static let marks: [StreamMark] = [
    .unused(nil), .unused(.snapshot), .unused(origin(5)), .unused(origin(5, inclusive: true)),
    .snapshot, .used(from: entry(5), inclusive: true), .used(from: entry(5), inclusive: false),
  ]

  @Test func `marks are read as they were written`() {
    for mark in Self.marks { #expect(StreamMark("\(mark)") == mark) }
    #expect(StreamMark("unused") == .unused(nil))
    #expect(StreamMark("unused after 5.1") == .unused(origin(5)))
    for text in [
      "", " ", "unused ", "unused 5.1", "unused after", "unused after x", "unused before 5.1",
      "unused from 5.1 6.1", "unused snapshot 5.1", "snapshot 5.1", " unused", "from  5.1",
    ] {
      #expect(StreamMark(text) == nil, "\(text)")
    }
  }

  @Test func `a mark is replaced by what says more`() {
    func used(_ seconds: UInt32) -> StreamMark { .used(from: entry(seconds), inclusive: false) }
    func unused(_ seconds: UInt32) -> StreamMark { .unused(origin(seconds)) }
    let all: [StreamMark.Occasion] = [.decided, .settled, .repeated]
    for mark in Self.marks {
      for occasion in all {
        #expect(mark.replacing(nil, occasion) == mark)
        #expect(mark.replacing(mark, occasion) == nil)
      }
    }
    // Where a bridge begins is decided again; what is settled moves on; a reconnect costs no write.
    #expect(unused(3).replacing(unused(5), .decided) == unused(3))
    #expect(unused(7).replacing(unused(5), .decided) == unused(7))
    #expect(StreamMark.unused(nil).replacing(unused(5), .decided) == .unused(nil))
    #expect(unused(3).replacing(unused(5), .settled) == nil)
    #expect(unused(7).replacing(unused(5), .settled) == unused(7))
    #expect(unused(7).replacing(unused(5), .repeated) == nil)
    for occasion in all {
      #expect(unused(7).replacing(.unused(nil), occasion) == unused(7))
      #expect(unused(7).replacing(.unused(.snapshot), occasion) == unused(7))
      #expect(StreamMark.unused(.snapshot).replacing(unused(7), occasion) == .unused(.snapshot))
      // A stream that was used is never unused again.
      #expect(unused(7).replacing(used(5), occasion) == nil)
      #expect(unused(7).replacing(.snapshot, occasion) == nil)
      // What came before its beginning was never in it.
      #expect(used(3).replacing(unused(5), occasion) == used(5))
      #expect(used(7).replacing(unused(5), occasion) == used(7))
      #expect(used(3).replacing(.unused(nil), occasion) == used(3))
      #expect(used(3).replacing(used(5), occasion) == used(3))
      #expect(used(7).replacing(used(5), occasion) == nil)
      #expect(used(7).replacing(.snapshot, occasion) == nil)
      #expect(StreamMark.snapshot.replacing(used(7), occasion) == .snapshot)
    }
  }

  @Test func `a beginning is an entry that was there`() {
    typealias Beginning = StreamMark.Beginning
    #expect(Beginning(at: entry(5), of: origin(5)) == .position(origin(5)))
    #expect(Beginning(at: entry(7), of: origin(5)) == .position(origin(7, inclusive: true)))
    #expect(
      Beginning(at: entry(5), of: origin(5, inclusive: true))
        == .position(origin(5, inclusive: true)))
    // The bridge waits for a future position.
    #expect(Beginning(at: entry(5), of: origin(9, inclusive: true)) == nil)
  }

  @Test func `the mark of an unused stream keeps up with the oplog`() {
    let mark = StreamMark.unused(origin(1_000_000))
    #expect(!mark.isStale(at: entry(1_000_000)) && !mark.isStale(at: entry(999_000)))
    #expect(!mark.isStale(at: entry(1_003_599)) && mark.isStale(at: entry(1_003_600)))
    #expect(!StreamMark.used(from: entry(1), inclusive: true).isStale(at: entry(1_000_000)))
    #expect(!StreamMark.unused(nil).isStale(at: entry(1_000_000)))
  }
}
