import Foundation
import MongoSource
import Oplog
import Testing

/// One mongod that is killed, stopped and interrupted while its oplog is read.
@Suite(.serialized, .needsMongod())
struct FaultTests {
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
    let tap = Tap(options)
    tap.restart(at: start)
    let load = Load(lab.uri, into: name)
    load.start()
    try await tap.take("it reads") { $0.inserted(name).count >= 100 }

    try await lab.kill(0, signal)
    try await tap.take("the loss is noticed") { $0.attempt >= 1 }
    #expect(tap.reader.status.lastError?.isTransient == true)
    try await lab.start()
    try await lab.waitUntilUsable()
    let returned = load.count
    let back = ContinuousClock.now
    try await tap.take("it reads on") { $0.inserted(name).count >= returned + 100 }
    print("SIG\(signal.rawValue): read on within \(ContinuousClock.now - back)")

    try await tap.expectAll(of: load, into: name, from: start)
    #expect(tap.reader.status.reopens >= 1)
    #expect(tap.reader.failure == nil)
    tap.reader.stop()
  }

  @Test func theServerIsNotThereAtFirst() async throws {
    let start = try await majorityPosition(options)
    try await MongoWriter(lab.uri).insert(0..<10, into: name)
    try await lab.kill(0, .terminate)
    let tap = Tap(options)
    let monitor = MongoMonitor(options: options, interval: .milliseconds(50), logger: silentLogger)
    monitor.start()
    tap.restart(at: start)
    try await tap.take("it says so and keeps trying") { $0.attempt >= 3 }
    let status = tap.reader.status
    #expect(!status.isConnected)
    #expect(status.lastError?.domain == .selection)
    #expect(tap.reader.failure == nil)
    try await eventually("the monitor says so") { monitor.snapshot.error != nil }
    #expect(!monitor.snapshot.reachable)
    do {
      _ = try await MongoAdmin.majorityPosition(options)
      Issue.record("there is no server to answer")
    } catch {
      #expect(error.domain == .selection)
      #expect(error.isTransient)
    }

    try await lab.start()
    try await lab.waitUntilUsable()
    try await tap.take("it reads") { $0.inserted(name).count == 10 }
    #expect(tap.entries.first?.point == start)
    try await eventually("the monitor sees it") { monitor.snapshot.reachable }
    #expect(monitor.snapshot.error == nil)
    tap.reader.stop()
    monitor.stop()
  }

  @Test func theCursorIsKilled() async throws {
    let start = try await majorityPosition(options)
    let tap = Tap(options)
    tap.restart(at: start)
    let load = Load(lab.uri, into: name)
    load.start()
    for round in 1...5 {
      try await tap.take("it reads") { $0.inserted(name).count >= round * 50 }
      // Ends all sessions with their cursors and operations, including the writer's.
      _ = try? await MongoWriter(lab.uri).command(#"{"killAllSessions":[]}"#, database: "admin")
      try await tap.take("it is interrupted and reads on") { tap in
        tap.reader.status.reopens >= round && tap.inserted(name).count >= round * 50 + 20
      }
    }
    try await tap.expectAll(of: load, into: name, from: start)
    tap.reader.stop()
  }

  @Test func aServerThatStandsStillCountsAsGone() async throws {
    let start = try await majorityPosition(options)
    var options = options
    options.replyTimeout = .milliseconds(500)
    options.connectTimeout = .milliseconds(500)
    let tap = Tap(options)
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
    try await tap.expectAll(of: load, into: name, from: start)
    tap.reader.stop()
  }

  @Test func stopReturnsThoughTheServerStandsStill() async throws {
    let start = try await majorityPosition(options)
    var options = options
    options.replyTimeout = .seconds(600)
    let tap = Tap(options)
    let monitor = MongoMonitor(options: options, interval: .milliseconds(20), logger: silentLogger)
    monitor.start()
    tap.restart(at: start)
    try await tap.take("it has caught up") { $0.reader.status.phase == .caughtUp }
    let pid = try await lab.pid()
    kill(pid, SIGSTOP)
    defer { kill(pid, SIGCONT) }
    try await Task.sleep(for: .milliseconds(400))
    // Otherwise this would wait ten minutes for the server.
    tap.reader.stop()
    monitor.stop()
    #expect(tap.reader.status.phase == .stopped)
  }

  @Test func silenceReopensTheCursorUnnoticed() async throws {
    let start = try await majorityPosition(options)
    var options = options
    options.awaitTime = .milliseconds(20)
    options.longestSilence = .milliseconds(60)
    let tap = Tap(options)
    tap.restart(at: start)
    let load = Load(lab.uri, into: name)
    load.start()
    for round in 1...5 {
      try await tap.take("it reads") { $0.inserted(name).count >= round * 20 }
      let pid = try await lab.pid()
      kill(pid, SIGSTOP)
      try await Task.sleep(for: .milliseconds(100))
      kill(pid, SIGCONT)
    }
    let all = await load.finish()
    try await tap.take("all is read") { $0.inserted(name).count >= all }
    // Only noops from here on: cursors are replaced.
    try await Task.sleep(for: .milliseconds(500))
    #expect(tap.reader.status.isConnected)
    try await MongoWriter(lab.uri).insert(all..<all + 1, into: name)
    try await tap.take("it reads on") { $0.inserted(name).count >= all + 1 }
    #expect(tap.inserted(name) == Array(0...all))
    let truth = try await MongoWriter(lab.uri).oplog(
      from: start.position.seconds, start.position.increment)
    #expect(Array(truth.prefix(tap.entries.count)) == tap.entries.map(\.position))
    #expect(tap.reader.status.reopens == 0)
    tap.reader.stop()
  }
}
