import Foundation
import MongoSource
import Oplog
import Testing

/// With one undisturbed mongod.
@Suite(.needsMongod())
struct ReadingTests {
  let lab: MongoLab
  let writer: MongoWriter
  let options: MongoSourceOptions

  init() async throws {
    lab = try await MongoLab.shared.value
    writer = try MongoWriter(lab.uri)
    options = MongoSourceOptions(uri: lab.uri)
  }

  /// Not yet used by another test of this run.
  func collection() -> String { "c\(UUID().uuidString.prefix(8))" }

  @Test func entriesComeInOrderWithExactPositions() async throws {
    let name = collection()
    let start = try await majorityPosition(options)
    try await writer.insert(0..<250, into: name)
    try await writer.command(
      #"{"update":"\#(name)","updates":[{"q":{"_id":7},"u":{"$set":{"text":"new"}}}],"#
        + #""writeConcern":{"w":"majority"}}"#)
    try await writer.command(
      #"{"delete":"\#(name)","deletes":[{"q":{"_id":8},"limit":1}],"#
        + #""writeConcern":{"w":"majority"}}"#)

    let tap = Tap(lab.uri)
    tap.restart(at: start)
    try await tap.take("the delete is read") { tap in
      tap.entries.contains { $0.operation == "d" && $0.namespace == "test.\(name)" }
    }
    #expect(tap.entries.first?.point == start)
    #expect(tap.inserted(name) == Array(0..<250))
    let operations = tap.entries.filter { $0.namespace == "test.\(name)" }.map(\.operation)
    #expect(operations.suffix(2) == ["u", "d"])
    let truth = try await writer.oplog(from: start.position.seconds, start.position.increment)
    #expect(Array(truth.prefix(tap.entries.count)) == tap.entries.map(\.position))
    let status = tap.reader.status
    #expect(status.host == "127.0.0.1:\(lab.members[0].port)")
    #expect(status.entriesRead >= 252)
    #expect(status.lastRead?.position ?? start.position >= tap.entries[251].point.position)
    tap.reader.stop()
    #expect(tap.reader.status.phase == .stopped)
  }

  @Test func newEntriesFollowWhileItIsCaughtUp() async throws {
    let name = collection()
    let tap = Tap(lab.uri)
    tap.restart(at: try await majorityPosition(options))
    try await tap.take("it has caught up") { $0.reader.status.phase == .caughtUp }
    for n in 0..<20 {
      try await writer.insert(n..<n + 1, into: name)
      try await tap.take("document \(n) is read") { $0.inserted(name).last == n }
    }
    #expect(tap.inserted(name) == Array(0..<20))
    #expect(tap.changes.count > 0)
    tap.reader.stop()
  }

  @Test func localReadsWorkTheSame() async throws {
    let name = collection()
    var options = options
    options.readConcernMajority = false
    let start = try await majorityPosition(options)
    let tap = Tap(options)
    tap.restart(at: start)
    try await writer.insert(0..<10, into: name, majority: false)
    try await tap.take("all is read") { $0.inserted(name).count == 10 }
    #expect(tap.entries.first?.point == start)
    tap.reader.stop()
  }

  @Test func aRestartGivesANewGenerationFromThereOn() async throws {
    let name = collection()
    let start = try await majorityPosition(options)
    try await writer.insert(0..<3000, into: name)
    let tap = Tap(lab.uri)
    tap.restart(at: start)
    let first = tap.generation
    try await tap.take("all is read") { $0.inserted(name).count == 3000 }
    let middle = try #require(
      tap.entries.first { $0.namespace == "test.\(name)" && $0.number == 1234 })

    // Again from an entry in the middle: it comes first, then the rest.
    tap.restart(at: middle.point)
    #expect(tap.generation == first + 1)
    try await tap.take("the rest is read") { $0.inserted(name).last == 2999 }
    #expect(tap.entries.first == middle)
    #expect(tap.inserted(name) == Array(1234..<3000))

    // The term may be unknown.
    tap.restart(at: ResumePoint(position: middle.point.position))
    try await tap.take("the rest is read") { $0.inserted(name).last == 2999 }
    #expect(tap.inserted(name) == Array(1234..<3000))
    tap.reader.stop()
  }

  @Test func whatIsQueuedIsForgottenByARestart() async throws {
    let name = collection()
    let start = try await majorityPosition(options)
    try await writer.insert(0..<2000, into: name)
    let tap = Tap(lab.uri)
    tap.restart(at: start)
    try await tap.wait("batches are queued") { $0.queuedBatches > 0 }
    for _ in 0..<5 { tap.restart(at: start) }
    // `take` requires the new generation of every batch.
    try await tap.take("all is read") { $0.inserted(name).count == 2000 }
    #expect(tap.entries.first?.point == start)
    #expect(tap.inserted(name) == Array(0..<2000))
    tap.reader.stop()
  }

  @Test func aConsumerThatTakesNothingHoldsTheReaderUp() async throws {
    let name = collection()
    let start = try await majorityPosition(options)
    for n in 0..<10 {
      try await writer.insert(n * 1000..<(n + 1) * 1000, into: name, filler: 2000)
    }
    var options = options
    options.queuedBatches = 3
    options.queuedBytes = 3 << 20
    let tap = Tap(options)
    tap.restart(at: start)
    try await tap.wait("the queue is full") { $0.queuedBytes > 0 && $0.queuedBatches >= 1 }
    // 20 MB are available at the server. Give the reader time to queue too much.
    for _ in 0..<100 {
      let status = tap.reader.status
      #expect(status.queuedBatches <= 3)
      #expect(status.queuedBatches == 1 || status.queuedBytes <= 3 << 20)
      try await Task.sleep(for: .milliseconds(5))
    }
    #expect(tap.reader.status.entriesRead < 5000)
    try await tap.take("all is read") { $0.inserted(name).count == 10_000 }
    #expect(tap.inserted(name) == Array(0..<10_000))
    tap.reader.stop()
  }

  @Test func aReaderThatIsHeldUpCanBeStopped() async throws {
    let name = collection()
    let start = try await majorityPosition(options)
    try await writer.insert(0..<5000, into: name, filler: 500)
    var options = options
    options.queuedBatches = 1
    let tap = Tap(options)
    tap.restart(at: start)
    try await tap.wait("the queue is full") { $0.queuedBatches == 1 }
    tap.reader.stop()
    #expect(tap.reader.status.phase == .stopped)
    // And it doesn't start again.
    tap.reader.restart(at: start)
    #expect(tap.reader.status.phase == .stopped)
    #expect(tap.reader.next() == nil)
  }

  // MARK: Missing positions

  @Test func aPositionOlderThanTheOplogIsLost() async throws {
    let tap = Tap(lab.uri)
    let early = ResumePoint(position: OplogPosition(seconds: 1_000_000, increment: 1), term: 1)
    tap.restart(at: early)
    let lost = try await positionLost(tap)
    #expect(lost.reason == .rolledOver)
    #expect(lost.expected == early)
    let oldest = try await MongoAdmin.oldestPosition(options)
    #expect(lost.oldest == oldest)
    #expect(lost.found == oldest)
    #expect(lost.newest?.position ?? oldest.position > oldest.position)
    #expect(tap.reader.next() == nil)
    tap.reader.stop()
  }

  @Test func aPositionThatIsAbsentWithinTheOplogIsLost() async throws {
    let name = collection()
    let start = try await majorityPosition(options)
    // No second has that many entries here.
    let absent = ResumePoint(
      position: OplogPosition(seconds: start.position.seconds, increment: 4_000_000_000))
    try await eventually("an entry of a later second") {
      try await writer.command(
        #"{"insert":"\#(name)","documents":[{}],"writeConcern":{"w":"majority"}}"#)
      return try await majorityPosition(options).position > absent.position
    }
    let tap = Tap(lab.uri)
    tap.restart(at: absent)
    let lost = try await positionLost(tap)
    #expect(lost.reason == .rolledBack)
    #expect(lost.expected == absent)
    #expect((lost.found?.position).map { $0 > absent.position } == true)

    // Reading continues after a restart at another position.
    tap.restart(at: start)
    #expect(tap.reader.failure == nil)
    try await tap.take("reading continues") { !$0.entries.isEmpty }
    #expect(tap.entries.first?.point == start)
    tap.reader.stop()
  }

  @Test func anEntryOfAnotherTermIsAnother() async throws {
    var start = try await majorityPosition(options)
    let real = start
    start.term = (start.term ?? 0) + 1
    let tap = Tap(lab.uri)
    tap.restart(at: start)
    let lost = try await positionLost(tap)
    #expect(lost.reason == .rolledBack)
    #expect(lost.found == real)
    tap.reader.stop()
  }

  @Test func aPositionTheServerHasNotReachedIsWaitedFor() async throws {
    let now = try await majorityPosition(options)
    let future = OplogPosition(seconds: now.position.seconds + 86_400, increment: 1)
    let tap = Tap(lab.uri)
    tap.restart(at: ResumePoint(position: future))
    try await tap.wait("it waits") { $0.phase == .waiting(for: future) }
    try await writer.insert(0..<10, into: collection())
    try await Task.sleep(for: .milliseconds(300))
    #expect(tap.reader.failure == nil)
    #expect(tap.reader.status.phase == .waiting(for: future))
    tap.reader.stop()
  }

  private func positionLost(_ tap: Tap) async throws -> PositionLost {
    try await tap.wait("reading has failed") { $0.phase == .failed }
    guard case .positionLost(let lost) = tap.reader.failure else {
      Issue.record("not a lost position: \(String(describing: tap.reader.failure))")
      throw CancellationError()
    }
    return lost
  }

  // MARK: One-off queries and the monitor

  @Test func theServerIsIdentified() async throws {
    let identity = try await MongoAdmin.identify(options)
    #expect(identity.setName == "rs0")
    #expect(identity.version.split(separator: ".").count == 3)
    if let chosen = MongoProgram.chosen { #expect(identity.version == chosen) }
    #expect(identity.host == "127.0.0.1:\(lab.members[0].port)")
  }

  @Test func positionsAreOfEntriesThatExist() async throws {
    let oldest = try await MongoAdmin.oldestPosition(options)
    let newest = try await majorityPosition(options)
    #expect(oldest.position < newest.position)
    #expect(try await MongoAdmin.entry(options, at: newest.position) == newest)
    #expect(try await MongoAdmin.entryExists(options, at: oldest.position))
    let absent = OplogPosition(seconds: oldest.position.seconds - 1, increment: 1)
    #expect(try await !MongoAdmin.entryExists(options, at: absent))
  }

  @Test func theMonitorFollowsTheServer() async throws {
    let monitor = MongoMonitor(
      options: options, interval: .milliseconds(20), logger: silentLogger)
    #expect(!monitor.snapshot.reachable)
    monitor.start()
    try await eventually("a first poll") { monitor.snapshot.reachable }
    let before = monitor.snapshot
    #expect(before.setName == "rs0")
    #expect(before.error == nil)
    #expect(before.at != nil)
    #expect(before.oldestWallTime.map { $0 > 1_500_000_000_000 } == true)
    try await writer.insert(0..<1, into: collection())
    let written = try await majorityPosition(options)
    try await eventually("the monitor sees the write") {
      (monitor.snapshot.majority?.position).map { $0 >= written.position } ?? false
    }
    let after = monitor.snapshot
    #expect(after.lastWrite?.position ?? written.position >= written.position)
    #expect(after.oldest == before.oldest)
    monitor.stop()
    let stopped = monitor.snapshot.at
    try await Task.sleep(for: .milliseconds(100))
    #expect(monitor.snapshot.at == stopped)
  }

  // MARK: Unsupported configurations

  @Test func wrongCredentialsAreToldWithoutThePassword() async throws {
    let wrong = MongoSourceOptions(
      uri: "mongodb://nobody:hunter2secret@127.0.0.1:\(lab.members[0].port)/?replicaSet=rs0")
    let tap = Tap(wrong)
    tap.restart(at: try await majorityPosition(options))
    try await tap.wait("it says so") { $0.lastError?.domain == .authentication }
    let status = tap.reader.status
    #expect(status.lastError?.isTransient == false)
    #expect(!"\(status)".contains("hunter2"))
    #expect(tap.reader.failure == nil, "a password can be put right while it runs")
    tap.reader.stop()

    await #expect(throws: MongoError.self) { try await MongoAdmin.majorityPosition(wrong) }
    do {
      _ = try await MongoAdmin.identify(wrong)
    } catch {
      #expect(error.domain == .authentication)
      #expect(!error.description.contains("hunter2"))
    }
  }

  @Test func anImpossibleConnectionStringEndsReading() async throws {
    let tap = Tap("mongodb://app:hunter2secret@127.0.0.1:1/?tls=perhaps&directConnection=what")
    tap.restart(at: try await majorityPosition(options))
    try await tap.wait("reading has failed") { $0.phase == .failed || $0.lastError != nil }
    #expect(!"\(tap.reader.status) \(String(describing: tap.reader.failure))".contains("hunter2"))
    tap.reader.stop()
  }
}
