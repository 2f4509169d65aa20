import BridgeConfiguration
import JetStream
import Logging
import NATS
import NIOCore

/// What differs between the configuration and the servers while the bridge runs.
package struct Drift: Sendable, Equatable {
  package struct Item: Sendable, Equatable {
    package var kind: String
    package var name: String
    package var summary: String
    package var differences: Int
  }

  package var items: [Item] = []

  package init() {}

  init(_ comparison: StreamsComparison) {
    items = comparison.drift.map {
      Item(
        kind: $0.kind.rawValue, name: $0.name, summary: $0.summary,
        differences: max(1, $0.settings.count))
    }
  }

  /// Nil: nothing differs.
  package var summary: String? {
    guard !items.isEmpty else { return nil }
    let shown = items.prefix(5).map(\.summary).joined(separator: "; ")
    let more = items.count > 5 ? "; and \(items.count - 5) more" : ""
    return "differs from the configuration: \(shown)\(more) (tailrace streams plan)"
  }

  static let interval = Duration.seconds(5)
}

extension EpochRunner {
  /// From the beginning of an epoch on, every few seconds.
  func watchDrift(on connection: NATSConnection) -> Task<Void, Never>? {
    guard service.surroundings.watchesDrift else { return nil }
    var jetStream = JetStreamClient(connection)
    jetStream.attempts = 1
    let comparer = StreamsComparer(configuration, jetStream)
    return Task { [board, logger] in
      while !Task.isCancelled {
        // A server that can't be asked has no say in it.
        if let comparison = try? await comparer.compare(asksServer: false) {
          let drift = Drift(comparison)
          let before = board.update { facts in
            defer { facts.drift = drift }
            return facts.drift
          }
          if before != drift {
            if let summary = drift.summary {
              board.note(error: summary)
              logger.warning("\(summary)")
            } else {
              logger.info("streams, consumers and buckets are as configured")
            }
          }
        }
        try? await connection.eventLoop.sleep(for: Drift.interval)
      }
    }
  }
}
