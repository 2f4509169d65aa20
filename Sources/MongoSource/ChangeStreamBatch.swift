public import BSON
public import Oplog

/// One reply of the server with a change stream's documents in it, exactly as received.
///
/// Immutable, so any thread may read it; its bytes are freed with it.
public final class ChangeStreamBatch: Sendable, ReaderBatch {
  /// The `restart` of the reader this belongs to.
  public let generation: UInt64
  /// Size of the whole reply.
  public let byteCount: Int
  /// How many documents `entries()` walks over. 0 in a batch that only tells of progress.
  public let count: Int
  /// How far the stream is once the batch is done: no event before this position will come, and a
  /// restart there misses none. Its term is never known.
  public let last: ResumePoint
  /// The server had nothing more: whatever happened at `last` is in this batch or an earlier one. Else
  /// more events of a transaction may follow.
  public let isDrained: Bool
  /// The place after the batch.
  public let resumeToken: ResumeToken
  /// The server's own position when it answered.
  public let operationTime: OplogPosition?

  private let reply: MongoReply
  private let documents: BSONView
  /// From before the position to start at.
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

  /// A walk over the batch: the document of each element is one change stream document, for
  /// `ChangeStreamDecoder.begin`. What `OplogBatch.entries()` says of its walk is true of this one.
  public func entries() -> BSONElements {
    var walk = documents.elements()
    for _ in 0..<skipped { _ = try? walk.next() }
    return walk
  }
}

/// What the reader must know of a reply's documents.
struct ChangeStreamSurvey {
  var count = 0
  /// Documents in front from before the position to start at.
  var skipped = 0
  /// The last document's cluster time, and the token it carries.
  var last: OplogPosition?
  var token: ResumeToken?
  /// The last document says that the stream is over, because its database was dropped.
  var isInvalidated = false

  /// Looks into the documents in front, up to the first from `start` on, and into the last one;
  /// between them it goes from length to length.
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
        description: "document \(count - 1) of a batch is not of a change stream")
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
