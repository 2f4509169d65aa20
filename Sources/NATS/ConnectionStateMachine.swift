/// A connection's states as a pure value: takes events, returns the action to perform.
///
/// ```
/// awaitingInfo ─INFO─► awaitingPong ─PONG─► ready ─drain─► draining
///       └───────────────────┴─────────────────┴───────────────┴──► closed
/// ```
/// TLS needs no state: its handler holds back writes until the handshake is done, so CONNECT can be
/// written at once and is never sent unencrypted.
package struct ConnectionStateMachine: Sendable {
  package enum State: Sendable, Equatable {
    case awaitingInfo, awaitingPong, ready, draining, closed
  }

  package enum TLSMode: Sendable, Equatable {
    /// If the server requires it.
    case opportunistic
    /// After INFO; an error if the server doesn't offer it.
    case required
    /// Before INFO.
    case first
  }

  package enum Action: Sendable, Equatable {
    case none
    /// Write CONNECT and PING, after adding the TLS handler if `startTLS`.
    case sendConnect(startTLS: Bool)
    /// The server has accepted the connection.
    case becomeReady
    /// INFO has changed.
    case updateInfo
    case sendPing
    case sendPong
    /// The oldest PING is answered.
    case completePing
    /// An error that doesn't end the connection.
    case report(NATSError)
    /// Nil: closed by us.
    case close(NATSError?)
  }

  package private(set) var state = State.awaitingInfo
  private let tls: TLSMode
  private let maxPingsOutstanding: Int
  private var pingsOutstanding = 0
  private var heardSinceTimer = false

  package init(tls: TLSMode, maxPingsOutstanding: Int) {
    self.tls = tls
    self.maxPingsOutstanding = maxPingsOutstanding
  }

  /// Whether subscriptions receive messages.
  package var delivers: Bool { state == .ready || state == .draining }
  package var isClosed: Bool { state == .closed }

  /// Any bytes show that the server is alive.
  package mutating func receivedBytes() { heardSinceTimer = true }

  package mutating func received(_ info: NATSServerInfo) -> Action {
    switch state {
    case .awaitingInfo:
      state = .awaitingPong
      switch tls {
      case .first: return .sendConnect(startTLS: false)
      case .opportunistic: return .sendConnect(startTLS: info.tlsRequired)
      case .required:
        guard info.tlsRequired || info.tlsAvailable else {
          return close(
            NATSError(
              .tlsFailed,
              "TLS is configured, but the server does not offer it; "
                + "configure TLS there, or use nats:// without tls settings"))
        }
        return .sendConnect(startTLS: true)
      }
    case .awaitingPong, .ready, .draining: return .updateInfo
    case .closed: return .none
    }
  }

  package mutating func receivedPing() -> Action {
    switch state {
    case .awaitingInfo: return unexpected("PING")
    case .awaitingPong, .ready, .draining: return .sendPong
    case .closed: return .none
    }
  }

  package mutating func receivedPong() -> Action {
    switch state {
    case .awaitingInfo: return unexpected("PONG")
    case .awaitingPong:
      state = .ready
      return .becomeReady
    case .ready, .draining:
      return .completePing
    case .closed: return .none
    }
  }

  /// A message while not `delivers`.
  package mutating func receivedEarlyMessage() -> Action {
    isClosed ? .none : unexpected("MSG")
  }

  /// - Parameter text: the text after `-ERR`.
  package mutating func receivedError(_ text: String) -> Action {
    guard !isClosed else { return .none }
    let error = ServerErrorText.error(text)
    return ServerErrorText.isFatal(text) ? close(error) : .report(error)
  }

  /// Call once per ping interval.
  package mutating func pingTimerFired() -> Action {
    guard delivers else { return .none }
    if heardSinceTimer {
      heardSinceTimer = false
      pingsOutstanding = 0
    }
    guard pingsOutstanding < maxPingsOutstanding else {
      return close(
        NATSError(
          .stale,
          "the server has been silent for \(pingsOutstanding + 1) ping intervals; "
            + "it hangs, or the network is down"))
    }
    pingsOutstanding += 1
    return .sendPing
  }

  /// Whether draining starts now.
  package mutating func drainRequested() -> Bool {
    guard state == .ready else { return false }
    state = .draining
    return true
  }

  package mutating func closeRequested() -> Action {
    isClosed ? .none : close(nil)
  }

  /// The channel ended or failed.
  package mutating func failed(_ error: NATSError) -> Action {
    isClosed ? .none : close(error)
  }

  private mutating func unexpected(_ what: String) -> Action {
    close(
      NATSError(.protocolViolation, "the server sent an unexpected \(what) before INFO or PONG"))
  }

  private mutating func close(_ error: NATSError?) -> Action {
    state = .closed
    return .close(error)
  }
}

/// Classifies the texts of -ERR; the protocol has no error codes.
package enum ServerErrorText {
  /// Whether the server closes the connection after the error.
  static func isFatal(_ text: String) -> Bool {
    let text = text.lowercased()
    return
      !(text.hasPrefix("permissions violation") || text.hasPrefix("invalid subject")
      || text.hasPrefix("invalid publish subject")
      || text.hasPrefix("maximum subscriptions exceeded"))
  }

  package static func error(_ text: String) -> NATSError {
    let said = "the server reports '\(text)'"
    let lower = text.lowercased()
    if lower.hasPrefix("permissions violation") {
      var error = NATSError(
        .permissionsViolation, "\(said); allow the subject in the user's permissions")
      error.refused = violation(text).map { violation in
        NATSError.RefusedSubject(
          isPublish: violation.isPublish, subject: String(violation.subject))
      }
      return error
    }
    if lower.contains("authorization violation") || lower.contains("authentication")
      || lower.contains("user jwt") || lower.contains("account jwt")
      || lower.hasPrefix("credentials")
    {
      return NATSError(
        .authenticationFailed,
        "\(said); compare user and password, token, nkey or credentials with the server's configuration"
      )
    }
    if lower.contains("tls required") {
      return NATSError(.tlsFailed, "\(said); configure TLS, or use tls:// in the server address")
    }
    if lower.contains("maximum payload") {
      return NATSError(.payloadTooLarge, "\(said); a message exceeds max_payload")
    }
    if lower.contains("stale connection") {
      return NATSError(.stale, "\(said); this process did not answer its pings")
    }
    return NATSError(.serverError, said)
  }

  /// The subject in `Permissions Violation for Publish to "x"`, and whether it was a publish.
  package static func violation(_ text: String) -> (isPublish: Bool, subject: Substring)? {
    let lower = text.lowercased()
    guard lower.hasPrefix("permissions violation"), let open = text.firstIndex(of: "\"") else {
      return nil
    }
    let rest = text[text.index(after: open)...]
    guard let close = rest.firstIndex(of: "\"") else { return nil }
    return (lower.contains("for publish"), rest[..<close])
  }
}
