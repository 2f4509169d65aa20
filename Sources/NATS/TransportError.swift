internal import NIOCore

/// Translates errors of the lower layers.
enum TransportError {
  static func translate(_ error: any Error, connecting: Bool) -> NATSError {
    switch error {
    case let error as NATSError: return error
    case ChannelError.connectTimeout:
      return NATSError(.timeout, "the server cannot be reached within the timeout")
    default:
      if let failure = TLSFailure(error) {
        return failure.error(now: SystemTime.seconds, early: connecting)
      }
      return NATSError(
        connecting ? .connectFailed : .connectionLost,
        connecting
          ? "the server cannot be reached: \(error)" : "the connection broke: \(error)")
    }
  }
}
