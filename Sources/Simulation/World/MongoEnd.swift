import BSON
import Bridge
import Logging
import MongoSource
import NATS
import NIOCore
import Oplog
import SimulatedMongo

/// The replica set as one process reaches it: each command takes a while, and fails where it can't be answered.
///
/// Sendable invariant: the simulator has one thread.
final class MongoEnd: @unchecked Sendable {
  let set: SimulatedReplicaSet
  private unowned let world: World
  let process: SimulatedProcess
  private let uplink: Uplink
  private var chance: Chance
  /// Of questions that are not answered yet: ends them.
  private var pending: [Int: (MongoError) -> Void] = [:]
  private var asked = 0

  init(_ world: World, _ process: SimulatedProcess, _ uplink: Uplink, _ number: Int) {
    self.world = world
    self.uplink = uplink
    self.process = process
    set = world.mongo
    chance = Chance(world.scenario.seed, 100 + UInt64(number))
  }

  static let hosts = ["m0:27017", "m1:27017", "m2:27017"]

  /// Carries out a command at a server after a network delay, and hands its answer back after another.
  func ask<T>(
    _ member: Int?, extra: Int64 = 0, _ command: @escaping () throws -> T,
    _ answer: @escaping (Result<T, MongoError>) -> Void
  ) {
    guard !process.isGhost else {
      return process.eventLoop.later { answer(.failure(Self.unreachable(member))) }
    }
    asked += 1
    let number = asked
    pending[number] = { answer(.failure($0)) }
    world.schedule(in: chance.skewed(100 * Nano.micro, 2 * Nano.milli) + extra) { [self] in
      guard pending[number] != nil else { return }
      let result: Result<T, MongoError>
      if uplink.isCutFromMongo {
        return world.schedule(in: chance.skewed(Nano.milli, 5 * Nano.second)) { [self] in
          hand(number, .failure(Self.unreachable(member)), to: answer)
        }
      } else if let member, set.members[member].isUp, set.members[member].isReachable {
        result = Result { try command() }.mapError { Self.error($0) }
      } else {
        result = .failure(Self.unreachable(member))
      }
      world.schedule(in: chance.skewed(100 * Nano.micro, 2 * Nano.milli)) { [self] in
        // The answer may be lost.
        let isLost = uplink.isCutFromMongo
        hand(number, isLost ? .failure(Self.unreachable(member)) : result, to: answer)
      }
    }
  }

  private func hand<T>(
    _ number: Int, _ result: Result<T, MongoError>,
    to answer: @escaping (Result<T, MongoError>) -> Void
  ) {
    guard pending[number] != nil else { return }
    if process.isPaused {
      return world.schedule(in: 5 * Nano.milli) { [self] in hand(number, result, to: answer) }
    }
    pending[number] = nil
    process.enter(at: world.now) { answer(result) }
  }

  /// As `ask`, where a server holds the answer back until `isReady`, for a second at most.
  func ask<T>(
    _ member: Int?, when isReady: @escaping () -> Bool, _ command: @escaping () throws -> T,
    _ answer: @escaping (Result<T, MongoError>) -> Void
  ) {
    guard !process.isGhost, !isReady() else { return ask(member, command, answer) }
    world.waitForEntries(isReady, atMost: Nano.second) { [self] in ask(member, command, answer) }
  }

  /// The process is no more: what it asked ends.
  func abandon() {
    let all = pending.sorted { $0.key < $1.key }
    pending = [:]
    for (_, end) in all { end(Self.unreachable(nil)) }
  }

  /// The member that the read preference selects: the primary, as clients see it.
  var selected: Int? {
    guard !uplink.isCutFromMongo else { return nil }
    let candidates = set.members.indices.filter {
      set.members[$0].isUp && set.members[$0].isReachable && set.members[$0].isPrimary
    }
    return candidates.max { set.members[$0].term < set.members[$1].term }
  }

  static func unreachable(_ member: Int?) -> MongoError {
    MongoError(
      domain: member == nil ? .selection : .network,
      message: member.map { "no connection to \(hosts[$0])" } ?? "no primary is known",
      place: "simulated server", isTransient: true)
  }

  private static func error(_ error: any Error) -> MongoError {
    if let error = error as? MongoError { return error }
    if case .error(let code, let message) = error as? ServerAnswer {
      return MongoError(
        domain: .server, code: code, message: message, place: "simulated server", isTransient: true)
    }
    return MongoError(
      domain: .network, message: "\(error)", place: "simulated server", isTransient: true)
  }

}

extension MongoEnd: MongoAnswering {
  /// One question to the selected server.
  private func answer<T: Sendable>(
    _ command: @escaping (SimulatedReplicaSet, Int) throws -> T
  ) async throws(MongoError) -> T {
    let result = await withCheckedContinuation {
      (continuation: CheckedContinuation<Result<T, MongoError>, Never>) in
      let member = selected
      ask(member, { [set] in try command(set, member ?? 0) }) { continuation.resume(returning: $0) }
    }
    return try result.get()
  }

