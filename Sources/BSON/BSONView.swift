// Who has BSON writes bytes: one import is enough.
@_exported public import Bytes

/// A document or array as the bytes it is: length, elements, NUL. Nothing is decoded until asked.
///
/// Safety invariant: a view does not own memory. Whoever makes one keeps the bytes alive and
/// unchanged for as long as the view, or anything read from it, is used; views never leave the
/// batch (or the call) they came from. Every read below is checked against `bytes.count`.
@frozen
public struct BSONView: @unchecked Sendable {
  /// Nesting beyond this is refused; mongod allows 180 to 200 levels.
  public static var maximumDepth: Int { 256 }

  /// Exactly the document: as many bytes as its length field says.
  public let bytes: UnsafeRawBufferPointer

  /// Checks the outer frame (length field and closing NUL); elements are checked as they are read.
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

  /// The document that fills `raw` to its last byte, or nil.
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

  /// The first element with this key, by a linear walk.
  @inlinable
  public func first(_ key: StaticString) throws(BSONError) -> BSONElement? {
    var walk = elements()
    while let element = try walk.next() {
      if element.key.equals(key) { return element }
    }
    return nil
  }
}
