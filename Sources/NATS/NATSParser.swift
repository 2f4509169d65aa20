#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// A protocol operation of the server.
///
/// Safety invariant: its views point into the bytes given to `NATSParser.next` and have their lifetime.
/// Not Sendable.
package enum NATSOperation {
  /// The JSON of INFO.
  case info(UnsafeRawBufferPointer)
  case message(sid: UInt64, NATSMessageView)
  case ping
  case pong
  case ok
  /// The text of -ERR, without quotes.
  case error(UnsafeRawBufferPointer)
}

/// Parses the server's operations from bytes in any chunks. A pure value.
///
/// It stores no bytes, only its progress in the incomplete operation. All lengths are limited: control
/// lines, numbers, payloads. After an error the stream can't be parsed further.
package struct NATSParser: Sendable {
  /// A control line has subject, sid, reply and sizes.
  static let maximumLine = 4096
  /// INFO lists all servers of a cluster.
  static let maximumInfo = 1 << 20

  /// Maximum size of a message, including headers.
  package var payloadLimit: Int

  /// Bytes of the incomplete line already searched for its end.
  private var searched = 0
  /// An incomplete message whose control line is parsed; offsets from the start of the operation.
  private var pending: Pending?

  private struct Pending: Sendable {
    var sid: UInt64
    var subject: Range<Int>
    var reply: Range<Int>
    var headerLength: Int
    var start: Int
    var total: Int
  }

  package init(payloadLimit: Int = 64 << 20) {
    self.payloadLimit = payloadLimit
  }

  /// The next operation and its length.
  ///
  /// - Parameter bytes: everything received from the start of the operation on. After nil, the next call
  ///   must pass the same bytes and more.
  /// - Returns: nil if the operation is incomplete.
  /// - Throws: `protocolViolation`.
  package mutating func next(_ bytes: UnsafeRawBufferPointer) throws(NATSError)
    -> (operation: NATSOperation, length: Int)?
  {
    if let message = pending { return try finish(message, bytes) }
    guard let newline = try findLine(bytes) else { return nil }
    var end = newline
    if end > 0, bytes[end - 1] == 0x0D { end -= 1 }
    guard end >= 3 else { throw unknown(bytes, end) }
    let length = newline + 1
    let word = UInt32(bytes[0]) << 16 | UInt32(bytes[1]) << 8 | UInt32(bytes[2])
    switch word & 0xDFDFDF {
    case Self.msg where isBlank(bytes[3]):
      let message = try messageLine(bytes, from: 4, to: end, next: length, headers: false)
      return try finish(message, bytes)
    case Self.hms where end > 4 && bytes[3] & 0xDF == UInt8(ascii: "G") && isBlank(bytes[4]):
      let message = try messageLine(bytes, from: 5, to: end, next: length, headers: true)
      return try finish(message, bytes)
    case Self.pin where end == 4 && bytes[3] & 0xDF == UInt8(ascii: "G"):
      return (.ping, length)
    case Self.pon where end == 4 && bytes[3] & 0xDF == UInt8(ascii: "G"):
      return (.pong, length)
    case Self.inf where end > 5 && bytes[3] & 0xDF == UInt8(ascii: "O") && isBlank(bytes[4]):
      return (.info(UnsafeRawBufferPointer(rebasing: bytes[5..<end])), length)
    default:
      if end == 3, bytes[0] == UInt8(ascii: "+"), (word & 0xDFDF) == Self.ok {
        return (.ok, length)
      }
      if end >= 4, bytes[0] == UInt8(ascii: "-"), (word & 0xDFDF) == Self.er,
        bytes[3] & 0xDF == UInt8(ascii: "R")
      {
        return (.error(unquoted(bytes, from: 4, to: end)), length)
      }
      throw unknown(bytes, end)
    }
  }

  private static let msg: UInt32 = 0x4D5347
  private static let hms: UInt32 = 0x484D53
  private static let pin: UInt32 = 0x50494E
  private static let pon: UInt32 = 0x504F4E
  private static let inf: UInt32 = 0x494E46
  private static let ok: UInt32 = 0x4F4B
  private static let er: UInt32 = 0x4552

  // MARK: - Lines

  /// The offset of the line feed; nil if the line is incomplete.
  private mutating func findLine(_ bytes: UnsafeRawBufferPointer) throws(NATSError) -> Int? {
    guard let base = bytes.baseAddress, searched < bytes.count else { return nil }
    // Limited, so that a message's payload isn't searched.
    let limit = bytes[0] & 0xDF == UInt8(ascii: "I") ? Self.maximumInfo : Self.maximumLine
    let window = min(bytes.count, limit)
    if searched < window,
      let found = memchr(base + searched, 0x0A, window - searched)
    {
      searched = 0
      return UnsafeRawPointer(found) - base
    }
    guard bytes.count < limit else {
      throw NATSError(.protocolViolation, "the server sent a line longer than \(limit) bytes")
    }
    searched = bytes.count
    return nil
  }

  private func unquoted(_ bytes: UnsafeRawBufferPointer, from: Int, to: Int)
    -> UnsafeRawBufferPointer
  {
    var from = from
    var to = to
    while from < to, isBlank(bytes[from]) { from += 1 }
    while to > from, isBlank(bytes[to - 1]) { to -= 1 }
    if to - from >= 2, bytes[from] == UInt8(ascii: "'"), bytes[to - 1] == UInt8(ascii: "'") {
      from += 1
      to -= 1
    }
    return UnsafeRawBufferPointer(rebasing: bytes[from..<to])
  }

  private func unknown(_ bytes: UnsafeRawBufferPointer, _ end: Int) -> NATSError {
    NATSError(
      .protocolViolation,
      "'\(printable(bytes, min(end, 24)))' is not from a NATS server; wrong port?")
  }

  // MARK: - Messages

  /// `subject sid [reply] total` or `subject sid [reply] headers total`.
  private func messageLine(
    _ bytes: UnsafeRawBufferPointer, from: Int, to end: Int, next: Int, headers: Bool
  ) throws(NATSError) -> Pending {
    var at = from
    let subject = word(bytes, &at, end)
    let sidWord = word(bytes, &at, end)
    var reply = 0..<0
    var first = word(bytes, &at, end)
    var second = word(bytes, &at, end)
    if headers {
      let third = word(bytes, &at, end)
      if !third.isEmpty {
        reply = first
        first = second
        second = third
      }
    } else if !second.isEmpty {
      reply = first
      first = second
      second = 0..<0
    }
    let extra = word(bytes, &at, end)
    guard !subject.isEmpty, extra.isEmpty, let sid = number(bytes, sidWord),
      let size = number(bytes, first)
    else { throw malformed(bytes, end) }
    var headerLength = 0
    var total = size
    if headers {
      guard let whole = number(bytes, second), size <= whole else { throw malformed(bytes, end) }
      headerLength = Int(truncatingIfNeeded: size)
      total = whole
    }
    guard total <= UInt64(payloadLimit) else {
      throw NATSError(
        .protocolViolation,
        "the server announced a message of \(total) bytes, more than the \(payloadLimit) expected")
    }
    return Pending(
      sid: sid, subject: subject, reply: reply, headerLength: headerLength, start: next,
      total: Int(truncatingIfNeeded: total))
  }

  private mutating func finish(_ message: Pending, _ bytes: UnsafeRawBufferPointer)
    throws(NATSError) -> (operation: NATSOperation, length: Int)?
  {
    let end = message.start + message.total
    guard bytes.count >= end + 2 else {
      pending = message
      return nil
    }
    pending = nil
    guard bytes[end] == 0x0D, bytes[end + 1] == 0x0A else {
      throw NATSError(
        .protocolViolation, "a message from the server does not have its announced length")
    }
    let body = message.start + message.headerLength
    let view = NATSMessageView(
      subject: UnsafeRawBufferPointer(rebasing: bytes[message.subject]),
      reply: UnsafeRawBufferPointer(rebasing: bytes[message.reply]),
      headers: UnsafeRawBufferPointer(rebasing: bytes[message.start..<body]),
      payload: UnsafeRawBufferPointer(rebasing: bytes[body..<end]))
    return (.message(sid: message.sid, view), end + 2)
  }

  /// The next word of the line; empty at its end.
  @inline(__always)
  private func word(_ bytes: UnsafeRawBufferPointer, _ at: inout Int, _ end: Int) -> Range<Int> {
    while at < end, isBlank(bytes[at]) { at += 1 }
    let start = at
    while at < end, !isBlank(bytes[at]) { at += 1 }
    return start..<at
  }

  @inline(__always)
  private func isBlank(_ c: UInt8) -> Bool { c == 0x20 || c == 0x09 }

  @inline(__always)
  private func number(_ bytes: UnsafeRawBufferPointer, _ word: Range<Int>) -> UInt64? {
    guard !word.isEmpty, word.count < 19 else { return nil }
    var value: UInt64 = 0
    for i in word {
      let digit = bytes[i] &- 48
      guard digit <= 9 else { return nil }
      value = value &* 10 &+ UInt64(digit)
    }
    return value
  }

  private func malformed(_ bytes: UnsafeRawBufferPointer, _ end: Int) -> NATSError {
    NATSError(
      .protocolViolation,
      "the server sent the malformed line '\(printable(bytes, min(end, 120)))'")
  }

  private func printable(_ bytes: UnsafeRawBufferPointer, _ count: Int) -> String {
    let shown = bytes[..<count].map { $0 >= 0x20 && $0 < 0x7F ? $0 : UInt8(ascii: "?") }
    return String(decoding: shown, as: UTF8.self)
  }
}
