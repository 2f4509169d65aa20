/// An oplog entry's position: MongoDB's cluster time, unique and increasing within one oplog.
@frozen
public struct OplogPosition: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// Seconds since 1970.
  public var seconds: UInt32
  /// Counts the entries of that second, from 1.
  public var increment: UInt32

  @inlinable
  public init(seconds: UInt32, increment: UInt32) {
    self.seconds = seconds
    self.increment = increment
  }

  /// Both numbers as one, ordered as the oplog.
  @inlinable
  public var value: UInt64 { UInt64(seconds) << 32 | UInt64(increment) }

  @inlinable
  public static func < (a: Self, b: Self) -> Bool { a.value < b.value }

  /// Reads `<seconds>.<increment>`, decimal digits alone.
  public init?(_ text: some StringProtocol) {
    var text = String(text)
    guard let parts = text.withUTF8({ positionNumbers(UnsafeRawBufferPointer($0), count: 2) })
    else { return nil }
    self.init(seconds: parts.0, increment: parts.1)
  }

  public var description: String { "\(seconds).\(increment)" }
}

/// A change event's position: its entry, and its index among the events of that entry (or transaction).
@frozen
public struct EventPosition: Hashable, Comparable, Sendable, CustomStringConvertible {
  public var entry: OplogPosition
  public var index: UInt32

  @inlinable
  public init(entry: OplogPosition, index: UInt32) {
    self.entry = entry
    self.index = index
  }

  @inlinable
  public static func < (a: Self, b: Self) -> Bool {
    a.entry.value != b.entry.value ? a.entry.value < b.entry.value : a.index < b.index
  }

  /// Reads `<seconds>.<increment>.<index>`, decimal digits alone.
  public init?(_ text: some StringProtocol) {
    var text = String(text)
    guard let read = text.withUTF8({ Self(utf8: UnsafeRawBufferPointer($0)) }) else { return nil }
    self = read
  }

  /// The same without a string: every message that is read back has one.
  public init?(utf8 text: UnsafeRawBufferPointer) {
    guard let parts = positionNumbers(text, count: 3) else { return nil }
    self.init(entry: OplogPosition(seconds: parts.0, increment: parts.1), index: parts.2)
  }

  public var description: String { "\(entry).\(index)" }
}

/// An entry's position and election term, which MongoDB calls its optime. After a rollback, another
/// entry may have the same position, but never the same term.
@frozen
public struct OpTime: Hashable, Sendable, CustomStringConvertible {
  public var position: OplogPosition
  /// -1 if the entry has none.
  public var term: Int64

  @inlinable
  public init(position: OplogPosition, term: Int64) {
    self.position = position
    self.term = term
  }

  public var description: String { "\(position) (term \(term))" }
}

/// So many numbers, two or three, with a dot between them. Nil where it is anything else, or one is too large.
private func positionNumbers(
  _ text: UnsafeRawBufferPointer, count: Int
) -> (UInt32, UInt32, UInt32)? {
  var numbers: (UInt32, UInt32, UInt32) = (0, 0, 0)
  var complete = 0
  var value: UInt64 = 0
  var hasDigit = false
  for byte in text {
    if byte == UInt8(ascii: ".") {
      guard hasDigit, complete < count - 1 else { return nil }
      if complete == 0 { numbers.0 = UInt32(value) } else { numbers.1 = UInt32(value) }
      complete += 1
      (value, hasDigit) = (0, false)
      continue
    }
    let digit = byte &- UInt8(ascii: "0")
    guard digit <= 9 else { return nil }
    value = value * 10 + UInt64(digit)
    guard value <= UInt64(UInt32.max) else { return nil }
    hasDigit = true
  }
  guard hasDigit, complete == count - 1 else { return nil }
  if complete == 1 { numbers.1 = UInt32(value) } else { numbers.2 = UInt32(value) }
  return numbers
}
