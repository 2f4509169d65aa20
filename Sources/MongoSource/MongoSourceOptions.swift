/// How to reach a MongoDB replica set and read its oplog.
public struct MongoSourceOptions: Sendable {
  /// A MongoDB connection string. What it sets (read preference, timeouts, TLS, …) is kept; where
  /// it says nothing, the read preference is primaryPreferred and timeouts are short, as below.
  public var uri: String
  /// Where the connection string may change (a file with a password that is rotated): asked for the
  /// present one by every new client, on any thread, in place of `uri`. Whatever is wrong with what
  /// it gives is then for trying again, as it may be half written.
  public var presentURI: (@Sendable () throws(MongoError) -> String)?
  /// Read only what a majority of the members has, which no failover can take back. With false,
  /// changes that are rolled back later are read too.
  public var readConcernMajority: Bool
  /// Entries asked for at once. A reply is at most 16 MB (or one entry) whatever this says.
  public var batchSize: Int
  /// How long the server holds a request that has nothing to answer yet. Also how long `stop` and
  /// `restart` can take to be noticed while nothing is written.
  public var awaitTime: Duration
  /// Replies read ahead of the consumer: at most this many …
  public var queuedBatches: Int
  /// … and at most this many bytes, unless a single reply is larger.
  public var queuedBytes: Int
  /// Connecting to a server, and finding one to read from.
  public var connectTimeout: Duration
  /// Beyond this (and `awaitTime`, where the server may wait) a silent server counts as gone.
  public var replyTimeout: Duration
  /// How this program is called in the server's log and currentOp.
  public var applicationName: String

  /// A primary writes a noop at least every 20 seconds. Longer silence than this means that the
  /// member lost its set or the cursor its way, without any error: another cursor is opened.
  package var longestSilence = Duration.seconds(30)
  /// How long a member may be behind the position to start at before another is looked for.
  package var longestLag = Duration.seconds(5)
  /// How many documents a snapshot asks for at once: fewer the larger they are.
  package var snapshotPage = 2...5000
  /// Off for collections without an index on `_id`, which some very old ones lack.
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

  /// Checks the connection string without connecting. Messages never hold its password.
  public func validate() throws(MongoError) {
    _ = try MongoURI(self, replyTimeout: replyTimeout)
  }
}

/// The connection string is left out: it may hold a password.
extension MongoSourceOptions: CustomStringConvertible, CustomDebugStringConvertible {
  public var description: String {
    "MongoSourceOptions(\(Redaction.withoutUserInfo(uri)), "
      + "\(readConcernMajority ? "majority" : "local"))"
  }
  public var debugDescription: String { description }
}

extension Duration {
  /// Whole milliseconds, at least 1 and within what MongoDB's options take.
  var milliseconds: Int32 {
    let (seconds, attoseconds) = components
    let bounded = min(max(seconds, 0), 1_000_000)
    return Int32(max(bounded * 1000 + attoseconds / 1_000_000_000_000_000, 1))
  }
}
