/// What JetStream answered to a publish, read from the payload without allocation.
///
/// Source: PubAck of nats-server 2.9 to 2.15, and the frames of fast ingest (ADR-50).
public enum AckFrame: Equatable, Sendable {
  /// Stored (or, with `duplicate`, stored before) at `sequence`. `count` is set on the ack of a
  /// batch and tells how many of its messages the server took.
  case stored(sequence: UInt64, duplicate: Bool, count: UInt64?)
  /// Fast ingest: everything up to this batch sequence is stored; acks come every `every` messages.
  case flow(batchSequence: UInt64, every: UInt64)
  /// Fast ingest: messages are missing; the batch is being abandoned.
  case gap(batchSequence: UInt64)
  /// Refused. `code` is JetStream's own error code (`err_code`), 0 where the server gave none.
  case refused(code: Int, status: Int)
  /// An empty payload: the receipt of a batch's first message.
  case receipt
  /// Not something this client understands.
  case unknown

  public init(payload: UnsafeRawBufferPointer) {
    guard payload.count > 0 else {
      self = .receipt
      return
    }
    var scan = FlatScanner(payload)
    guard scan.run() else {
      self = .unknown
      return
    }
    switch scan.kind {
    case .ack: self = .flow(batchSequence: scan.sequence, every: scan.messages)
    case .gap: self = .gap(batchSequence: scan.sequence)
    case .error: self = .refused(code: scan.errorCode, status: scan.status)
    case .other: self = .unknown
    case .none:
      if scan.hasError {
        self = .refused(code: scan.errorCode, status: scan.status)
      } else if scan.hasSequence {
        self = .stored(
          sequence: scan.sequence, duplicate: scan.duplicate,
          count: scan.hasCount ? scan.count : nil)
      } else {
        self = .unknown
      }
    }
  }
}

/// Walks one JSON object and picks the few members an ack has. Not a validator: what doesn't look
/// like JSON makes `run` return false. Borrows `bytes`, within `AckFrame.init`.
private struct FlatScanner {
  enum Kind { case none, ack, gap, error, other }

  let bytes: UnsafeRawBufferPointer
  var at = 0
  var depth = 0
  var inError = false
  var kind = Kind.none
  var sequence: UInt64 = 0
  var hasSequence = false
  var messages: UInt64 = 0
  var count: UInt64 = 0
  var hasCount = false
  var duplicate = false
  var hasError = false
  var errorCode = 0
  var status = 0

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  var current: UInt8 { at < bytes.count ? bytes[at] : 0 }

  mutating func skipSpace() {
    while at < bytes.count,
      bytes[at] == 0x20 || bytes[at] == 0x0A || bytes[at] == 0x0D || bytes[at] == 9
    {
      at &+= 1
    }
  }

  /// The content of the string at `at` (escapes left as they are), or nil.
  mutating func string() -> UnsafeRawBufferPointer? {
    guard current == UInt8(ascii: "\"") else { return nil }
    at &+= 1
    let from = at
    while at < bytes.count {
      let c = bytes[at]
      if c == UInt8(ascii: "\\") {
        at &+= 2
      } else if c == UInt8(ascii: "\"") {
        let text = UnsafeRawBufferPointer(rebasing: bytes[from..<at])
        at &+= 1
        return text
      } else {
        at &+= 1
      }
    }
    return nil
  }

  mutating func number() -> UInt64? {
    let from = at
    var value: UInt64 = 0
    while at < bytes.count {
      let c = bytes[at]
      guard c >= 48, c <= 57 else { break }
      let (product, over) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(UInt64(c &- 48))
      guard !over, !carry else { return nil }
      value = sum
      at &+= 1
    }
    return at > from ? value : nil
  }

  mutating func run() -> Bool {
    skipSpace()
    guard current == UInt8(ascii: "{") else { return false }
    at &+= 1
    depth = 1
    while at < bytes.count {
      skipSpace()
      switch current {
      case UInt8(ascii: "}"):
        at &+= 1
        depth &-= 1
        inError = false
        if depth == 0 { return true }
      case UInt8(ascii: ","): at &+= 1
      case UInt8(ascii: "\""):
        guard let key = string() else { return false }
        skipSpace()
        guard current == UInt8(ascii: ":") else { return false }
        at &+= 1
        skipSpace()
        guard member(key) else { return false }
      default: return false
      }
    }
    return false
  }

  mutating func member(_ key: UnsafeRawBufferPointer) -> Bool {
    switch current {
    case UInt8(ascii: "\""):
      guard let text = string() else { return false }
      if depth == 1, key.matches("type") {
        if text.matches("ack") {
          kind = .ack
        } else if text.matches("gap") {
          kind = .gap
        } else if text.matches("err") {
          kind = .error
        } else if !text.matches("io.nats.jetstream.api.v1.pub_ack_response") {
          kind = .other
        }
      }
      return true
    case UInt8(ascii: "{"):
      at &+= 1
      depth &+= 1
      if depth == 2, key.matches("error") {
        inError = true
        hasError = true
      }
      return depth < 8
    case UInt8(ascii: "t"), UInt8(ascii: "f"), UInt8(ascii: "n"):
      if depth == 1, key.matches("duplicate") { duplicate = current == UInt8(ascii: "t") }
      while at < bytes.count, bytes[at] >= UInt8(ascii: "a"), bytes[at] <= UInt8(ascii: "z") {
        at &+= 1
      }
      return true
    default:
      guard let value = number() else { return false }
      if inError {
        if key.matches("err_code") {
          errorCode = Int(clamping: value)
        } else if key.matches("code") {
          status = Int(clamping: value)
        }
      } else if depth == 1 {
        if key.matches("seq") {
          sequence = value
          hasSequence = true
        } else if key.matches("msgs") {
          messages = value
        } else if key.matches("count") {
          count = value
          hasCount = true
        }
      }
      return true
    }
  }
}

extension UnsafeRawBufferPointer {
  fileprivate func matches(_ literal: StaticString) -> Bool {
    guard count == literal.utf8CodeUnitCount else { return false }
    let other = literal.utf8Start
    for i in 0..<count where self[i] != other[i] { return false }
    return true
  }
}
