/// How large a message may be.
///
/// Whether an event becomes a message or a dead letter depends only on these limits, the event and the
/// configuration, not on the publish protocol or the preceding messages of a batch. So there is an allowance
/// for the headers that protocols add, and all code that makes messages uses these limits.
///
/// Sources: nats-server refuses a header block beyond 65,535 bytes (10097; it stores the length in two
/// bytes; measured on 2.9.10 to 2.15.1), a message beyond the stream's `max_msg_size` (10054), and ends
/// a connection for one beyond `max_payload` or a protocol line beyond `max_control_line`.
public struct MessageLimits: Sendable, Equatable {
  /// A message's header block, from `NATS/1.0` to its empty line.
  public static let headerBlock = 65_535
  /// Bytes of a message that are left for the protocol's own headers. `PublishLane` keeps to it.
  public static let allowance = 256
  /// The header block's first and last line.
  public static let frame = 12
  /// The event's own header lines.
  public static let headerLines = headerBlock - frame - allowance
  /// A subject. The server's default limit for a whole protocol line, which holds more than the
  /// subject, is 4096.
  public static let subject = 1024
  /// The overhead that a server counts for a stored message besides headers and body: its subject, and at most so many
  /// bytes more (measured on 2.9.10 to 2.15.1: 30 in files, 16 in memory).
  public static let storage = subject + 48
  /// A message id. Servers keep every id of the dedup window in memory.
  public static let id = 1024
  /// The maximum that a bridge sends, even if the server accepts more.
  public static let message = 64 << 20

  /// Headers and body of one message, the protocol's headers included.
  public var size: Int

  /// - Parameters:
  ///   - maximumPayload: the server's `max_payload`.
  ///   - maximumMessage: the stream's own limit, if it has one.
  ///   - maximumBytes: the stream's maximum total size, if it has one. A larger message could never be stored,
  ///     or would be removed at once.
  public init(maximumPayload: Int, maximumMessage: Int? = nil, maximumBytes: Int? = nil) {
    size = min(maximumPayload, maximumMessage ?? .max, Self.message)
    if let maximumBytes { size = min(size, max(maximumBytes - Self.storage, 1)) }
  }

  /// Throws if header lines exceed a header block.
  @inline(__always)
  static func check(headerLines count: Int) throws(MappingError) {
    guard count <= headerLines else { throw headersTooLarge(count) }
  }

  /// - Parameters:
  ///   - headers: the event's own header lines.
  ///   - body: the message's body.
  @inlinable
  public func check(headers: Int, body: Int) throws(MappingError) {
    try check(message: headers &+ Self.frame &+ body)
  }

  /// - Parameter bytes: header block and body, without the protocol's headers.
  @inlinable
  public func check(message bytes: Int) throws(MappingError) {
    guard bytes <= size &- Self.allowance else { throw tooLarge(bytes) }
  }

  /// The room for a body after the event's own header lines.
  @inlinable
  public func body(headers: Int) -> Int { room(after: headers &+ Self.frame) }

  /// - Parameter bytes: the size of the message so far, without the protocol's headers.
  @inlinable
  public func room(after bytes: Int) -> Int { size &- Self.allowance &- bytes }

  /// The maximum of a dead letter's header lines: they leave half of a message for the body.
  public var deadLetterHeaders: Int {
    max(min(Self.headerLines, (size - Self.allowance - Self.frame) / 2), 0)
  }

  /// The maximum of a dead letter's body.
  public func deadLetterBody(headers: Int) -> Int { max(body(headers: headers), 0) }

  // MARK: Cold

  @usableFromInline @inline(never)
  func tooLarge(_ bytes: Int) -> MappingError {
    MappingError(
      .payloadTooLarge,
      "the message has \(bytes) bytes with its headers; the limit is \(size), of which publishing "
        + "takes \(Self.allowance)")
  }

  /// The error for a body that was not written to its end.
  @inline(never)
  static func cut(_ room: Int) -> MappingError {
    MappingError(
      .payloadTooLarge,
      "the body has more than the \(room) bytes that a message has for it beside its headers")
  }

  /// The limit that a message of that size exceeded, read from the detail of its error; nil if the detail
  /// says something else, or something that isn't true.
  ///
  /// - Parameters:
  ///   - detail: that of a `payload_too_large`.
  ///   - headers: the event's own header lines.
  package static func limit(by detail: String, headers: Int, body: Int) -> Int? {
    let whole = headers + frame + body
    for number in detail.split(whereSeparator: { !$0.isNumber }).compactMap({ Int($0) }) {
      var limits = MessageLimits(maximumPayload: number)
      if limits.tooLarge(whole).detail == detail {
        return whole > limits.room(after: 0) ? limits.size : nil
      }
      guard number <= message, cut(number).detail == detail else { continue }
      limits.size = number + allowance + frame + headers
      return body > number ? limits.size : nil
    }
    return nil
  }

  /// Whether a dead letter's detail is that of an oversized message.
  package static func tellsSize(_ detail: UnsafeRawBufferPointer) -> Bool {
    detail.starts(with: "the message has ".utf8)
  }

  @inline(never)
  static func headersTooLarge(_ bytes: Int) -> MappingError {
    MappingError(
      .headersTooLarge,
      "the headers have \(bytes) bytes; a message's headers may have \(headerLines)")
  }

  /// The error for a value that alone makes the headers too large, before it is written.
  @inline(never)
  static func headersTooLarge(_ place: String, _ bytes: Int) -> MappingError {
    MappingError(
      .headersTooLarge,
      "\(place) has \(bytes) bytes; a message's headers may have \(headerLines) together")
  }
}
