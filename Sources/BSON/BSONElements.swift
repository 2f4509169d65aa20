/// Iterates over the elements of a document in order and validates each one.
///
/// Safety invariant: as `BSONView`, it borrows bytes that outlive it, and is not Sendable. `end` is the
/// offset of the document's final NUL; nothing after it is read, and `4 <= at <= end` between calls.
@frozen
public struct BSONElements {
  @usableFromInline let start: UnsafeRawPointer
  @usableFromInline let end: Int
  @usableFromInline var at: Int

  @inlinable @inline(__always)
  init(_ view: BSONView) {
    // A view has at least five bytes, so its base address isn't nil.
    self.start = view.bytes.baseAddress.unsafelyUnwrapped
    self.end = view.bytes.count &- 1
    self.at = 4
  }

  /// The next element, or nil at the final NUL.
  /// - Throws: if the element is invalid, with the offset in the document. A further call throws again.
  @inlinable
  public mutating func next() throws(BSONError) -> BSONElement? { try step() }

  /// `next` for the hottest loops: inlined, it avoids returning the element in memory, which took a
  /// quarter of the JSON writer's time.
  @inlinable @inline(__always)
  mutating func step() throws(BSONError) -> BSONElement? {
    guard at < end else { return nil }
    let tag = byte(at)
    guard let type = BSONType(tag: tag) else { throw BSONError(.unknownType(tag), at: at) }
    let keyStart = at &+ 1
    let keyEnd = firstNUL(from: keyStart)
    guard keyEnd < end else { throw BSONError(.missingTerminator, at: keyStart) }
    let valueStart = keyEnd &+ 1
    let length = try valueLength(type, at: valueStart)
    at = valueStart &+ length
    return BSONElement(
      type: type,
      key: UnsafeRawBufferPointer(start: start + keyStart, count: keyEnd &- keyStart),
      value: UnsafeRawBufferPointer(start: start + valueStart, count: length))
  }

  /// The size of the value at `at`, which is checked to end before `end`.
  @inlinable @inline(__always)
  func valueLength(_ type: BSONType, at: Int) throws(BSONError) -> Int {
    let length: Int
    switch type {
    case .double, .date, .timestamp, .int64: length = 8
    case .int32: length = 4
    case .null, .undefined, .minKey, .maxKey: length = 0
    case .objectID: length = 12
    case .decimal128: length = 16
    case .bool:
      // If the value is missing, this reads the final NUL; the length is checked below.
      let value = byte(at)
      guard value <= 1 else { throw BSONError(.badBoolean(value), at: at) }
      length = 1
    case .string, .javascript, .symbol:
      length = 4 &+ (try lengthField(at: at, least: 1, beyond: 4))
      try checkNUL(at: at &+ length &- 1)
    case .document, .array:
      length = try lengthField(at: at, least: 5, beyond: 0)
      try checkNUL(at: at &+ length &- 1)
    case .binary:
      // Subtype 2 has a second length, which servers don't validate; `BSONElement.binary` does.
      length = 5 &+ (try lengthField(at: at, least: 0, beyond: 5))
    case .dbPointer:
      length = 16 &+ (try lengthField(at: at, least: 1, beyond: 16))
      try checkNUL(at: at &+ length &- 13)
    case .regex:
      let middle = firstNUL(from: at)
      let last = middle < end ? firstNUL(from: middle &+ 1) : end
      guard last < end else { throw BSONError(.missingTerminator, at: at) }
      length = last &+ 1 &- at
    case .javascriptWithScope:
      length = try lengthField(at: at, least: 14, beyond: 0)
      let code = int32(at &+ 4)
      guard code >= 1, code <= length &- 13 else {
        throw BSONError(.badLength(Int64(code)), at: at &+ 4)
      }
      let scope = int32(at &+ 8 &+ code)
      guard scope == length &- 8 &- code else {
        throw BSONError(.badLength(Int64(scope)), at: at &+ 8 &+ code)
      }
      try checkNUL(at: at &+ 7 &+ code)
      try checkNUL(at: at &+ length &- 1)
    }
    guard length <= end &- at else { throw BSONError(.truncated, at: at) }
    return length
  }

  /// Reads a length and checks that it fits before `end`, with `beyond` bytes that it doesn't count.
  @inlinable @inline(__always)
  func lengthField(at: Int, least: Int, beyond: Int) throws(BSONError) -> Int {
    let room = end &- at
    guard room >= 4 else { throw BSONError(.truncated, at: at) }
    let length = int32(at)
    guard length >= least, length &+ beyond <= room else {
      throw BSONError(.badLength(Int64(length)), at: at)
    }
    return length
  }

  @inlinable @inline(__always)
  func checkNUL(at: Int) throws(BSONError) {
    guard byte(at) == 0 else { throw BSONError(.missingTerminator, at: at) }
  }

  // The lengths are validated above; these traps are a safety net.

  @inlinable @inline(__always)
  func byte(_ offset: Int) -> UInt8 {
    precondition(UInt(bitPattern: offset) <= UInt(bitPattern: end))
    return start.load(fromByteOffset: offset, as: UInt8.self)
  }

  @inlinable @inline(__always)
  func int32(_ offset: Int) -> Int {
    precondition(offset >= 0 && offset &+ 3 <= end)
    return Int(Int32(littleEndian: start.loadUnaligned(fromByteOffset: offset, as: Int32.self)))
  }

  /// The offset of the first NUL from `offset` on; at most `end`, the document's final NUL.
  @inlinable @inline(__always)
  func firstNUL(from offset: Int) -> Int {
    precondition(offset >= 0)
    var at = offset
    while at &+ 7 <= end {
      let word = UInt64(
        littleEndian: start.loadUnaligned(fromByteOffset: at, as: UInt64.self))
      // Sets the top bit of each zero byte. Borrows may set others, but only above the lowest one.
      let zeros = (word &- 0x0101_0101_0101_0101) & ~word & 0x8080_8080_8080_8080
      if zeros != 0 { return at &+ zeros.trailingZeroBitCount >> 3 }
      at &+= 8
    }
    while at < end, byte(at) != 0 { at &+= 1 }
    return at
  }
}
