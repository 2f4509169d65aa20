public import BSON
public import Oplog

/// One server reply with change stream documents, exactly as received.
///
/// Invariant behind `@unchecked Sendable`: immutable, and `documents` points into `reply`, which is
/// immutable too and lives as long as the batch.
public final class ChangeStreamBatch: @unchecked Sendable, ReaderBatch {
  /// The `restart` of the reader this belongs to.
  public let generation: UInt64
  /// Size of the whole reply.
  public let byteCount: Int
  /// Number of documents in `entries()`. 0 in a batch that only reports progress.
  public let count: Int
  /// The stream's position after the batch: no event before it will follow, and a restart there
  /// misses none. Its term is never known.
  public let last: ResumePoint
  /// The server had nothing more: all events at `last` are in this batch or an earlier one. Otherwise
  /// more events of the same transaction may follow.
  public let isDrained: Bool
  /// Resumes after the batch.
  public let resumeToken: ResumeToken
  /// The server's own position when it answered.
  public let operationTime: OplogPosition?
  /// When it came, by the monotonic clock.
  package var receivedAt: UInt64 { reply.receivedAt }

  var heldBytes: Int { byteCount }

  private let reply: MongoReply
  private let documents: BSONView
  /// Leading documents from before the start position.
  private let skipped: Int

  init(
    _ reply: MongoReply, parsed: CursorReply, count: Int, skipped: Int, last: OplogPosition,
    token: ResumeToken, isDrained: Bool, generation: UInt64
  ) {
    self.reply = reply
    self.documents = parsed.documents
    self.count = count - skipped
    self.skipped = skipped
    self.last = ResumePoint(position: last)
    self.resumeToken = token
    self.isDrained = isDrained
    self.operationTime = parsed.operationTime
    self.generation = generation
    self.byteCount = reply.bytes.count
  }

  /// Iterates over the batch: the document of each element is one change stream document, for
  /// `ChangeStreamDecoder.begin`. The lifetime rules of `OplogBatch.entries()` apply.
  public func entries() -> BSONElements {
    var walk = documents.elements()
    for _ in 0..<skipped { _ = try? walk.next() }
    return walk
  }
}

/// What the reader needs to know about a reply's documents.
struct ChangeStreamSurvey {
  var count = 0
  /// Leading documents from before the start position.
  var skipped = 0
  /// The last document's cluster time and token.
  var last: OplogPosition?
  var token: ResumeToken?
  /// The last document is an `invalidate` event: the stream's database was dropped.
  var isInvalidated = false

  /// Reads the documents up to the first one from `start` on, and the last one; of the others only
  /// the lengths.
  init(
    _ reply: CursorReply, from start: OplogPosition
  ) throws(CursorReply.Malformed) {
    do {
      try walk(reply.documents, from: start)
    } catch {
      throw CursorReply.Malformed(description: "near document \(count) of a batch: \(error)")
    }
    guard count == 0 || (last != nil && token != nil) else {
      throw CursorReply.Malformed(
        description: "document \(count - 1) of a batch is not a change stream document")
    }
  }

  private mutating func walk(
    _ documents: BSONView, from start: OplogPosition
  ) throws(BSONError) {
    var walk = documents.elements()
    var latest: BSONElement?
    while let element = try walk.next() {
      if skipped == count, let time = try Self.clusterTime(element), time < start { skipped += 1 }
      count += 1
      latest = element
    }
    guard let latest, latest.type == .document, let document = latest.document else { return }
    last = try Self.clusterTime(latest)
    if let id = try document.first("_id")?.document { token = ResumeToken(id) }
    isInvalidated = try document.first("operationType")?.string?.equals("invalidate") ?? false
  }

  private static func clusterTime(_ element: BSONElement) throws(BSONError) -> OplogPosition? {
    guard let time = try element.document?.first("clusterTime")?.timestamp else { return nil }
    return OplogPosition(seconds: time.seconds, increment: time.increment)
  }
}
