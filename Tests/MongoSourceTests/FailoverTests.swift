import Foundation
import MongoSource
import Oplog
import Testing

/// A replica set of three whose primary changes.
@Suite(.serialized, .needsMongod())
struct FailoverTests {
  static let servers = Task.detached { try await MongoLab.start(members: 3) }

  let lab: MongoLab
  let options: MongoSourceOptions
  let name = "c\(UUID().uuidString.prefix(8))"

  init() async throws {
    lab = try await Self.servers.value
    options = MongoSourceOptions(uri: lab.uri)
  }

  private func host(_ member: Int) -> String { "127.0.0.1:\(lab.members[member].port)" }

  @Test func thePrimaryIsKilled() async throws {
    let start = try await majorityPosition(options)
    let tap = Tap(options)
    tap.restart(at: start)
    let load = Load(lab.uri, into: name)
    load.start()
    try await tap.take("it reads") { $0.inserted(name).count >= 50 }
    let primary = try await lab.primary()
    #expect(tap.reader.status.host == host(primary))

    try await lab.kill(primary)
    let killed = ContinuousClock.now
    let before = load.count
    var writable: Duration?
    try await tap.take("it reads on elsewhere") { tap in
      if writable == nil, load.count > before { writable = ContinuousClock.now - killed }
      return tap.inserted(name).count > before + 1
    }
    print(
      "primary killed: written on after \(writable ?? .zero), read on at another after "
        + "\(ContinuousClock.now - killed)")
    #expect(tap.reader.status.host != host(primary))
    try await lab.start(primary)
    try await lab.waitUntilUsable()
    try await tap.expectAll(of: load, into: name, from: start)
    tap.reader.stop()
  }

  @Test func thePrimaryStepsDown() async throws {
    let start = try await majorityPosition(options)
    let tap = Tap(options)
    tap.restart(at: start)
    let load = Load(lab.uri, into: name)
    load.start()
    try await tap.take("it reads") { $0.inserted(name).count >= 50 }
    let before = try await MongoWriter(lab.uri).command(#"{"hello":1}"#, database: "admin")
    try await MongoWriter(lab.uri).command(
      #"{"replSetStepDown":10,"secondaryCatchUpPeriodSecs":5}"#, database: "admin")
    let written = load.count
    try await tap.take("it reads on") { $0.inserted(name).count >= written + 50 }
    let after = try await MongoWriter(lab.uri).command(#"{"hello":1}"#, database: "admin")
    #expect(before != after)
    try await lab.waitUntilUsable()
    try await tap.expectAll(of: load, into: name, from: start)
    tap.reader.stop()
  }

  @Test func aSecondaryIsReadWhereTheConnectionStringSaysSo() async throws {
    var options = options
    options.uri += "&readPreference=secondary"
    let start = try await majorityPosition(self.options)
    let tap = Tap(options)
    tap.restart(at: start)
    try await MongoWriter(lab.uri).insert(0..<100, into: name)
    try await tap.take("it reads") { $0.inserted(name).count == 100 }
    #expect(tap.entries.first?.point == start)
    let primary = try await lab.primary()
    #expect(tap.reader.status.host != host(primary))
    tap.reader.stop()
  }

  /// A member that was just added or resynchronized has a short oplog. The position isn't lost as long as
  /// another member holds it.
  @Test func anotherMemberStillHasThePosition() async throws {
    let start = try await majorityPosition(options)
    try await MongoWriter(lab.uri).insert(0..<10, into: name)
    let emptied = (try await lab.primary() + 1) % 3
    try await lab.kill(emptied, .terminate)
    let data = URL(fileURLWithPath: lab.members[emptied].folder).appendingPathComponent("db")
    try FileManager.default.removeItem(at: data)
    try FileManager.default.createDirectory(at: data, withIntermediateDirectories: false)
    // So that its initial sync starts at a later second.
    try await Task.sleep(for: .seconds(1))
    try await MongoWriter(lab.uri).insert(10..<20, into: name)
    try await lab.start(emptied)
    try await lab.waitUntilUsable()
    try await eventually("it becomes primary") {
      _ = try? await MongoWriter("mongodb://\(host(emptied))/?directConnection=true")
        .command(#"{"replSetStepUp":1}"#, database: "admin")
      try await lab.waitUntilUsable()
      return try await lab.primary() == emptied
    }
    let direct = MongoSourceOptions(uri: "mongodb://\(host(emptied))/?directConnection=true")
    #expect(try await MongoAdmin.oldestPosition(direct).position > start.position)

    let tap = Tap(options)
    tap.restart(at: start)
    try await MongoWriter(lab.uri).insert(20..<30, into: name)
    try await tap.take("it reads") { $0.inserted(name).count == 30 }
    #expect(tap.entries.first?.point == start)
    #expect(tap.inserted(name) == Array(0..<30))
    #expect(tap.reader.status.host != host(emptied))

    // A reader confined to the primary reports what the primary holds.
    var primaryOnly = options
    primaryOnly.uri += "&readPreference=primary"
    let strict = Tap(primaryOnly)
    strict.restart(at: start)
    try await strict.wait("reading has failed") { $0.phase == .failed }
    guard case .positionLost(let lost) = strict.reader.failure else {
      Issue.record("not a lost position: \(String(describing: strict.reader.failure))")
      return
    }
    #expect(lost.reason == .rolledOver)
    #expect(lost.host == host(emptied))
    strict.reader.stop()
    tap.reader.stop()
  }
}
