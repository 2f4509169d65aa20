import Bridge
import MongoSource
import Oplog

/// Waits until a majority of the set has come to a position that is ahead of it.
struct MajorityWait {
  private let source: MongoSourceOptions
  private let limit: Duration

  /// On a quiet set, time continues with the server's noops (`periodicNoopIntervalSecs`).
  private static let noopInterval: Int64 = 10

  init(_ source: MongoSourceOptions, atMost limit: Duration) {
    self.source = source
    self.limit = limit
  }

  /// Throws at once where `wanted` is further ahead than could be waited for.
  ///
  /// - Parameter majority: what a majority has.
  func reach(_ wanted: OplogPosition, from majority: OplogPosition) async throws {
    guard wanted > majority else { return }
    let ahead = Int64(wanted.seconds) - Int64(majority.seconds)
    guard ahead <= limit.components.seconds + Self.noopInterval else {
      throw RangeFailure(
        description:
          "\(wanted) is \(ahead) s ahead of the newest entry that a majority has, \(majority): more than --timeout (\(limit.components.seconds) s) waits for"
      )
    }
    let deadline = ContinuousClock.now + limit
    var newest = majority
    while newest < wanted {
      guard ContinuousClock.now < deadline else {
        throw RangeFailure(
          description:
            "no majority has come to \(wanted) within \(limit.components.seconds) s (--timeout), only to \(newest)"
        )
      }
      try await Task.sleep(for: .milliseconds(250))
      newest = try await MongoAdmin.majorityPosition(source).position
    }
  }
}
