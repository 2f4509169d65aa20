import BridgeConfiguration
import Foundation
import JetStream
import Logging
import MongoSource
import Oplog

/// Everything that a start examines before it creates anything, and the decision based on it.
struct JudgedStart: Sendable {
  var setup: SetupPlan
  var streams: [PreparedStream]
  /// The stored checkpoint, and the revision to assert when replacing it.
  var checkpoint: Checkpoint?
  var revision: UInt64
  var decision: EpochDecision
}

/// Decides whether a process may begin, and changes nothing on any server: a refused start leaves them as they
/// were. `doctor` decides by the same parts.
struct StartJudge: Sendable {
  let survey: EpochSurvey
  let setup: StreamSetup
  let store: CheckpointStore

  private var configuration: BridgeConfiguration { survey.configuration }

  /// The checkpoint was replaced while it was judged: another instance leads, or has led meanwhile.
  struct Outdated: Error {}

  /// - Throws: `StartRefusal`, `BridgeError`, `Outdated`, or `JetStreamError` for what may be temporary.
  func judge(_ machine: EpochMachine) async throws -> JudgedStart {
    var plan = try await setup.plan()
    try await Self.ask(setup, about: plan)
    let (checkpoint, revision) = try await survey.load(store)
    // Read after the checkpoint: if another instance has just stopped, the streams are ahead of it, as after a
    // crash, and never behind.
    for (index, now) in try await setup.planner.planStreams().enumerated() {
      plan.streams[index].plan = now
    }
    let streams = setup.expected(
      plan, cautious: machine.memory.cautious, now: Date.now.formatted(.iso8601))
    let decision: EpochDecision
    do {
      decision = try await survey.decide(machine, streams, checkpoint)
      try await checkPosition(decision, machine.settings)
    } catch BridgeError.positionLost(let why) {
      // A process without the lease may have been frozen for as long as the oplog reaches back.
      guard try await store.revision() == revision else { throw Outdated() }
      throw BridgeError.positionLost(why)
    }
    return JudgedStart(
      setup: plan, streams: streams, checkpoint: checkpoint, revision: revision,
      decision: decision)
  }

  /// Asks the server itself whether it would accept what a start makes.
  static func ask(_ setup: StreamSetup, about plan: SetupPlan) async throws {
    let server = ServerJudgement(setup.planner)
    for stream in plan.streams {
      try await server.check(stream.plan)
      for consumer in stream.consumers { try await server.check(consumer, of: stream.plan) }
    }
    if !plan.hasBucket { try await server.checkNewBucket() }
    try await SignalCapture(setup.planner).check()
    try await server.checkRights(plan)
    try await server.checkRoom(plan)
    try await PublishedContracts(setup.configuration, setup.planner.jetStream).check(setup.logger)
  }

  /// Whether reading can begin at the decided position.
  private func checkPosition(
    _ decision: EpochDecision, _ settings: EpochMachine.Settings
  ) async throws {
    switch decision.mode {
    case .tail(let plan):
      // A snapshot closes a loss. The beginning of a first start has been looked up, unless a change stream
      // will report itself whether it can begin there.
      guard !settings.snapshotsOnLoss, !settings.options.snapshot,
        !plan.isFresh || settings.beginsAtMark
      else { return }
      let point = ResumePoint(position: plan.start, term: plan.term)
      if let loss = try await loss(of: point, settings) { throw BridgeError.positionLost(loss) }
    case .snapshot(let plan):
      let point = ResumePoint(position: plan.snapshot.position, term: plan.snapshot.term)
      guard let loss = try await loss(of: point, settings) else { return }
      throw BridgeError.positionLost(EpochMachine.outlived(loss))
    }
  }

  /// If MongoDB can't be asked, the reader will find out.
  private func loss(
    of point: ResumePoint, _ settings: EpochMachine.Settings
  ) async throws -> String? {
    do {
      return try await survey.mongo.askMongo { [readsOplog = settings.readsOplog] mongo in
        readsOplog
          ? try await mongo.loss(resumingAt: point)
          : try await mongo.changeStreamLoss(at: point.position)
      }
    } catch BridgeError.configuration {
      return nil
    }
  }
}

extension EpochMachine.Settings {
  /// A first start begins at a given position, in a change stream.
  fileprivate var beginsAtMark: Bool {
    guard !readsOplog, case .at = options.from ?? start else { return false }
    return true
  }
}