  func setName() async throws(MongoError) -> String {
    try await answer { _, _ in Scenario.source }
  }

  func majorityPosition() async throws(MongoError) -> ResumePoint {
    try await answer { set, member in
      guard let newest = try set.newestCommitted(on: member) else {
        throw Self.unknown("no majority is known yet")
      }
      return ResumePoint(position: newest.position, term: newest.term)
    }
  }

  /// Of its own oplog, whether others have it or not.
  func newestPosition() async throws(MongoError) -> ResumePoint {
    guard world.scenario.cutover != nil else { return try await majorityPosition() }
    return try await answer { set, member in
      guard let newest = try set.newest(on: member) else {
        throw Self.unknown("the oplog is empty")
      }
      return ResumePoint(position: newest.position, term: newest.term)
    }
  }

  func appendNote(_ text: String) async {
    guard world.scenario.cutover?.mayNote ?? true else { return }
    let written = try? await answer { [world] set, member in
      defer { world.onWritten() }
      return set.note(on: member)
    }
    guard let position = written else { return }
    // For a majority, but not for ever.
    for _ in 0..<20 {
      if let newest = try? await majorityPosition(), newest.position >= position { return }
      guard (try? await process.eventLoop.sleep(for: .milliseconds(50))) != nil else { return }
    }
  }

  func oldestPosition() async throws(MongoError) -> ResumePoint {
    try await answer { set, member in
      guard let oldest = try set.oldest(on: member) else {
        throw Self.unknown("the oplog is empty")
      }
      return ResumePoint(position: oldest.position, term: oldest.term)
    }
  }

  func entry(atOrAfter position: OplogPosition) async throws(MongoError) -> ResumePoint? {
    try await answer { set, member in
      try set.first(on: member, from: position, majority: true)
        .map { ResumePoint(position: $0.position, term: $0.term) }
    }
  }

  func place(of mark: OplogPosition) async throws(MongoError) -> MongoAdmin.MarkPlace {
    try await answer { set, member in
      guard let oldest = try set.oldest(on: member) else {
        throw Self.unknown("the oplog is empty")
      }
      guard oldest.position <= mark else {
        return .lost(oldest: ResumePoint(position: oldest.position, term: oldest.term))
      }
      if let entry = try set.first(on: member, from: mark, majority: true) {
        return .entry(ResumePoint(position: entry.position, term: entry.term))
      }
      guard let newest = try set.newestCommitted(on: member) else {
        throw Self.unknown("no majority is known yet")
      }
      return .ahead(newest: ResumePoint(position: newest.position, term: newest.term))
    }
  }

  func loss(of mark: OplogPosition) async throws(MongoError) -> String? {
    try await answer { set, member in
      guard let oldest = try set.oldest(on: member), oldest.position > mark else { return nil }
      let isElsewhere = set.members.indices.contains { other in
        guard other != member, let oldest = try? set.oldest(on: other) else { return false }
        return oldest.position <= mark
      }
      return isElsewhere ? nil : "the oplog begins with \(oldest.position), behind \(mark)"
    }
  }

  func loss(resumingAt point: ResumePoint) async throws(MongoError) -> String? {
    try await answer { [self] set, member in
      let entry = try set.first(on: member, from: point.position, majority: true)
      guard let entry else { return nil }
      let found = ResumePoint(position: entry.position, term: entry.term)
      guard !point.matches(found) else { return nil }
      guard case .lost(let lost) = search(point, found: found, besides: member) else { return nil }
      return lost.description
    }
  }

  func changeStreamLoss(at position: OplogPosition) async throws(MongoError) -> String? { nil }

  func transactionStart(
    from position: OplogPosition
  ) async throws(MongoError) -> OplogPosition? {
    try await answer { set, member in
      try set.transactionStart(on: member, from: position, majority: true)
    }
  }

  private static func unknown(_ what: String) -> MongoError {
    MongoError(domain: .reply, message: what, place: "simulated server", isTransient: true)
  }

  /// What there is to say of an entry that a member doesn't have where reading is to resume.
  func search(_ point: ResumePoint, found: ResumePoint?, besides member: Int) -> MissingEntry {
    var unasked: [String] = []
    for other in set.members.indices where other != member {
      guard set.members[other].isUp, set.members[other].isReachable else {
        unasked.append(Self.hosts[other])
        continue
      }
      let entry = try? set.first(on: other, from: point.position, majority: true)
      if let entry, point.matches(ResumePoint(position: entry.position, term: entry.term)) {
        return .elsewhere(Self.hosts[other])
      }
    }
    let oldest = try? set.oldest(on: member)
    let isOlder = oldest.map { point.position < $0.position } ?? false
    return .lost(
      PositionLost(
        reason: isOlder ? .rolledOver : .rolledBack, expected: point, found: found,
        oldest: oldest.map { ResumePoint(position: $0.position, term: $0.term) }, newest: nil,
        host: Self.hosts[member], unasked: unasked))
  }
}
