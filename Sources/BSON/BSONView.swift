/// Re-exported: code that imports BSON writes bytes, too.
@_exported public import Bytes

/// A document or array as a view over its bytes: length, elements, NUL. Decodes lazily.
///
/// Safety invariant: a view owns no memory. Its creator keeps the bytes alive and unchanged while the
/// view, or anything read from it, is in use. Every read is checked against `bytes.count`. Views are not
/// Sendable: nothing ties the bytes' lifetime to another thread's use. To pass views to another thread,
/// wrap them in an object that owns the bytes (such as a reader's batch) and states that invariant.
@frozen
public struct BSONView {
  /// The maximum nesting; mongod allows 180 to 200 levels.
  public static var maximumDepth: Int { 256 }

  /// Exactly the document, as long as its length field says.
  public let bytes: UnsafeRawBufferPointer

  /// Validates length field and final NUL; elements are validated when they are read.
  @inlinable
  public init(_ raw: UnsafeRawBufferPointer) throws(BSONError) {
    guard raw.count >= 5 else { throw BSONError(.truncated, at: 0) }
    let length = Int(raw.readInt32(at: 0))
    guard length >= 5, length <= raw.count else {
      throw BSONError(.badLength(Int64(length)), at: 0)
    }
    guard raw.readByte(at: length &- 1) == 0 else {
      throw BSONError(.missingTerminator, at: length &- 1)
    }
    self.bytes = UnsafeRawBufferPointer(start: raw.baseAddress, count: length)
  }

  /// The document that is exactly `raw`, or nil.
  @inlinable
  init?(exactly raw: UnsafeRawBufferPointer) {
    guard raw.count >= 5, Int(raw.readInt32(at: 0)) == raw.count,
      raw.readByte(at: raw.count &- 1) == 0
    else { return nil }
    self.bytes = raw
  }

  @inlinable
  public var isEmpty: Bool { bytes.count == 5 }

  @inlinable @inline(__always)
  public func elements() -> BSONElements { BSONElements(self) }

  /// The first element with this key, by a linear search.
  @inlinable
  public func first(_ key: StaticString) throws(BSONError) -> BSONElement? {
    var walk = elements()
    while let element = try walk.next() {
      if element.key.equals(key) { return element }
    }
    return nil
  }
}
