/// An error of a NATS connection: a code for programs, and a message with what happened, where, and what
/// to do. It never contains secrets.
public struct NATSError: Error, Sendable, Hashable, CustomStringConvertible {
  /// Opaque, so that new codes don't break exhaustive switches.
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

    /// No server could be reached.
    public static let connectFailed = Code(.connectFailed)
    /// The server rejected user, token, key or JWT.
    public static let authenticationFailed = Code(.authenticationFailed)
    /// A certificate, a key or the handshake failed.
    public static let tlsFailed = Code(.tlsFailed)
    /// The server doesn't speak the NATS protocol, or violates it.
    public static let protocolViolation = Code(.protocolViolation)
    /// Pings were not answered.
    public static let stale = Code(.stale)
    /// The connection has ended; the message says why.
    public static let closed = Code(.closed)
    /// The server or the network ended the connection.
    public static let connectionLost = Code(.connectionLost)
    public static let timeout = Code(.timeout)
    /// The calling task was cancelled.
    public static let cancelled = Code(.cancelled)
    /// The request's subject has no subscribers (status 503).
    public static let noResponders = Code(.noResponders)
    /// Headers and payload together exceed the server's `max_payload`.
    public static let payloadTooLarge = Code(.payloadTooLarge)
    /// The same as `payloadTooLarge`, named after the server's setting.
    public static let maxPayload = payloadTooLarge
    public static let invalidSubject = Code(.invalidSubject)
    public static let invalidHeader = Code(.invalidHeader)
    /// The user may not publish or subscribe to the subject; the connection stays open.
    public static let permissionsViolation = Code(.permissionsViolation)
    /// Any other `-ERR`.
    public static let serverError = Code(.serverError)
    /// Our seed, creds file, certificate or key is unusable.
    public static let badCredentials = Code(.badCredentials)
    public static let badURL = Code(.badURL)
    /// The server is too old for the operation, or not configured for it.
    public static let unsupported = Code(.unsupported)
    /// A subscription ended because its buffer was full, so that no message is lost silently.
    public static let slowConsumer = Code(.slowConsumer)
    /// Too many bytes are pending.
    public static let outboundFull = Code(.outboundFull)
    /// The connection is being drained: no new subscriptions.
    public static let draining = Code(.draining)
  }

  public var code: Code
  /// What happened and what to do.
  public var message: String
  /// `host:port` of the server concerned.
  public var server: String?
  /// The refused subject of a `permissionsViolation` reported by the server.
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

  /// The same error with the server, unless it has one.
  package func at(_ server: String) -> NATSError {
    var error = self
    if error.server == nil { error.server = server }
    return error
  }
}
