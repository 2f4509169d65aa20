/// Whether an error that ended an epoch ends the run as well.
package enum RunDecision: Sendable, Equatable {
  /// Try again after a pause, and say so in health and log.
  case retry
  /// End the process with the error's exit code.
  case end

  /// What is wrong with files, rights and settings ends a run that has not begun: nobody relies on
  /// it yet, and whoever starts it is there to read why. Afterwards the same error is something that
  /// happens to a running bridge (a credentials file that is being written, a stream that was sealed
  /// by hand) and is over when it is put right, without a restart. What an operator must decide, or
  /// what another instance has decided, always ends it.
  ///
  /// - Parameter hasSucceeded: whether this process has reached both ends before.
  package static func after(_ error: BridgeError, hasSucceeded: Bool) -> RunDecision {
    switch error {
    case .positionLost, .halted, .displaced: .end
    case .configuration, .unavailable: hasSucceeded ? .retry : .end
    }
  }
}
