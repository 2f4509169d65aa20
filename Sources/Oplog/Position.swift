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

  /// Reads `<seconds>.<increment>`.
  public init?(_ text: some StringProtocol) {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 2, let s = UInt32(parts[0]), let i = UInt32(parts[1]) else { return nil }
    self.init(seconds: s, increment: i)
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

  /// Reads `<seconds>.<increment>.<index>`.
  public init?(_ text: some StringProtocol) {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 3, let s = UInt32(parts[0]), let i = UInt32(parts[1]),
      let n = UInt32(parts[2])
    else { return nil }
    self.init(entry: OplogPosition(seconds: s, increment: i), index: n)
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
