package import MongoSource
import Oplog

/// Answers occasional questions about MongoDB, one at a time.
package protocol MongoAsking: Sendable {
  func askMongo<T: Sendable>(
    _ question: @escaping @Sendable (MongoSourceOptions) async throws -> T
  ) async throws -> T
}

extension MongoAsking {
  /// Answers what a decision asks of MongoDB.
  package func answer(_ question: EpochQuestion) async throws -> EpochAnswer {
    switch question {
    case .newestEntry: .entry(try await askMongo { try await MongoAdmin.majorityPosition($0) })
    case .oldestEntry: .entry(try await askMongo { try await MongoAdmin.oldestPosition($0) })
    case .markedEntry(let mark):
      .mark(try await askMongo { try await MongoAdmin.place($0, of: mark) })
    case .loss(let mark): .reason(try await askMongo { try await MongoAdmin.loss($0, of: mark) })
    case .firstEntry(let position):
      .entry(try await askMongo { try await MongoAdmin.entry($0, atOrAfter: position) })
    case .transactionStart(let previous):
      .entry(
        try await askMongo { try await MongoAdmin.transactionStart($0, from: previous) }
          .map { ResumePoint(position: $0) })
    case .checkpointAge, .unnamedTrace, .messages, .snapshotIDs:
      throw BridgeError.halted("internal error: MongoDB can't answer \(question)")
    }
  }
}

extension BridgeService: MongoAsking {
  /// Asks MongoDB something; keeps asking until it answers, unless it must not wait. Throws
  /// `CancellationError` on a stop.
  package func askMongo<T: Sendable>(
    _ question: @escaping @Sendable (MongoSourceOptions) async throws -> T
  ) async throws -> T {
    var backoff = Backoff(longest: .seconds(2))
    while true {
      do {
        let answer = try await stopRequest.unlessStopped { [sourceOptions] in
          try await question(sourceOptions)
        }
        guard let answer else { throw CancellationError() }
        return answer
      } catch let error as MongoError {
        if !error.isTransient { throw BridgeError.configuration("MongoDB: \(error)") }
        if !options.waitForServers { throw BridgeError.unavailable("MongoDB: \(error)") }
        report(.warning("MongoDB does not answer yet", reason: "\(error)"))
      }
      guard await stopRequest.sleep(backoff.next()) else { throw CancellationError() }
    }
  }
}
