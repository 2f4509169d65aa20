public import NIOCore

/// A received message that owns its bytes.
public struct NATSMessage: Sendable {
  public var subject: String
  /// The subject for an answer.
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

  /// Copies a view.
  public init(_ view: borrowing NATSMessageView) {
    subject = String(decoding: view.subject, as: UTF8.self)
    reply = view.reply.isEmpty ? nil : String(decoding: view.reply, as: UTF8.self)
    headers = view.headers.isEmpty ? nil : NATSHeaders(parsing: view.headers)
    payload = ByteBuffer(bytes: view.payload)
  }

  /// The status set by the server (503 no responders, 404, 408…); nil for ordinary messages.
  public var status: Int? { headers?.status }
}

/// A received message in the connection's buffer.
///
/// Safety invariant: a view owns no memory. The pointers are valid only during the call of
/// `NATSRawHandler.received`, which borrows the view; copy what is needed longer. Not Sendable.
@frozen
public struct NATSMessageView {
  public var subject: UnsafeRawBufferPointer
  /// May be empty.
  public var reply: UnsafeRawBufferPointer
  /// The whole header block, with its `NATS/1.0` line and empty line; may be empty.
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

  /// The status in the headers' first line (503 no responders, 404, 408…); nil for ordinary messages.
  @inlinable
  public var status: Int? { NATSHeaders.status(of: headers) }
}

/// Receives messages on the connection's event loop without a copy.
public protocol NATSRawHandler: AnyObject {
  /// Called on the event loop for every message of the subscription, in order. Must not block. May write,
  /// subscribe, unsubscribe and close.
  func received(_ message: borrowing NATSMessageView)
}
