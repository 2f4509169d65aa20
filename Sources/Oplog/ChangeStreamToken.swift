import BSON

/// The readable part of a change stream's resume token: the hexadecimal text in its field `_data`, a
/// key that servers sort events by.
///
/// The key starts with 0x82 and the cluster time, followed by its version, its type (an event's token
/// or a high-water mark) and the operation's index in its transaction. The rest isn't needed. Fields in
/// an unknown format are nil: the token can still be used.
package struct ChangeStreamToken: Equatable, Sendable {
  package var position: OplogPosition
  /// A mark before all events of its cluster time, not an event's token.
  package var isHighWaterMark = false
  /// The operation's index in its transaction, from 0; 0 outside a transaction.
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

/// Decodes pairs of hexadecimal digits. Borrows `text` during `ChangeStreamToken.init`.
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

  /// A non-negative integer: a type byte with its length, then the value shifted left by a bit that is
  /// set if a fraction follows.
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
