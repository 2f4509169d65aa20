extension BSONElements {
  /// `next` for hot loops in other modules: fully inlined, it avoids returning the element in memory and
  /// makes no calls.
  @inlinable @inline(__always)
  public mutating func advance() throws(BSONError) -> BSONElement? {
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
}

extension BSONType {
  /// The same as `init(rawValue:)`, which is synthesized and never inlined into other modules.
  @inlinable @inline(__always)
  init?(tag: UInt8) {
    switch tag {
    case 0x01: self = .double
    case 0x02: self = .string
    case 0x03: self = .document
    case 0x04: self = .array
    case 0x05: self = .binary
    case 0x06: self = .undefined
    case 0x07: self = .objectID
    case 0x08: self = .bool
    case 0x09: self = .date
    case 0x0A: self = .null
    case 0x0B: self = .regex
    case 0x0C: self = .dbPointer
    case 0x0D: self = .javascript
    case 0x0E: self = .symbol
    case 0x0F: self = .javascriptWithScope
    case 0x10: self = .int32
    case 0x11: self = .timestamp
    case 0x12: self = .int64
    case 0x13: self = .decimal128
    case 0xFF: self = .minKey
    case 0x7F: self = .maxKey
    default: return nil
    }
  }
}
