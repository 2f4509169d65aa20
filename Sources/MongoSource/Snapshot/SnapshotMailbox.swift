internal import Logging

/// State shared by the snapshot reader's thread and its users.
final class SnapshotMailbox: Sendable {
  let options: MongoSourceOptions
  let filter: @Sendable (String, String) -> Bool
  let leadsToTail: Bool
  let logger: Logger
  private let onChange: @Sendable () -> Void
  private let shared = ConditionLock(Shared())

  private struct Shared {
    var queue: [SnapshotBatch] = []
    var queuedBytes = 0
    var generation: UInt64 = 0
    /// The latest `restart` that the thread has not taken yet.
    var pending: Start?
    var failure: SourceFailure?
    var status = SnapshotStatus()
    var threadRuns = false
    var stopping = false

    func isCurrent(_ generation: UInt64) -> Bool {
      self.generation == generation && !stopping
    }
  }

  private struct Start {
    var marker: SnapshotMarker?
  }

  init(
    options: MongoSourceOptions, filter: @escaping @Sendable (String, String) -> Bool,
    leadsToTail: Bool = true, logger: Logger, onChange: @escaping @Sendable () -> Void
  ) {
    var options = options
    // No tailing.
    options.awaitTime = .zero
    self.options = options
    self.filter = filter
    self.leadsToTail = leadsToTail
    self.logger = logger
    self.onChange = onChange
  }

  // MARK: The user's side

  func restart(from marker: SnapshotMarker?) -> UInt64 {
    let (generation, startThread) = shared.withLock { shared in
      shared.queue.removeAll(keepingCapacity: true)
      shared.queuedBytes = 0
      shared.generation += 1
      shared.failure = nil
      shared.status = SnapshotStatus()
      shared.status.generation = shared.generation
      guard !shared.stopping else {
        shared.status.phase = .stopped
        return (shared.generation, false)
      }
      shared.pending = Start(marker: marker)
      shared.status.phase = .opening
      let start = !shared.threadRuns
      shared.threadRuns = true
      return (shared.generation, start)
    }
    shared.signal()
    if startThread, !OSThread.start("snapshot-reader", { [self] in run() }) {
      shared.withLock { $0.threadRuns = false }
      fail(.refused(OSThread.refusal("snapshot-reader")), generation: generation)
    }
    return generation
  }

  func take() -> SnapshotBatch? {
    let batch = shared.withLock { shared -> SnapshotBatch? in
      guard !shared.queue.isEmpty else { return nil }
      let batch = shared.queue.removeFirst()
      shared.queuedBytes -= batch.replySize
      return batch
    }
    if batch != nil { shared.signal() }
    return batch
  }

  var failure: SourceFailure? { shared.withLock { $0.failure } }

  var status: SnapshotStatus {
    shared.withLock { shared in
      var status = shared.status
      status.queuedBatches = shared.queue.count
      status.queuedBytes = shared.queuedBytes
      return status
    }
  }

  func requestStop() {
    shared.withLock { shared in
      shared.stopping = true
      shared.status.phase = .stopped
      shared.pending = nil
    }
    shared.signal()
  }

  func stop(waiting limit: Duration) {
    requestStop()
    _ = shared.wait(atMost: limit) { shared in shared.threadRuns ? nil : true }
  }

  // MARK: The thread's side

  private func run() {
    while let (generation, marker) = nextAssignment() {
      var scan = SnapshotScan(self, generation: generation, from: marker)
      scan.run()
    }
    shared.withLock { $0.threadRuns = false }
    shared.signal()
  }

  /// Waits for the next `restart`; nil after `stop`.
  private func nextAssignment() -> (UInt64, SnapshotMarker?)? {
    shared.wait { shared -> Wake<(UInt64, SnapshotMarker?)>? in
      if shared.stopping { return .ended }
      guard let start = shared.pending else { return nil }
      shared.pending = nil
      return .with((shared.generation, start.marker))
    }?.value
  }

  /// The result of a wait.
  private enum Wake<Value> {
    case ended
    case with(Value)

    var value: Value? {
      switch self {
      case .ended: nil
      case .with(let value): value
      }
    }
  }

  /// False after the next `restart` or `stop`.
  func isCurrent(_ generation: UInt64) -> Bool {
    shared.withLock { $0.isCurrent(generation) }
  }

  /// Sleeps until the generation ends, at most `duration`.
  func pause(_ duration: Duration, generation: UInt64) {
    _ = shared.wait(atMost: duration) { $0.isCurrent(generation) ? nil : true }
  }

  /// Waits for room and queues a batch. False if the generation has ended.
  func deliver(_ batch: SnapshotBatch) -> Bool {
    let limit = (batches: options.queuedBatches, bytes: options.queuedBytes)
    let wake = shared.wait { shared -> Wake<Bool>? in
      guard shared.isCurrent(batch.generation) else { return .ended }
      let waiting = shared.queue.count
      guard
        waiting == 0
          || (waiting < limit.batches && shared.queuedBytes + batch.replySize <= limit.bytes)
      else { return nil }
      shared.queue.append(batch)
      shared.queuedBytes += batch.replySize
      shared.status.progress.add(documents: batch.count, bytes: batch.byteCount, at: .now)
      return .with(waiting == 0)
    }
    guard let wasEmpty = wake?.value else { return false }
    if wasEmpty { onChange() }
    return true
  }

  /// Changes the status, unless the generation has ended.
  func update(generation: UInt64, _ change: (inout SnapshotStatus) -> Void) {
    let changed = shared.withLock { shared in
      guard shared.isCurrent(generation) else { return false }
      let before = shared.status.phase
      change(&shared.status)
      return shared.status.phase != before
    }
    if changed { onChange() }
  }

  func fail(_ failure: SourceFailure, generation: UInt64) {
    let noted = shared.withLock { shared in
      guard shared.isCurrent(generation) else { return false }
      shared.failure = failure
      shared.status.phase = .failed
      return true
    }
    guard noted else { return }
    logger.error("\(failure)")
    onChange()
  }
}
