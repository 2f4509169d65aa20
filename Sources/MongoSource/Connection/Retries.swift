internal import Logging

/// Retries without limit of one activity: growing pauses, and one warning for all failures in a row.
struct Retries: Sendable {
  struct Failure {
    /// Until the next attempt.
    var pause: Duration
    /// How many have failed in a row.
    var attempt: Int
    /// To be logged as a warning.
    var isFirst: Bool
  }

  private var backoff = Backoff()
  /// It fails, and that was logged as a warning.
  private var isReported = false

  mutating func failed(using random: inout some RandomNumberGenerator) -> Failure {
    let pause = backoff.next(using: &random)
    return Failure(pause: pause, attempt: backoff.failures, isFirst: report())
  }

  /// After a failure, which is logged. `consequence` completes the warning.
  mutating func failed(_ error: MongoError, _ logger: Logger, _ consequence: String) -> Failure {
    var random = SystemRandomNumberGenerator()
    let failure = failed(using: &random)
    if failure.isFirst {
      logger.warning("\(error); \(consequence)")
    } else {
      logger.debug("\(error)", metadata: ["attempt": "\(failure.attempt)"])
    }
    return failure
  }

  /// Something keeps it from working, perhaps no error. True if that is to be logged as a warning.
  mutating func report() -> Bool {
    defer { isReported = true }
    return !isReported
  }

  /// It works. True if its failures were reported, and this should be, too.
  mutating func succeeded() -> Bool {
    backoff.reset()
    defer { isReported = false }
    return isReported
  }
}
