/// A growable byte buffer for the hot path: JSON, headers, protocol lines.
///
/// It owns its memory and shrinks only on request (`shrink(to:)`), so it allocates nothing in steady
/// state. Appended bytes must not be in the writer itself: it moves its bytes when it grows.
///
/// Safety invariant: `base` points to `capacity` bytes that this value alone owns, allocated by it and
/// freed in `deinit`; `0 <= count <= capacity`; every write reserves its room first or is checked to be
/// within `count`. `@unchecked Sendable` holds since the value is `~Copyable`: it has one owner at a
/// time, and mutation needs exclusive access. The pointer from `bytes` is not covered by that: it is
/// valid only until the next mutation and must not leave the owner.
@frozen
public struct ByteWriter: ~Copyable, @unchecked Sendable {
  @usableFromInline package var base: UnsafeMutablePointer<UInt8>
  @usableFromInline var capacity: Int
  /// Bytes written so far.
  @inlinable public var count: Int { _count }
  @usableFromInline package var _count: Int
  /// See `limit(to:)`.
  package var ceiling = Int.max
  /// Whether text was cut since `limit(to:)`, because the limit was exceeded.
  public package(set) var isCut = false

  public init(capacity: Int = 4096) {
    self.capacity = max(capacity, 64)
    self.base = .allocate(capacity: self.capacity)
    self._count = 0
  }

  deinit { base.deallocate() }

