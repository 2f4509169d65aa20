internal import Logging

/// A batch that a reader delivers.
protocol ReaderBatch: Sendable {
  var generation: UInt64 { get }
  var byteCount: Int { get }
  var count: Int { get }
  var last: ResumePoint { get }
}

/// State shared by a reader's thread and its users. `Start` is the argument of `restart`.
final class ReaderMailbox<Batch: ReaderBatch, Start: Sendable>: Sendable {
  let options: MongoSourceOptions
  let logger: Logger
  private let onChange: @Sendable () -> Void
  /// The thread's work for one `restart`, with the connection that the previous one left.
  private let read: @Sendable (ReaderMailbox, UInt64, Start, inout MongoConnection?) -> Void
  /// The thread's name.
  private let thread: String
  private let shared = ConditionLock(Shared())

  private struct Shared {
    var queue: [Batch] = []
    var queuedBytes = 0
    var generation: UInt64 = 0
    /// The latest `restart` that the thread has not taken yet.
    var pending: Start?
    var failure: SourceFailure?
    var status = SourceStatus()
    var threadRuns = false
    var stopping = false

    func isCurrent(_ generation: UInt64) -> Bool {
      self.generation == generation && !stopping
    }
  }

  init(
    options: MongoSourceOptions, logger: Logger, thread: String,
    onChange: @escaping @Sendable () -> Void,
    read: @escaping @Sendable (ReaderMailbox, UInt64, Start, inout MongoConnection?) -> Void
  ) {
    self.options = options
    self.logger = logger
    self.thread = thread
    self.onChange = onChange
    self.read = read
  }

  // MARK: The user's side

  func restart(at point: Start) -> UInt64 {
    let (generation, startThread) = shared.withLock { shared in
      shared.queue.removeAll(keepingCapacity: true)
      shared.queuedBytes = 0
      shared.generation += 1
      shared.pending = shared.stopping ? nil : point
      shared.failure = nil
      shared.status.generation = shared.generation
      shared.status.lastRead = nil
      if !shared.stopping { shared.status.phase = .opening }
      let start = !shared.threadRuns && !shared.stopping
      if start { shared.threadRuns = true }
      return (shared.generation, start)
    }
    shared.signal()
    if startThread, !OSThread.start(thread, { [self] in run() }) {
      shared.withLock { $0.threadRuns = false }
      fail(.refused(OSThread.refusal(thread)), generation: generation)
    }
    return generation
  }

  func take() -> Batch? {
    let batch = shared.withLock { shared -> Batch? in
      guard !shared.queue.isEmpty else { return nil }
      let batch = shared.queue.removeFirst()
      shared.queuedBytes -= batch.byteCount
      return batch
    }
    if batch != nil { shared.signal() }
    return batch
  }

  var failure: SourceFailure? { shared.withLock { $0.failure } }

  var status: SourceStatus {
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
    // A connection that nothing is wrong with serves the next assignment.
    var kept: MongoConnection?
    while let (generation, point) = nextAssignment() {
      read(self, generation, point, &kept)
    }
    kept = nil
    shared.withLock { $0.threadRuns = false }
    shared.signal()
  }

  /// Waits for the next `restart`; nil after `stop`.
  private func nextAssignment() -> (UInt64, Start)? {
    shared.wait { shared -> Wake<(UInt64, Start)>? in
      if shared.stopping { return .ended }
      guard let point = shared.pending else { return nil }
      shared.pending = nil
      return .with((shared.generation, point))
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
  func deliver(_ batch: Batch, moreWaits: Bool) -> Bool {
    let limit = (batches: options.queuedBatches, bytes: options.queuedBytes)
    let wake = shared.wait { shared -> Wake<Bool>? in
      guard shared.isCurrent(batch.generation) else { return .ended }
      let waiting = shared.queue.count
      guard
        waiting == 0
          || (waiting < limit.batches && shared.queuedBytes + batch.byteCount <= limit.bytes)
      else { return nil }
      shared.queue.append(batch)
      shared.queuedBytes += batch.byteCount
      let now = ContinuousClock.now
      shared.status.entriesRead += UInt64(batch.count)
      shared.status.bytesRead += UInt64(batch.byteCount)
      shared.status.lastRead = batch.last
      if batch.count > 0 { shared.status.lastBatchAt = now }
      shared.status.lastReplyAt = now
      let phase = moreWaits ? SourceStatus.Phase.reading : .caughtUp
      let phaseChanged = shared.status.phase != phase
      shared.status.phase = phase
      return .with(waiting == 0 || phaseChanged)
    }
    guard let changed = wake?.value else { return false }
    if changed { onChange() }
    return true
  }

  /// Changes the status, unless the generation has ended.
  func update(generation: UInt64, _ change: (inout SourceStatus) -> Void) {
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
