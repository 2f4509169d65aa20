/// Whether an error that ended an epoch ends the run as well.
package enum RunDecision: Sendable, Equatable {
  /// Try again after a pause, and report it in health and log.
  case retry
  /// End the process with the error's exit code.
  case end

  /// Wrong files, permissions and settings end a run that has not begun: nobody relies on it yet, and the
  /// operator who starts it can read why. Afterwards the same error is something that happens to a running
  /// bridge (a credentials file that is being written, a stream that was sealed by hand) and ends once it is
  /// corrected, without a restart. Errors that need an operator's decision, and displacement by another
  /// instance, always end the run.
  ///
  /// - Parameter hasSucceeded: whether this process has reached both ends before.
  package static func after(_ error: BridgeError, hasSucceeded: Bool) -> RunDecision {
    switch error {
    case .positionLost, .halted, .displaced: .end
    case .configuration, .unavailable: hasSucceeded ? .retry : .end
    }
  }
}
