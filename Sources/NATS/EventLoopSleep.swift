package import NIOCore

extension EventLoop {
  /// Suspends the task for `duration` of this loop's time.
  ///
  /// Unlike `Task.sleep`, it follows the loop's clock, which need not be the system's.
  ///
  /// - Throws: `CancellationError` at once when the task is cancelled, or the loop has shut down.
  package func sleep(for duration: Duration) async throws {
    let timer = scheduleTask(in: TimeAmount(duration)) {}
    do {
      try await withTaskCancellationHandler {
        try await timer.futureResult.get()
      } onCancel: {
        timer.cancel()
      }
    } catch {
      throw CancellationError()
    }
  }
}
