import BridgeConfiguration
import JetStream
import Logging
import NATS
import NIOCore
import Synchronization

/// How a service comes to lead, and stops leading.
extension BridgeService {
  func makeLeadership(_ rules: RuleSet) -> Leadership {
    let leadership = Leadership(
      Leadership.Settings(
        bridge: configuration.bridge.name, bucket: configuration.bridge.stateBucket,
        period: configuration.bridge.lease, instance: board.instance),
      on: eventLoop, board: board, logger: logger,
      onChange: { [surroundings] in surroundings.noteLeadership(epoch: $0) },
      connect: { [self] in try await connect(try configuration.natsOptions()) })
    leadership.use(configurationHash: rules.hash)
    board.update { [period = leadership.settings.period] in $0.leadership.period = period }
    return leadership
  }

  /// Not a command with an end of its own.
  var isContinuous: Bool { options.until == .forever && !options.snapshot }

  func standDown(_ leadership: Leadership, because why: String) async {
    logger.warning("this instance is a standby now", metadata: ["reason": "\(why)"])
    await cutover.stop()
    await leadership.standDown()
    board.update { $0.standDown() }
    if let kept = keptConnection.withLock({ kept in
      defer { kept = nil }
      return kept
    }) {
      await kept.close()
    }
  }

  /// The right to lead the next epoch; waits for it as a standby. Nil: stopped.
  func seat(
    _ leadership: Leadership, _ pipeline: Pipeline, _ rules: inout RuleSet,
    _ machine: inout EpochMachine
  ) async throws -> EpochRunner.Seat? {
    if let tenure = leadership.tenure {
      if await leadership.confirm(tenure, { stopRequest.isRequested }) { return .held(tenure) }
      if stopRequest.isRequested { return nil }
      let other = tenure.endedBy ?? "?"
      guard isContinuous else {
        throw BridgeError.displaced("instance \(other) has taken over bridge \(name)")
      }
      await standDown(leadership, because: "instance \(other) has taken over")
    }
    if leadership.hasLed {
      machine = EpochMachine(machine.settings.ofLaterTenure)
      try await eventLoop.submit { pipeline.beginTenure() }.get()
    }
    let vacancy = try await stopRequest.unlessStopped { [self] in
      try await leadership.vacancy(
        { stopRequest.isRequested },
        onStandby: {
          board.update {
            $0.phase = "standby"
            $0.publishing = false
          }
          if !isContinuous {
            guard options.waitForServers else {
              throw BridgeError.displaced(
                """
                instance \(board.snapshot.leadership.holder ?? "?") of this bridge is running, and leads: stop it \
                first, or leave --no-wait out to wait for its end
                """)
            }
            logger.notice("waiting until the leader of this bridge stops: stop it to continue here")
          }
          if !leadership.hasLed { try await preflight() }
        }, traces: hasPublished)
    }
    guard let vacancy, let vacancy else { return nil }
    if vacancy.hasWaited {
      // Reloaded meanwhile.
      rules = try await adoptPendingRules(after: rules, pipeline)
      leadership.use(configurationHash: rules.hash)
    }
    machine.memory.heardAt = vacancy.heardAt ?? machine.memory.heardAt
    return .vacant(vacancy)
  }

  /// Whether a stream shows that this bridge has begun before.
  private func hasPublished(_ connection: NATSConnection) async throws -> Bool {
    let jetStream = JetStreamClient(connection)
    for stream in configuration.streams {
      guard let info = try await jetStream.stream(stream.name) else { continue }
      if StreamMarks.mark(of: configuration.bridge.name, in: info) != nil { return true }
      // Older servers keep no metadata.
      if connection.info.version < StreamMarks.firstServer, stream.ownership == .exclusive,
        info.lastSequence >= info.beginning
      {
        return true
      }
    }
    return false
  }

  /// Before a standby waits: whether it could lead. Changes nothing on any server.
  private func preflight() async throws {
    let connection = try await connect(try configuration.natsOptions())
    do {
      try await cutover.examine(configuration, JetStreamClient(connection))
      let setup = StreamSetup(configuration, JetStreamClient(connection), logger: logger)
      try await StartJudge.ask(setup, about: try await setup.plan())
      await connection.close()
    } catch {
      await connection.close()
      throw (error as? StartRefusal)?.error ?? error
    }
  }

  /// A connection to NATS.
  ///
  /// - Parameter options: as configured; files are read each time.
  func connect(
    _ options: NATSOptions, discovered: [NATSServerAddress] = []
  ) async throws -> NATSConnection {
    let connection = try await NATSConnection.connect(
      to: configuration.natsServers, discovered: discovered, options: options, on: eventLoop,
      by: surroundings.transport, logger: logger)
    // Whoever sent what is refused hears of it, and it is logged by that: once.
    connection.onServerError { _ in }
    return connection
  }
}
