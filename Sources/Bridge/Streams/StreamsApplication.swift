package import BridgeConfiguration
package import JetStream
package import Logging

/// Makes the servers agree with the configuration, as a start does, without starting.
package struct StreamsApplication: Sendable {
  private let configuration: BridgeConfiguration
  private let jetStream: JetStreamClient
  private let setup: StreamSetup

  /// - Parameter losses: `leave`: what would lose something stays as it is.
  package init(
    _ configuration: BridgeConfiguration, _ jetStream: JetStreamClient, losses: LossPolicy,
    logger: Logger
  ) {
    self.configuration = configuration
    self.jetStream = jetStream
    setup = StreamSetup(configuration, jetStream, logger: logger, losses: losses)
  }

  /// Idempotent. Judges everything before it makes anything.
  ///
  /// - Throws: `StartRefusal`, or `JetStreamError` if a server can't be asked or refuses.
  package func apply() async throws {
    let plan = try await setup.plan()
    try await StartJudge.ask(setup, about: plan)
    _ = try await setup.make(plan, cautious: [])
    if !plan.hasBucket {
      let store = CheckpointStore(
        jetStream, bucket: configuration.bridge.stateBucket, bridge: configuration.bridge.name,
        replicas: plan.replicas)
      try await store.ensure()
    }
    guard setup.planner.losses == .accept else { return }
    for stream in configuration.streams {
      for consumer in try await setup.planner.forgottenConsumers(stream) {
        try await jetStream.deleteConsumer(consumer.name, of: stream.name)
      }
    }
  }
}
