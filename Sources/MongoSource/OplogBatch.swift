public import BSON
internal import CMongoC
public import Oplog

/// One reply of the server with the oplog entries in it, exactly as received.
///
/// Immutable, so any thread may read it; its bytes are freed with it.
public final class OplogBatch: Sendable, ReaderBatch {
  /// The `restart` of the reader this belongs to.
  public let generation: UInt64
  /// Size of the whole reply.
  public let byteCount: Int
  /// How many entries `entries()` walks over; never 0.
  public let count: Int
  /// The last entry.
  public let last: ResumePoint
  /// The server's own position when it answered.
  public let operationTime: OplogPosition?

  private let reply: MongoReply
  private let documents: BSONView
  /// Reopened at an entry that was delivered before: it comes again and is passed over.
  private let skipFirst: Bool

  init(
    _ reply: MongoReply, parsed: CursorReply, count: Int, last: ResumePoint, generation: UInt64,
    skipFirst: Bool
  ) {
    self.reply = reply
    self.documents = parsed.documents
    self.count = skipFirst ? count - 1 : count
    self.last = last
    self.operationTime = parsed.operationTime
    self.generation = generation
    self.byteCount = reply.bytes.count
    self.skipFirst = skipFirst
  }

  /// A walk over the batch: the document of each element is one oplog entry.
  ///
  /// What it yields points into this batch, which must be kept alive meanwhile: hold it in
  /// `withExtendedLifetime`. The elements' lengths were checked when the batch was received, so
  /// `next()` does not throw for them; an entry's inside is not checked.
  public func entries() -> BSONElements {
    var walk = documents.elements()
    if skipFirst { _ = try? walk.next() }
    return walk
  }
}

/// A server's answer.
///
/// Invariant behind `@unchecked Sendable`: `bytes` were allocated by libbson, nobody writes to
/// them after `init`, and only `deinit` frees them.
final class MongoReply: @unchecked Sendable {
  let bytes: UnsafeRawBufferPointer
  private let base: UnsafeMutablePointer<UInt8>?

  init(taking reply: tailrace_reply) {
    base = reply.bytes
    bytes = UnsafeRawBufferPointer(start: base, count: base == nil ? 0 : Int(reply.length))
  }

  deinit {
    if let base { tailrace_reply_free(base) }
  }
}
