import MongoSource
import Oplog
import Testing

/// Servers that can't be tailed, or can't be yet.
@Suite(.needsMongod())
struct UnsupportedServerTests {
  let anywhere = ResumePoint(position: OplogPosition(seconds: 1_600_000_000, increment: 1))

  @Test func aServerOutsideOfAReplicaSetHasNoOplog() async throws {
    let mongod = try await LoneMongod.start()
    defer { mongod.stop() }
    let tap = Tap(mongod.uri)
    tap.restart(at: anywhere)
    try await tap.wait("reading has failed") { $0.phase == .failed }
    guard case .unsupported(let why) = tap.reader.failure else {
      Issue.record("not told: \(String(describing: tap.reader.failure))")
      return
    }
    #expect(why.contains("--replSet"))
    tap.reader.stop()
    do {
      _ = try await MongoAdmin.identify(MongoSourceOptions(uri: mongod.uri))
      Issue.record("a server without a set has no name of one")
    } catch {
      #expect(error.message.contains("--replSet"))
      #expect(!error.isTransient)
    }
  }

  @Test func aSetThatIsNotInitiatedYetIsWaitedFor() async throws {
    let mongod = try await LoneMongod.start(["--replSet", "late"])
    defer { mongod.stop() }
    let options = MongoSourceOptions(uri: mongod.uri + "?directConnection=true")
    let tap = Tap(options)
    tap.restart(at: anywhere)
    try await tap.wait("it says what is missing") { status in
      status.lastError?.message.contains("rs.initiate()") == true
    }
    #expect(tap.reader.failure == nil)
    let writer = try MongoWriter(options.uri)
    try await writer.command(
      mongod.initiate("late"), database: "admin")
    // Now there is an oplog, and the made-up position isn't in it.
    try await tap.wait("reading has failed") { $0.phase == .failed }
    guard case .positionLost(let lost) = tap.reader.failure else {
      Issue.record("not a lost position: \(String(describing: tap.reader.failure))")
      return
    }
    #expect(lost.reason == .rolledOver)
    tap.restart(at: try await MongoAdmin.oldestPosition(options))
    try await tap.take("it reads") { !$0.entries.isEmpty }
    tap.reader.stop()
  }

  /// Only servers up to 4.4 can disable majority reads.
  @Test(.needsMongod("4.4.2")) func withoutMajorityReadsNothingIsRead() async throws {
    let mongod = try await LoneMongod.start(
      ["--replSet", "old", "--enableMajorityReadConcern", "false"], version: "4.4.2")
    defer { mongod.stop() }
    let options = MongoSourceOptions(uri: mongod.uri + "?directConnection=true")
    try await eventually("the set is initiated") {
      (try? await MongoWriter(options.uri).command(
        mongod.initiate("old"), database: "admin")) != nil
    }
    let tap = Tap(options)
    tap.restart(at: anywhere)
    try await tap.wait("reading has failed") { $0.phase == .failed }
    guard case .unsupported(let why) = tap.reader.failure else {
      Issue.record("not told: \(String(describing: tap.reader.failure))")
      return
    }
    #expect(why.contains("enableMajorityReadConcern"))

    // Local reads work there.
    var local = options
    local.readConcernMajority = false
    let localTap = Tap(local)
    localTap.restart(at: try await MongoAdmin.oldestPosition(local))
    try await localTap.take("it reads") { !$0.entries.isEmpty }
    localTap.reader.stop()
    tap.reader.stop()
  }
}
