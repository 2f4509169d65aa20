import Foundation
import MongoSource
import Oplog
import Testing

/// One mongod that is killed, stopped and interrupted while its change stream is read.
@Suite(.serialized, .needsMongod())
struct ChangeStreamFaultTests {
  static let server = Task.detached { try await MongoLab.start(members: 1) }

  let lab: MongoLab
  let options: MongoSourceOptions
  let name = "c\(UUID().uuidString.prefix(8))"

  init() async throws {
    lab = try await Self.server.value
    options = MongoSourceOptions(uri: lab.uri)
  }

  @Test(arguments: [MongoLab.Signal.kill, .terminate])
  func theServerIsKilledAndComesBack(signal: MongoLab.Signal) async throws {
    let start = try await majorityPosition(options)
    let tap = StreamTap(options)
    tap.restart(at: start)
    let load = Load(lab.uri, into: name)
    load.start()
    try await tap.take("it reads") { $0.inserted(name).count >= 100 }

    try await lab.kill(0, signal)
    try await tap.take("the loss is noticed") { $0.attempt >= 1 }
    try await lab.start()
    try await lab.waitUntilUsable()
    let returned = load.count
    let back = ContinuousClock.now
    try await tap.take("it reads on") { $0.inserted(name).count >= returned + 100 }
    print("SIG\(signal.rawValue): the stream is read on within \(ContinuousClock.now - back)")

    try await tap.expectAll(of: load, into: name, from: start, options)
    #expect(tap.reader.status.reopens >= 1)
    #expect(tap.reader.failure == nil)
    tap.reader.stop()
  }

  @Test func theServerIsNotThereAtFirst() async throws {
    let start = try await majorityPosition(options)
    try await MongoWriter(lab.uri).insert(0..<10, into: name)
    try await lab.kill(0, .terminate)
    let tap = StreamTap(options)
    tap.restart(at: start)
    try await tap.take("it says so and keeps trying") { $0.attempt >= 3 }
    #expect(!tap.reader.status.isConnected)
    #expect(tap.reader.status.lastError?.domain == .selection)
    #expect(tap.reader.failure == nil)
    try await lab.start()
    try await lab.waitUntilUsable()
    try await tap.take("it reads") { $0.inserted(name).count == 10 }
    tap.reader.stop()
  }

  @Test func theCursorIsKilled() async throws {
    let start = try await majorityPosition(options)
    let tap = StreamTap(options)
    tap.restart(at: start)
    let load = Load(lab.uri, into: name)
    load.start()
    for round in 1...5 {
      try await tap.take("it reads") { $0.inserted(name).count >= round * 50 }
      _ = try? await MongoWriter(lab.uri).command(#"{"killAllSessions":[]}"#, database: "admin")
      try await tap.take("it is interrupted and reads on") { tap in
        tap.reader.status.reopens >= round && tap.inserted(name).count >= round * 50 + 20
      }
    }
    try await tap.expectAll(of: load, into: name, from: start, options)
    tap.reader.stop()
  }

  /// Batches of two, so that cursors end in the middle of transactions.
  @Test func aCursorThatEndsWithinATransactionIsGoneOnWithThere() async throws {
    let start = try await majorityPosition(options)
    var options = options
    options.batchSize = 7
    options.queuedBatches = 1
    let tap = StreamTap(options)
    tap.restart(at: start)
    let writer = try StreamWriter(lab.uri)
    // Collections can't always be created within a transaction.
    try await writer.run([("create", .string(name))], database: "test")
    for number in 0..<20 {
      try await writer.transaction(
        (0..<50).map { n in
          let id = Value.int32(Int32(number * 50 + n))
          return ([("insert", .string(name)), ("documents", [["_id": id]])], "test")
        })
    }
    for round in 1...9 {
      try await tap.take("it reads") { $0.inserted(name).count >= round * 100 }
      _ = try? await MongoWriter(lab.uri).command(#"{"killAllSessions":[]}"#, database: "admin")
    }
    try await tap.take("all is read") { $0.inserted(name).count >= 1000 }
    let inserts = tap.events.filter { $0.namespace == "test.\(name)" && $0.operation == .insert }
    #expect(inserts.compactMap(\.number) == Array(0..<1000))
    #expect(inserts.map(\.position.index) == (0..<1000).map { UInt32($0 % 50) })
    #expect(tap.reader.status.reopens >= 1)
    tap.reader.stop()
  }

  @Test func aServerThatStandsStillCountsAsGone() async throws {
    let start = try await majorityPosition(options)
    var options = options
    options.replyTimeout = .milliseconds(500)
    options.connectTimeout = .milliseconds(500)
    let tap = StreamTap(options)
    tap.restart(at: start)
    let load = Load(lab.uri, into: name)
    load.start()
    try await tap.take("it reads") { $0.inserted(name).count >= 20 }
    let pid = try await lab.pid()
    kill(pid, SIGSTOP)
    defer { kill(pid, SIGCONT) }
    try await tap.take("the silence is noticed") { $0.attempt >= 2 }
    let before = load.count
    kill(pid, SIGCONT)
    try await tap.take("it reads on") { $0.inserted(name).count >= before + 20 }
    try await tap.expectAll(of: load, into: name, from: start, self.options)
    tap.reader.stop()
  }

  /// A stream without matches scans the whole oplog before the server answers.
  @Test func aServerThatTakesLongToFindSomethingGetsTheTime() async throws {
    let start = try await majorityPosition(options)
    let writer = try MongoWriter(lab.uri)
    for n in stride(from: 0, to: 100_000, by: 2000) {
      try await writer.insert(n..<n + 2000, into: name)
    }
    let database = "rare\(UUID().uuidString.prefix(8))"
    try await StreamWriter(lab.uri).run(
      [("insert", "c"), ("documents", [["_id": 1]])], database: database)
    var options = options
    options.awaitTime = .milliseconds(1)
    options.replyTimeout = .milliseconds(9)
    let tap = StreamTap(options, .databases([database]))
    tap.restart(at: start)
    try await tap.take("it is found") { $0.events.contains { $0.operation == .insert } }
    #expect(tap.reader.status.reopens > 0)
    tap.reader.stop()
  }
}
