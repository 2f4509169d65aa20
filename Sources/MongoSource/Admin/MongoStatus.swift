/// The result of a `MongoMonitor` poll. Positions keep their last known value while the server is
/// unreachable.
public struct MongoStatus: Sendable {
  /// The latest poll was answered.
  public var reachable = false
  /// The member that answered (`host:port`), by the read preference.
  public var host: String?
  public var setName: String?
  /// e.g. "6.0.5"
  public var version: String?
  /// The newest majority-committed entry.
  public var majority: ResumePoint?
  /// When it was written, and the answering member's clock; milliseconds since 1970.
  public var majorityWallTime: Int64?
  public var localTime: Int64?
  /// The newest entry of that member's oplog.
  public var lastWrite: ResumePoint?
  /// The oldest entry of its oplog, and when it was written (milliseconds since 1970).
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
