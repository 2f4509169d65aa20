import Foundation
import MongoSource
import Oplog
import Testing

/// Both readers over one workload, event by event.
///
/// `DIFFERENTIAL_SEEDS` (how many, or a list like `7,11`) and `DIFFERENTIAL_OPERATIONS` ask for
/// more. What must differ, and why, is said in docs/readers.md; `Difference` is that list as code.
@Suite(.serialized, .needsMongod())
struct ChangeStreamDifferentialTests {
  static let server = Task.detached { try await MongoLab.start(members: 1) }

  static let seeds: [UInt64] = {
    let text = ProcessInfo.processInfo.environment["DIFFERENTIAL_SEEDS"] ?? "2"
    if text.contains(",") { return text.split(separator: ",").compactMap { UInt64($0) } }
    return (0..<(UInt64(text) ?? 2)).map { $0 + 1 }
  }()

  static let operations =
    Int(
      ProcessInfo.processInfo.environment["DIFFERENTIAL_OPERATIONS"] ?? "2000") ?? 2000

  let lab: MongoLab
  let options: MongoSourceOptions
  let difference: Difference

  init() async throws {
    lab = try await Self.server.value
    options = MongoSourceOptions(uri: lab.uri)
    difference = Difference(version: try await MongoAdmin.identify(options).version)
  }

  @Test(arguments: seeds)
  func bothReadersSeeTheSame(_ seed: UInt64) async throws {
    let start = try await MongoAdmin.majorityPosition(options)
    let writer = try StreamWriter(lab.uri)
    // 4.4 has no implicit creation in its change streams, others put it into an entry of its own.
    var workload = Workload(writer, seed: seed, createsInTransactions: Self.createsInTransactions)
    await workload.run(operations: Self.operations)
    let end = "end\(UUID().uuidString.prefix(8))"
    try await MongoWriter(lab.uri).insert(0..<1, into: end)

    let stream = StreamTap(options)
    stream.restart(at: start)
    try await stream.take("the workload's end is read") { $0.inserted(end) == [0] }
    let last = try #require(stream.events.last?.position.entry)
    let oplog = difference.shown(
      try await OplogEvents.read(options, from: start, through: last), by: .cluster)
    Self.compare(stream.events, oplog, seed)
    let kinds = Dictionary(grouping: stream.events, by: \.operation).mapValues(\.count)
    print(
      "seed \(seed): \(stream.events.count) events equal (\(Self.list(kinds))); "
        + "commands: \(Self.list(workload.counts)), \(workload.refused) refused")
    #expect(kinds.count >= (difference.expandedEvents ? 11 : 7))

    try await compareParts(stream, oplog, workload.databases[0], start, seed)
    try await compareRestarts(stream, seed)
    stream.reader.stop()
  }

  private static let createsInTransactions =
    ProcessInfo.processInfo.environment["DIFFERENTIAL_CREATES"] != nil

  /// One database, by filter and by its own stream: the same events at the same positions.
  private func compareParts(
    _ stream: StreamTap, _ oplog: [ObservedEvent], _ database: String, _ start: ResumePoint,
    _ seed: UInt64
  ) async throws {
    let marker = "marker\(UUID().uuidString.prefix(8))"
    try await StreamWriter(lab.uri).run(
      [("insert", .string(marker)), ("documents", [["_id": 1]])], database: database)
    let expected = oplog.filter { $0.database == database }
    for scope in [
      ChangeStreamOptions.Scope.databases([database, "elsewhere"]), .database(database),
    ] {
      let part = StreamTap(options, scope)
      part.restart(at: start)
      try await part.take("the marker is read") { part in
        part.events.last?.namespace == "\(database).\(marker)"
      }
      Self.compare(Array(part.events.prefix(expected.count)), expected, seed)
      #expect(part.reader.status.reopens == 0)
      part.reader.stop()
    }
  }

  /// From any event's position, with and without a token, the same events come again.
  private func compareRestarts(_ stream: StreamTap, _ seed: UInt64) async throws {
    let events = stream.events
    let places = stream.places
    var random = WorkloadRandom(seed: seed)
    let end = try #require(events.last)
    for round in 0..<10 {
      // The middle of a transaction, if there is one after this place.
      let some = random.below(events.count)
      let at = events[some...].firstIndex { $0.position.index > 0 } ?? some
      let entry = events[at].position.entry
      let first = try #require(events.firstIndex { $0.position.entry == entry })
      let place = places.last { ($0.token.position ?? entry) < entry }
      stream.restart(
        at: ResumePoint(position: entry), after: round % 2 == 0 ? place?.token : nil)
      try await stream.take("the end comes again") { $0.events.last == end }
      Self.compare(stream.events, Array(events[first...]), seed)
    }
  }

  private static func list(_ counts: [some Any: Int]) -> String {
    counts.map { "\($0.key) \($0.value)" }.sorted().joined(separator: ", ")
  }

  /// The first difference says most.
  static func compare(
    _ stream: [ObservedEvent], _ oplog: [ObservedEvent], _ seed: UInt64,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    for (index, (a, b)) in zip(stream, oplog).enumerated() where a != b {
      Issue.record(
        "seed \(seed), event \(index) differs:\n stream: \(a)\n  oplog: \(b)",
        sourceLocation: sourceLocation)
      return
    }
    guard stream.count != oplog.count else { return }
    let common = min(stream.count, oplog.count)
    let longer = stream.count > oplog.count ? stream : oplog
    Issue.record(
      "seed \(seed): the stream has \(stream.count) events, the oplog \(oplog.count); first: \(longer[common])",
      sourceLocation: sourceLocation)
  }
}

/// What a change stream doesn't tell, by the server's version.
struct Difference {
  let expandedEvents: Bool

  init(version: String) {
    expandedEvents = (version.split(separator: ".").first.flatMap { Int($0) } ?? 0) >= 6
  }

  /// The oplog's events as a change stream shows them.
  func shown(_ events: [ObservedEvent], by scope: ChangeStreamOptions.Scope) -> [ObservedEvent] {
    if expandedEvents { return events }
    var shown: [ObservedEvent] = []
    for (index, event) in events.enumerated() {
      switch event.operation {
      case .create, .createIndexes, .dropIndexes, .modify: continue
      // Of a view: only collections have UUIDs.
      case .drop where event.collectionUUID == nil: continue
      // Of a rename's target.
      case .drop where Self.isReplaced(event, by: events[(index + 1)...].first): continue
      default: break
      }
      var event = event
      event.wallTime = nil
      event.collectionUUID = nil
      if event.operation == .rename { event.position.index = 0 }
      shown.append(event)
    }
    return shown
  }

  private static func isReplaced(_ drop: ObservedEvent, by next: ObservedEvent?) -> Bool {
    guard let next else { return false }
    return next.operation == .rename && next.position.entry == drop.position.entry
  }
}
