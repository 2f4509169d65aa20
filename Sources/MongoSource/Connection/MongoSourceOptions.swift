/// How to connect to a MongoDB replica set and read its oplog.
public struct MongoSourceOptions: Sendable {
  /// A MongoDB connection string. Its settings take precedence; the defaults are the read preference
  /// primaryPreferred and the short timeouts below.
  public var uri: String
  /// Provides the connection string in place of `uri` if it may change (a file with a rotated password).
  /// Called for every new client, on any thread. Errors in the string are then transient: the file may
  /// be half-written.
  public var presentURI: (@Sendable () throws(MongoError) -> String)?
  /// Read only majority-committed changes, which no failover can roll back.
  public var readConcernMajority: Bool
  /// Entries per request. A reply is limited to 16 MB (or one entry) in any case.
  public var batchSize: Int
  /// How long the server holds a request while there is nothing to return. `stop` and `restart` can
  /// take as long to have effect.
  public var awaitTime: Duration
  /// Read-ahead: at most this many replies …
  public var queuedBatches: Int
  /// … and this many bytes, unless a single reply is larger.
  public var queuedBytes: Int
  /// Limit for connecting to a server, and for selecting one.
  public var connectTimeout: Duration
  /// A server that doesn't reply within this (plus `awaitTime`, where it applies) counts as gone.
  public var replyTimeout: Duration
  /// This program's name in the server's log and currentOp.
  public var applicationName: String

  /// A primary writes a noop at least every 20 seconds. After a longer silence without an error, the
  /// member may be cut off from its set or the cursor broken: another cursor is opened.
  package var longestSilence = Duration.seconds(30)
  /// How long a member may lag behind the start position before another one is selected.
  var longestLag = Duration.seconds(5)
  /// Documents per page of a snapshot: the larger they are, the fewer.
  package var snapshotPage = 2...5000
  /// False: read as if no collection had an index on `_id`. For tests.
  package var snapshotUsesIndex = true

  public init(
    uri: String, readConcernMajority: Bool = true, batchSize: Int = 1000,
    awaitTime: Duration = .milliseconds(250), queuedBatches: Int = 3, queuedBytes: Int = 4 << 20,
    connectTimeout: Duration = .seconds(3), replyTimeout: Duration = .seconds(10),
    applicationName: String = "tailrace"
  ) {
    self.uri = uri
    self.readConcernMajority = readConcernMajority
    self.batchSize = batchSize
    self.awaitTime = awaitTime
    self.queuedBatches = queuedBatches
    self.queuedBytes = queuedBytes
    self.connectTimeout = connectTimeout
    self.replyTimeout = replyTimeout
    self.applicationName = applicationName
  }

  /// Validates the connection string without connecting. Errors never contain its password.
  public func validate() throws(MongoError) {
    _ = try MongoURI(self, replyTimeout: replyTimeout)
  }
}

/// Without the credentials in the connection string.
extension MongoSourceOptions: CustomStringConvertible, CustomDebugStringConvertible {
  public var description: String {
    "MongoSourceOptions(\(Redaction.withoutUserInfo(uri)), "
      + "\(readConcernMajority ? "majority" : "local"))"
  }
  public var debugDescription: String { description }
}

extension Duration {
  /// Whole milliseconds, at least 1 and within the range of MongoDB's options.
  var milliseconds: Int32 {
    let (seconds, attoseconds) = components
    let bounded = min(max(seconds, 0), 1_000_000)
    return Int32(max(bounded * 1000 + attoseconds / 1_000_000_000_000_000, 1))
  }
}
