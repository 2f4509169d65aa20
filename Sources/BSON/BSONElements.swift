/// A walk over the elements of one document, in order, checking each before it hands it out.
///
/// Safety invariant: as `BSONView`, it borrows bytes that outlive it. `end` is the offset of the
/// document's closing NUL; nothing beyond it is read, and `4 <= at <= end` between calls.
@frozen
public struct BSONElements {
  @usableFromInline let start: UnsafeRawPointer
  @usableFromInline let end: Int
  @usableFromInline var at: Int

  @inlinable @inline(__always)
  init(_ view: BSONView) {
    // A view has five bytes at least.
    self.start = view.bytes.baseAddress.unsafelyUnwrapped
    self.end = view.bytes.count &- 1
    self.at = 4
  }

  /// The next element, or nil at the closing NUL.
  /// - Throws: what is wrong with it, with the offset in the document. The walk then stays there.
  @inlinable
  public mutating func next() throws(BSONError) -> BSONElement? { try step() }

  /// `next` for the loops that must be fastest: inlined, it spares handing the element over in
  /// memory, which took a quarter of the JSON writer's time.
  @inlinable @inline(__always)
  mutating func step() throws(BSONError) -> BSONElement? {
    guard at < end else { return nil }
    let tag = byte(at)
    guard let type = BSONType(rawValue: tag) else { throw BSONError(.unknownType(tag), at: at) }
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

  /// The number of bytes the value at `at` takes, checked to lie before `end`.
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
      // The closing NUL stands in for a missing value here; `room` is checked below.
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
      // Subtype 2 carries its length a second time, which servers don't check: `BSONElement.binary` does.
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

  /// A length that, with the bytes `beyond` what it counts, fits before `end`.
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

  // The lengths are checked above; these traps are the net below that.

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

  /// Where the first NUL from `offset` on stands: at `end` at the latest, where the document's is.
  @inlinable @inline(__always)
  func firstNUL(from offset: Int) -> Int {
    precondition(offset >= 0)
    var at = offset
    while at &+ 7 <= end {
      let word = UInt64(
        littleEndian: start.loadUnaligned(fromByteOffset: at, as: UInt64.self))
      // Top bits where a byte is zero. Borrows may set more of them, above the lowest one only.
      let zeros = (word &- 0x0101_0101_0101_0101) & ~word & 0x8080_8080_8080_8080
      if zeros != 0 { return at &+ zeros.trailingZeroBitCount >> 3 }
      at &+= 8
    }
    while at < end, byte(at) != 0 { at &+= 1 }
    return at
  }
}
