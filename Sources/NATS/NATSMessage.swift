public import NIOCore

/// A received message that owns its bytes.
public struct NATSMessage: Sendable {
  public var subject: String
  /// Where an answer is expected.
  public var reply: String?
  public var headers: NATSHeaders?
  public var payload: ByteBuffer

  public init(
    subject: String, reply: String? = nil, headers: NATSHeaders? = nil,
    payload: ByteBuffer = ByteBuffer()
  ) {
    self.subject = subject
    self.reply = reply
    self.headers = headers
    self.payload = payload
  }

  /// Copies what a view shows.
  public init(_ view: borrowing NATSMessageView) {
    subject = String(decoding: view.subject, as: UTF8.self)
    reply = view.reply.isEmpty ? nil : String(decoding: view.reply, as: UTF8.self)
    headers = view.headers.isEmpty ? nil : NATSHeaders(parsing: view.headers)
    payload = ByteBuffer(bytes: view.payload)
  }

  /// The server's word about the message (503 no responders, 404, 408…); nil for ordinary ones.
  public var status: Int? { headers?.status }
}

/// A received message as it lies in the connection's buffer.
///
/// Valid only during the call of `NATSRawHandler.received`; copy what has to live longer.
@frozen
public struct NATSMessageView {
  public var subject: UnsafeRawBufferPointer
  /// May be empty.
  public var reply: UnsafeRawBufferPointer
  /// The whole block with its `NATS/1.0` line and its empty line; may be empty.
  public var headers: UnsafeRawBufferPointer
  public var payload: UnsafeRawBufferPointer

  @inlinable
  public init(
    subject: UnsafeRawBufferPointer, reply: UnsafeRawBufferPointer,
    headers: UnsafeRawBufferPointer, payload: UnsafeRawBufferPointer
  ) {
    self.subject = subject
    self.reply = reply
    self.headers = headers
    self.payload = payload
  }

  /// The status in the headers' first line (503 no responders, 404, 408…); nil for ordinary ones.
  @inlinable
  public var status: Int? { NATSHeaders.status(of: headers) }
}

/// Receives messages on the connection's event loop, without a copy.
public protocol NATSRawHandler: AnyObject {
  /// Called on the event loop for every message of the subscription, in the order of arrival. It
  /// must not block. It may write, subscribe, unsubscribe and close.
  func received(_ message: borrowing NATSMessageView)
}