  /// The bytes written so far; valid until the next mutation.
  @inlinable
  public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: _count) }

  /// Makes room for `extra` more bytes.
  @inlinable @inline(__always)
  public mutating func reserve(_ extra: Int) {
    if _count &+ extra > capacity { grow(extra) }
  }

  @usableFromInline @inline(never)
  mutating func grow(_ extra: Int) {
    let wanted = max(capacity * 2, _count + extra)
    let larger = UnsafeMutablePointer<UInt8>.allocate(capacity: wanted)
    larger.update(from: base, count: _count)
    base.deallocate()
    base = larger
    capacity = wanted
  }

  @inlinable @inline(__always)
  public mutating func append(_ byte: UInt8) {
    reserve(1)
    base[_count] = byte
    _count &+= 1
  }

  @inlinable @inline(__always)
  public mutating func append(_ source: UnsafeRawBufferPointer) {
    let n = source.count
    guard n > 0, let start = source.baseAddress else { return }
    reserve(n)
    UnsafeMutableRawPointer(base + _count).copyMemory(from: start, byteCount: n)
    _count &+= n
  }

  @inlinable @inline(__always)
  public mutating func append(_ literal: StaticString) {
    append(UnsafeRawBufferPointer(start: literal.utf8Start, count: literal.utf8CodeUnitCount))
  }

  /// Appends four bytes, little-endian.
  @inlinable @inline(__always)
  public mutating func append(littleEndian value: Int32) {
    reserve(4)
    UnsafeMutableRawPointer(base + _count).storeBytes(of: value.littleEndian, as: Int32.self)
    _count &+= 4
  }

  /// Appends eight bytes, little-endian.
  @inlinable @inline(__always)
  public mutating func append(littleEndian value: Int64) {
    reserve(8)
    UnsafeMutableRawPointer(base + _count).storeBytes(of: value.littleEndian, as: Int64.self)
    _count &+= 8
  }

  /// For cold paths; the hot path appends bytes. Disfavored so that a literal uses the `StaticString`
  /// overload.
  @_disfavoredOverload
  public mutating func append(_ string: String) {
    var string = string
    string.withUTF8 { append(UnsafeRawBufferPointer($0)) }
  }

  @inlinable
  public mutating func append(_ array: [UInt8]) {
    array.withUnsafeBytes { append($0) }
  }

  /// Writes `value` in decimal.
  @inlinable
  public mutating func append(decimal value: UInt64) {
    reserve(20)
    var digits = 1
    var bound: UInt64 = 10
    while value >= bound {
      digits &+= 1
      if digits == 20 { break }
      bound &*= 10
    }
    store(decimal: value, digits: digits)
  }

  /// Writes the lowest `digits` decimal digits of `value`, with leading zeros.
  @inlinable
  package mutating func append(decimal value: UInt64, digits: Int) {
    reserve(digits)
    store(decimal: value, digits: digits)
  }

  /// Writes digits from the last to the first, two at a time. The caller has reserved the room.
  @inlinable @inline(__always)
  package mutating func store(decimal value: UInt64, digits: Int) {
    let start = _count
    var rest = value
    _count &+= digits
    var at = _count
    while at >= start &+ 2 {
      at &-= 2
      Self.put(pair: rest % 100, at: base + at)
      rest /= 100
    }
    if at > start { base[start] = UInt8(truncatingIfNeeded: 48 &+ rest % 10) }
  }

  /// Writes a number below 100 as two digits. The caller has reserved the room.
  @inlinable @inline(__always)
  package mutating func store(pair value: UInt64) {
    Self.put(pair: value, at: base + _count)
    _count &+= 2
  }

  @inlinable @inline(__always)
  package static func put(pair value: UInt64, at target: UnsafeMutablePointer<UInt8>) {
    let tens = value / 10
    target[0] = UInt8(truncatingIfNeeded: 48 &+ tens)
    target[1] = UInt8(truncatingIfNeeded: 48 &+ value &- tens &* 10)
  }

  /// Writes `value` in decimal, with a sign when negative.
  @inlinable
  public mutating func append(decimal value: Int64) {
    if value < 0 {
      append(UInt8(ascii: "-"))
    }
    append(decimal: value.magnitude)
  }

  /// Appends `count` bytes with the value `fill` and returns their offset, to patch in a length later.
  @inlinable
  public mutating func appendPlaceholder(_ count: Int, fill: UInt8 = 48) -> Int {
    reserve(count)
    let at = _count
    (base + at).update(repeating: fill, count: count)
    _count &+= count
    return at
  }

  /// Writes `value` in decimal, right-aligned, into the `width` bytes at `offset`, which must contain the
  /// fill byte. Traps if the range is not written yet; returns false if the value does not fit.
  @inlinable
  @discardableResult
  public mutating func patch(decimal value: Int, at offset: Int, width: Int) -> Bool {
    precondition(value >= 0 && offset >= 0 && width > 0 && offset &+ width <= _count)
    var rest = value
    var at = offset &+ width
    repeat {
      if at == offset { return false }
      at &-= 1
      base[at] = UInt8(truncatingIfNeeded: 48 &+ rest % 10)
      rest /= 10
    } while rest > 0
    return true
  }

  /// Overwrites a written byte.
  @inlinable
  public mutating func patch(_ byte: UInt8, at offset: Int) {
    precondition(offset >= 0 && offset < _count)
    base[offset] = byte
  }

  /// Overwrites four written bytes, little-endian as BSON lengths.
  @inlinable
  public mutating func patch(littleEndian value: Int32, at offset: Int) {
    precondition(offset >= 0 && offset &+ 4 <= _count)
    UnsafeMutableRawPointer(base + offset).storeBytes(of: value.littleEndian, as: Int32.self)
  }

  /// Resets `width` bytes to `fill`, before a shorter number is patched in.
  public mutating func clear(at offset: Int, width: Int, fill: UInt8 = 48) {
    precondition(offset >= 0 && width >= 0 && offset &+ width <= _count)
    (base + offset).update(repeating: fill, count: width)
  }

  /// Inserts `source` at `offset`, moving everything after it. For rare, small corrections.
  public mutating func insert(_ source: [UInt8], at offset: Int) {
    precondition(offset >= 0 && offset <= _count)
    reserve(source.count)
    (base + offset + source.count).update(from: base + offset, count: _count - offset)
    source.withUnsafeBufferPointer { bytes in
      if let start = bytes.baseAddress { (base + offset).update(from: start, count: bytes.count) }
    }
    _count += source.count
  }

  /// Discards everything after `count` bytes, e.g. a half-written message.
  @inlinable
  public mutating func truncate(to count: Int) {
    precondition(count >= 0 && count <= _count)
    _count = count
  }

  @inlinable
  public mutating func removeAll() { _count = 0 }

  /// Makes writing JSON fail, with `isCut`, soon after the writer exceeds `most` bytes (nil: never). Only
  /// escaped text checks the limit, since it can grow sixfold and is slow to write; everything else in a
  /// document is at most about as long as in BSON. Other writers may check `isBeyondLimit`.
  public mutating func limit(to most: Int?) {
    ceiling = most ?? .max
    isCut = false
  }

  /// Whether the limit of `limit(to:)` is exceeded; then the text counts as cut. For writers of large
  /// output that is slow to produce.
  public mutating func isBeyondLimit() -> Bool {
    if _count > ceiling { isCut = true }
    return isCut
  }

  /// Releases memory beyond `most` bytes if at most half of that is in use: after unusually large content.
  public mutating func shrink(to most: Int) {
    guard capacity > most, _count <= most / 2 else { return }
    let smaller = UnsafeMutablePointer<UInt8>.allocate(capacity: max(most, 64))
    smaller.update(from: base, count: _count)
    base.deallocate()
    base = smaller
    capacity = max(most, 64)
  }
}
