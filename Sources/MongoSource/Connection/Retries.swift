internal import Logging

/// Retries without limit of one activity: growing pauses, and one warning for all failures in a row.
struct Retries {
  private var backoff = Backoff()
  /// It fails, and that was logged as a warning.
  private(set) var isReported = false

  /// After a failure. `consequence` completes the warning.
  mutating func failed(
    _ error: MongoError, _ logger: Logger, _ consequence: String
  ) -> (pause: Duration, attempt: Int) {
    let pause = backoff.next()
    if isReported {
      logger.debug("\(error)", metadata: ["attempt": "\(backoff.failures)"])
    } else {
      isReported = true
      logger.warning("\(error); \(consequence)")
    }
    return (pause, backoff.failures)
  }

  /// Something that is no error keeps it from working.
  mutating func report(_ logger: Logger, _ warning: String) {
    guard !isReported else { return }
    isReported = true
    logger.warning("\(warning)")
  }

  /// It works. True if its failures were reported, and this should be, too.
  mutating func succeeded() -> Bool {
    backoff.reset()
    defer { isReported = false }
    return isReported
  }
}
