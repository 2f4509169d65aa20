public import BSON
internal import CMongoC
public import Oplog

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#elseif canImport(Darwin)
  internal import Darwin
#endif

/// One server reply with oplog entries, exactly as received.
///
/// Invariant behind `@unchecked Sendable`: immutable, and `documents` points into `reply`, which is
/// immutable too and lives as long as the batch.
public final class OplogBatch: @unchecked Sendable, ReaderBatch {
  /// The `restart` of the reader this belongs to.
  public let generation: UInt64
  /// Size of the whole reply.
  public let byteCount: Int
  /// Number of entries in `entries()`; never 0.
  public let count: Int
  /// The last entry.
  public let last: ResumePoint
  /// The server's position when it answered.
  public let operationTime: OplogPosition?
  /// When it came, by the monotonic clock.
  package var receivedAt: UInt64 { reply.receivedAt }

  var heldBytes: Int { byteCount }

  private let reply: MongoReply
  private let documents: BSONView
  /// The first entry was already delivered, by the cursor before this one.
  private let skipFirst: Bool

  package init(
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

  /// Entries that no server sent: a recording's, or a test's.
  ///
  /// - Throws: where there are none, or one is not an oplog entry.
  package convenience init(
    entries: [[UInt8]], generation: UInt64
  ) throws(CursorReply.Malformed) {
    let reply = MongoReply(batch: entries)
    let parsed = try CursorReply(reply.bytes)
    let survey = try parsed.survey()
    guard let last = survey.last else {
      throw CursorReply.Malformed(description: "a batch without entries")
    }
    self.init(
      reply, parsed: parsed, count: survey.count, last: last, generation: generation,
      skipFirst: false)
  }

  /// Iterates over the batch: the document of each element is one oplog entry.
  ///
  /// The elements point into this batch: keep it alive with `withExtendedLifetime`. Their lengths were
  /// validated when the batch was received, so `next()` does not throw; the contents of entries are not
  /// validated.
  public func entries() -> BSONElements {
    var walk = documents.elements()
    if skipFirst { _ = try? walk.next() }
    return walk
  }
}

/// A server's reply.
///
/// Invariant behind `@unchecked Sendable`: `bytes` is owned by this object alone, is never written to after
/// `init`, and is freed in `deinit` by whoever allocated it: libbson, or this object.
package final class MongoReply: @unchecked Sendable {
  package let bytes: UnsafeRawBufferPointer
  /// When it came: nanoseconds of the system's monotonic clock, as the deadlines of event loops.
  package let receivedAt: UInt64
  private let base: UnsafeMutablePointer<UInt8>?

  init(taking reply: tailrace_reply) {
    base = reply.bytes
    bytes = UnsafeRawBufferPointer(start: base, count: base == nil ? 0 : Int(reply.length))
    receivedAt = Self.now
  }

  /// A reply that no server sent.
  package init(copying reply: UnsafeRawBufferPointer) {
    let own = UnsafeMutableRawBufferPointer.allocate(byteCount: reply.count, alignment: 1)
    own.copyMemory(from: reply)
    bytes = UnsafeRawBufferPointer(own)
    base = nil
    receivedAt = Self.now
  }

  private static var now: UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
  }

  /// As a server would send these documents.
  convenience init(batch documents: [[UInt8]]) {
    var writer = ByteWriter()
    let reply = writer.beginDocument()
    let cursor = writer.beginDocument(key: "cursor")
    writer.append(key: "id", int32: 0)
    let batch = writer.beginArray(key: "nextBatch")
    for (index, document) in documents.enumerated() {
      var key = "\(index)"
      key.withUTF8 { key in
        document.withUnsafeBytes {
          writer.appendElement(type: .document, key: UnsafeRawBufferPointer(key), value: $0)
        }
      }
    }
    writer.endDocument(batch)
    writer.endDocument(cursor)
    writer.endDocument(reply)
    self.init(copying: writer.bytes)
  }

  deinit {
    if let base {
      tailrace_reply_free(base)
    } else {
      bytes.deallocate()
    }
  }
}
