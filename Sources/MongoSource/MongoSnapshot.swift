/// What a `MongoMonitor` last learned. Positions keep their last known value while the server is
/// unreachable.
public struct MongoSnapshot: Sendable {
  /// The latest poll was answered.
  public var reachable = false
  /// The member that answered (`host:port`), by the read preference.
  public var host: String?
  public var setName: String?
  /// e.g. "6.0.5"
  public var version: String?
  /// The newest entry that a majority of the members has.
  public var majority: ResumePoint?
  /// When that was written, and what that member's clock said when it told: milliseconds since 1970.
  public var majorityWallTime: Int64?
  public var localTime: Int64?
  /// The newest entry of that member's oplog.
  public var lastWrite: ResumePoint?
  /// The oldest entry of its oplog, and when that was written (milliseconds since 1970).
  public var oldest: ResumePoint?
  public var oldestWallTime: Int64?
  /// Why the latest poll failed.
  public var error: MongoError?
  /// When the latest poll ended; nil before the first.
  public var at: ContinuousClock.Instant?
  /// When a poll last succeeded.
  public var reachedAt: ContinuousClock.Instant?

  public init() {}
}
