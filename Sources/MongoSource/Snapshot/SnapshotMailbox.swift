internal import Logging

/// State shared by the snapshot reader's thread and its users.
final class SnapshotMailbox: Sendable {
  let options: MongoSourceOptions
  let filter: @Sendable (String, String) -> Bool
  let leadsToTail: Bool
  let logger: Logger
  private let onChange: @Sendable () -> Void
  private let thread = WorkThread("snapshot-reader", State())

  private struct State {
    var queue: [SnapshotBatch] = []
    var queuedBytes = 0
    /// The latest `restart` that the thread has not taken yet.
    var pending: Start?
    var failure: SourceFailure?
    var status = SnapshotStatus()
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
    let generation = thread.restart { state, generation, isStopping in
      state = State()
      state.status.generation = generation
      state.status.phase = isStopping ? .stopped : .opening
      if !isStopping { state.pending = Start(marker: marker) }
    }
    if !thread.start({ [self] in run() }) {
      fail(.refused(OSThread.refusal(thread.name)), generation: generation)
    }
    return generation
  }

  func take() -> SnapshotBatch? {
    let batch = thread.withState { state -> SnapshotBatch? in
      guard !state.queue.isEmpty else { return nil }
      let batch = state.queue.removeFirst()
      state.queuedBytes -= batch.replySize
      return batch
    }
    if batch != nil { thread.wake() }
    return batch
  }

  var failure: SourceFailure? { thread.withState { $0.failure } }

  var status: SnapshotStatus {
    thread.withState { state in
      var status = state.status
      status.queuedBatches = state.queue.count
      status.queuedBytes = state.queuedBytes
      return status
    }
  }

  func requestStop() {
    thread.requestStop { state in
      state.status.phase = .stopped
      state.pending = nil
    }
  }

  func stop(waiting limit: Duration) {
    requestStop()
    thread.waitForEnd(atMost: limit)
  }

  // MARK: The thread's side

  private func run() {
    while let (generation, marker) = nextAssignment() {
      var scan = SnapshotScan(self, generation: generation, from: marker)
      scan.run()
    }
  }

  /// Waits for the next `restart`; nil after `stop`.
  private func nextAssignment() -> (UInt64, SnapshotMarker?)? {
    thread.next { state, generation in
      guard let start = state.pending else { return nil }
      state.pending = nil
      return (generation, start.marker)
    }
  }

  /// False after the next `restart` or `stop`.
  func isCurrent(_ generation: UInt64) -> Bool { thread.isCurrent(generation) }

  /// Sleeps until the generation ends, at most `duration`.
  func pause(_ duration: Duration, generation: UInt64) {
    thread.pause(duration, generation: generation)
  }

  /// Waits for room and queues a batch. False if the generation has ended.
  func deliver(_ batch: SnapshotBatch) -> Bool {
    let limit = (batches: options.queuedBatches, bytes: options.queuedBytes)
    let wasEmpty = thread.wait(generation: batch.generation) { state -> Bool? in
      let waiting = state.queue.count
      guard
        waiting == 0
          || (waiting < limit.batches && state.queuedBytes + batch.replySize <= limit.bytes)
      else { return nil }
      state.queue.append(batch)
      state.queuedBytes += batch.replySize
      state.status.progress.add(documents: batch.count, bytes: batch.byteCount, at: .now)
      return waiting == 0
    }
    guard let wasEmpty else { return false }
    if wasEmpty { onChange() }
    return true
  }

  /// Changes the status, unless the generation has ended.
  func update(generation: UInt64, _ change: (inout SnapshotStatus) -> Void) {
    let phaseChanged = thread.ifCurrent(generation) { state in
      let before = state.status.phase
      change(&state.status)
      return state.status.phase != before
    }
    if phaseChanged == true { onChange() }
  }

  func fail(_ failure: SourceFailure, generation: UInt64) {
    let noted: Void? = thread.ifCurrent(generation) { state in
      state.failure = failure
      state.status.phase = .failed
    }
    guard noted != nil else { return }
    logger.error("\(failure)")
    onChange()
  }
}
