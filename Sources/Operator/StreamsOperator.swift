package import Bridge
public import BridgeConfiguration
import JetStream
public import Logging
import NATS

/// `tailrace streams plan|apply`: the configuration's streams, consumers and buckets beside those on the servers.
public struct StreamsOperator: Sendable {
  private let configuration: BridgeConfiguration
  private let logger: Logger

  public init(_ configuration: BridgeConfiguration, logger: Logger) {
    self.configuration = configuration
    self.logger = logger
  }

  /// What differs. Changes nothing.
  ///
  /// - Throws: `BridgeError.unavailable` if the server can't be asked.
  package func plan() async throws(BridgeError) -> StreamsComparison {
    try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
      try await compare(jetStream)
    }
  }

  /// What `apply` found and what it left.
  package struct Applied: Sendable {
    package var before: StreamsComparison
    /// Nil: nothing was done, because something is impossible.
    package var after: StreamsComparison?
  }

  /// Makes what differs.
  ///
  /// - Parameters:
  ///   - allowsLoss: also what loses something.
  ///   - announce: called with what was found, before anything is made.
  /// - Throws: `BridgeError.unavailable` if the server can't be asked or refuses.
  package func apply(
    allowsLoss: Bool, announce: (StreamsComparison) -> Void
  ) async throws(BridgeError) -> Applied {
    try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
      let before = try await compare(jetStream)
      announce(before)
      guard before.refused.isEmpty else { return Applied(before: before) }
      guard !before.differing.isEmpty else { return Applied(before: before, after: before) }
      do {
        try await StreamsApplication(
          configuration, jetStream, losses: allowsLoss ? .accept : .leave, logger: logger
        ).apply()
      } catch {
        throw Self.failure(error)
      }
      return Applied(before: before, after: try await compare(jetStream))
    }
  }

  private func compare(
    _ jetStream: JetStreamClient
  ) async throws(BridgeError) -> StreamsComparison {
    do {
      return try await StreamsComparer(configuration, jetStream).compare(asksServer: true)
    } catch {
      throw Self.failure(error)
    }
  }

  private static func failure(_ error: any Error) -> BridgeError {
    if let error = error as? BridgeError { return error }
    if let refusal = error as? StartRefusal { return refusal.error }
    if let error = error as? JetStreamError, let refusal = StartRefusal(error) {
      return refusal.error
    }
    return .unavailable("NATS: \(error)")
  }
}
