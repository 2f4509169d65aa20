/// Little-endian reads that trap out of bounds, as a safety net: callers validate external lengths first.
extension UnsafeRawBufferPointer {
  @inlinable @inline(__always)
  public func readByte(at offset: Int) -> UInt8 {
    precondition(offset >= 0 && offset < count)
    return self.baseAddress.unsafelyUnwrapped.load(fromByteOffset: offset, as: UInt8.self)
  }

  @inlinable @inline(__always)
  public func readInt32(at offset: Int) -> Int32 {
    precondition(offset >= 0 && offset <= count &- 4)
    return Int32(
      littleEndian: self.baseAddress.unsafelyUnwrapped.loadUnaligned(
        fromByteOffset: offset, as: Int32.self))
  }

  @inlinable @inline(__always)
  public func readInt64(at offset: Int) -> Int64 {
    precondition(offset >= 0 && offset <= count &- 8)
    return Int64(
      littleEndian: self.baseAddress.unsafelyUnwrapped.loadUnaligned(
        fromByteOffset: offset, as: Int64.self))
  }

  @inlinable @inline(__always)
  public func readDouble(at offset: Int) -> Double {
    Double(bitPattern: UInt64(bitPattern: readInt64(at: offset)))
  }

  /// Byte equality with a literal, without allocation.
  @inlinable
  public func equals(_ literal: StaticString) -> Bool { equals(literal.utf8) }

  /// Byte equality.
  @inlinable
  public func equals(_ other: UnsafeRawBufferPointer) -> Bool {
    guard count == other.count else { return false }
    var at = 0
    while at &+ 8 <= count {
      if readInt64(at: at) != other.readInt64(at: at) { return false }
      at &+= 8
    }
    while at < count {
      if readByte(at: at) != other.readByte(at: at) { return false }
      at &+= 1
    }
    return true
  }
}

extension StaticString {
  /// The literal's bytes. They live as long as the process, so the pointer is always valid.
  @inlinable
  package var utf8: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: utf8Start, count: utf8CodeUnitCount)
  }
}
