/// What went wrong on a connection to a NATS server: a code to decide by, and a message that says
/// what happened, where, and what to do about it. It never contains secrets.
public struct NATSError: Error, Sendable, Hashable, CustomStringConvertible {
  /// Opaque, so that codes can be added without breaking anybody's `switch`.
  public struct Code: Sendable, Hashable, CustomStringConvertible {
    private enum Base: String, Sendable, Hashable {
      case connectFailed, authenticationFailed, tlsFailed, protocolViolation, stale, closed
      case connectionLost, timeout, cancelled, noResponders, payloadTooLarge, invalidSubject
      case invalidHeader, permissionsViolation, serverError, badCredentials, badURL, unsupported
      case slowConsumer, outboundFull, draining
    }

    private let base: Base
    private init(_ base: Base) { self.base = base }

    public var description: String { base.rawValue }

    /// No server of the list could be reached.
    public static let connectFailed = Code(.connectFailed)
    /// The server refused user, token, key or JWT.
    public static let authenticationFailed = Code(.authenticationFailed)
    /// Certificate, key or handshake.
    public static let tlsFailed = Code(.tlsFailed)
    /// The other end does not speak the NATS protocol, or breaks it.
    public static let protocolViolation = Code(.protocolViolation)
    /// Pings went unanswered.
    public static let stale = Code(.stale)
    /// The connection has ended, nothing can be sent any more; the message says why it ended.
    public static let closed = Code(.closed)
    /// The connection ended without our doing: the server or the network.
    public static let connectionLost = Code(.connectionLost)
    public static let timeout = Code(.timeout)
    /// The calling task was cancelled.
    public static let cancelled = Code(.cancelled)
    /// Nobody subscribes to the request's subject (status 503).
    public static let noResponders = Code(.noResponders)
    /// Headers and payload together exceed the server's `max_payload`.
    public static let payloadTooLarge = Code(.payloadTooLarge)
    /// The same as `payloadTooLarge`, under the name of the server's setting.
    public static let maxPayload = payloadTooLarge
    public static let invalidSubject = Code(.invalidSubject)
    public static let invalidHeader = Code(.invalidHeader)
    /// The user may not publish or subscribe there; the connection lives on.
    public static let permissionsViolation = Code(.permissionsViolation)
    /// Any other `-ERR`.
    public static let serverError = Code(.serverError)
    /// A seed, creds file, certificate or key of ours cannot be used.
    public static let badCredentials = Code(.badCredentials)
    public static let badURL = Code(.badURL)
    /// The server is too old or not configured for what was asked.
    public static let unsupported = Code(.unsupported)
    /// A subscription's buffer was full; it ended rather than lose messages unnoticed.
    public static let slowConsumer = Code(.slowConsumer)
    /// Too many bytes wait for the socket.
    public static let outboundFull = Code(.outboundFull)
    /// The connection is being drained: no new subscriptions.
    public static let draining = Code(.draining)
  }

  public var code: Code
  /// What happened and what to do about it.
  public var message: String
  /// `host:port` of the server concerned.
  public var server: String?
  /// Of a `permissionsViolation` that the server reported: what it refused.
  public internal(set) var refused: RefusedSubject?

  /// A subject that the user may not publish or subscribe to.
  public struct RefusedSubject: Sendable, Hashable {
    public var isPublish: Bool
    public var subject: String
  }

  public init(_ code: Code, _ message: String, server: String? = nil) {
    self.code = code
    self.message = message
    self.server = server
  }

  public var description: String {
    if let server { return "NATS \(server): \(message) (\(code))" }
    return "NATS: \(message) (\(code))"
  }

  /// The same error, naming the server unless it already does.
  package func at(_ server: String) -> NATSError {
    var error = self
    if error.server == nil { error.server = server }
    return error
  }
}
