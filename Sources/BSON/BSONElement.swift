/// One element: type, key and the exact bytes of its value.
///
/// `BSONElements` validates the value's length and structure for its type. A caller of `init` must do
/// so itself; on an invalid value the accessors trap or return nil, and never read outside it.
///
/// Safety invariant: as `BSONView`, an element borrows `key` and `value` from bytes that outlive it, and
/// is not Sendable.
@frozen
public struct BSONElement {
  public let type: BSONType
  /// Without the final NUL. Not validated as UTF-8.
  public let key: UnsafeRawBufferPointer
  public let value: UnsafeRawBufferPointer

  @inlinable @inline(__always)
  public init(type: BSONType, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
    self.type = type
    self.key = key
    self.value = value
  }

  /// The bytes of a string, code or symbol, without the final NUL.
  @inlinable
  public var string: UnsafeRawBufferPointer? {
    switch type {
    case .string, .javascript, .symbol: text
    default: nil
    }
  }

  /// The bytes between length and NUL in a string value.
  @inlinable
  var text: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: value[4..<(value.count &- 1)])
  }

  @inlinable public var int32: Int32? { type == .int32 ? value.readInt32(at: 0) : nil }
  @inlinable public var int64: Int64? { type == .int64 ? value.readInt64(at: 0) : nil }
  /// An int32 or int64.
  @inlinable public var integer: Int64? {
    switch type {
    case .int32: Int64(value.readInt32(at: 0))
    case .int64: value.readInt64(at: 0)
    default: nil
    }
  }
  @inlinable public var double: Double? {
    type == .double ? value.readDouble(at: 0) : nil
  }
  @inlinable public var bool: Bool? { type == .bool ? value.readByte(at: 0) == 1 : nil }
  /// Milliseconds since 1970.
  @inlinable public var date: Int64? { type == .date ? value.readInt64(at: 0) : nil }
  /// 12 bytes.
  @inlinable public var objectID: UnsafeRawBufferPointer? { type == .objectID ? value : nil }
  /// A BSON timestamp: seconds and increment.
  @inlinable public var timestamp: (seconds: UInt32, increment: UInt32)? {
    guard type == .timestamp else { return nil }
    return (
      UInt32(bitPattern: value.readInt32(at: 4)), UInt32(bitPattern: value.readInt32(at: 0))
    )
  }
  /// A decimal's 128 bits (IEEE 754-2008, binary integer decimal).
  @inlinable public var decimal128: (high: UInt64, low: UInt64)? {
    guard type == .decimal128 else { return nil }
    return (
      UInt64(bitPattern: value.readInt64(at: 8)), UInt64(bitPattern: value.readInt64(at: 0))
    )
  }

  /// A document or array. Never nil for these types in an element from `BSONElements`.
  @inlinable
  public var document: BSONView? {
    switch type {
    case .document, .array: BSONView(exactly: value)
    default: nil
    }
  }

  /// Subtype and payload; for subtype 2 without the inner length, if that is correct.
  @inlinable
  public var binary: (subtype: UInt8, bytes: UnsafeRawBufferPointer)? {
    guard type == .binary else { return nil }
    let subtype = value.readByte(at: 4)
    let hasLength =
      subtype == 2 && value.count >= 9 && Int(value.readInt32(at: 5)) == value.count &- 9
    return (subtype, UnsafeRawBufferPointer(rebasing: value[(hasLength ? 9 : 5)...]))
  }

  /// The 16 bytes of a UUID: binary of subtype 4 with that length.
  @inlinable
  public var uuid: UnsafeRawBufferPointer? {
    guard type == .binary, value.count == 21, value.readByte(at: 4) == 4 else { return nil }
    return UnsafeRawBufferPointer(rebasing: value[5...])
  }

  /// A regular expression's pattern and options, without the NULs.
  public var regex: (pattern: UnsafeRawBufferPointer, options: UnsafeRawBufferPointer)? {
    guard type == .regex, let middle = value.firstIndex(of: 0) else { return nil }
    return (
      UnsafeRawBufferPointer(rebasing: value[..<middle]),
      UnsafeRawBufferPointer(rebasing: value[(middle &+ 1)..<(value.count &- 1)])
    )
  }

  /// Code and its scope.
  public var codeWithScope: (code: UnsafeRawBufferPointer, scope: BSONView)? {
    guard type == .javascriptWithScope else { return nil }
    let end = 7 &+ Int(value.readInt32(at: 4))
    guard let scope = BSONView(exactly: UnsafeRawBufferPointer(rebasing: value[(end &+ 1)...]))
    else { return nil }
    return (UnsafeRawBufferPointer(rebasing: value[8..<end]), scope)
  }

  /// The namespace and the 12 bytes of the id.
  public var dbPointer: (namespace: UnsafeRawBufferPointer, id: UnsafeRawBufferPointer)? {
    guard type == .dbPointer else { return nil }
    let end = value.count &- 13
    return (
      UnsafeRawBufferPointer(rebasing: value[4..<end]),
      UnsafeRawBufferPointer(rebasing: value[(end &+ 1)...])
    )
  }
}
