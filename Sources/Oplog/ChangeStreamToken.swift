import BSON

/// What a change stream's resume token tells besides being one: the hexadecimal text in its field
/// `_data`, a key that servers sort events by.
///
/// The key begins with 0x82 and the cluster time; then come its version, whether it is an event's
/// or only a mark between events, and the operation's place in its transaction. What follows is of
/// no interest here. Whatever doesn't look like that leaves the fields nil: a token stays usable
/// without being understood.
package struct ChangeStreamToken: Equatable, Sendable {
  package var position: OplogPosition
  /// A mark that stands before every event of its cluster time; an event's own token otherwise.
  package var isHighWaterMark = false
  /// The operation's place in its transaction, from 0; 0 outside of one.
  package var operationIndex: UInt32?

  package init?(_ text: UnsafeRawBufferPointer) {
    var key = HexBytes(text)
    guard key.next() == Self.timestampType, let time = key.bigEndian(8) else { return nil }
    position = OplogPosition(
      seconds: UInt32(time >> 32), increment: UInt32(truncatingIfNeeded: time))
    guard let version = key.number(), (1...2).contains(version), let type = key.number() else {
      return
    }
    isHighWaterMark = type == Self.highWaterMark
    if type == Self.event { operationIndex = key.number().flatMap { UInt32(exactly: $0) } }
  }

  private static var timestampType: UInt8 { 0x82 }
  private static var highWaterMark: UInt64 { 0 }
  private static var event: UInt64 { 128 }
}

/// Bytes written as hexadecimal digits, two each.
private struct HexBytes {
  private let text: UnsafeRawBufferPointer
  private var at = 0

  init(_ text: UnsafeRawBufferPointer) { self.text = text }

  mutating func next() -> UInt8? {
    guard at &+ 1 < text.count, let high = Self.digit(text.readByte(at: at)),
      let low = Self.digit(text.readByte(at: at &+ 1))
    else { return nil }
    at &+= 2
    return high << 4 | low
  }

  /// At most eight bytes.
  mutating func bigEndian(_ count: Int) -> UInt64? {
    var value: UInt64 = 0
    for _ in 0..<count {
      guard let byte = next() else { return nil }
      value = value << 8 | UInt64(byte)
    }
    return value
  }

  /// A whole number that isn't negative: a type byte that tells its length, then the value with a
  /// bit behind it that is set before a fraction.
  mutating func number() -> UInt64? {
    guard let type = next() else { return nil }
    switch type {
    case 0x29: return 0
    case 0x2B...0x32:
      guard let value = bigEndian(Int(type) &- 0x2A), value & 1 == 0 else { return nil }
      return value >> 1
    default: return nil
    }
  }

  private static func digit(_ character: UInt8) -> UInt8? {
    switch character {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): character &- UInt8(ascii: "0")
    case UInt8(ascii: "A")...UInt8(ascii: "F"): character &- UInt8(ascii: "A") &+ 10
    case UInt8(ascii: "a")...UInt8(ascii: "f"): character &- UInt8(ascii: "a") &+ 10
    default: nil
    }
  }
}
