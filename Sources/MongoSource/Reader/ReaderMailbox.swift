internal import Logging

/// A batch that a reader delivers.
protocol ReaderBatch: Sendable {
  /// The `restart` it belongs to.
  var generation: UInt64 { get }
  /// Bytes in memory.
  var heldBytes: Int { get }
}

/// What the statuses of all readers have in common.
protocol ReaderStatus: Sendable {
  associatedtype Phase: ReaderPhase

  init()
  var phase: Phase { get set }
  var host: String? { get set }
  var reopens: UInt64 { get set }
  var lastError: MongoError? { get set }
  var queuedBatches: Int { get set }
  var queuedBytes: Int { get set }
  /// Forgets what belongs to an earlier generation.
  mutating func begin(_ generation: UInt64)
}

protocol ReaderPhase: Equatable, Sendable {
  static var opening: Self { get }
  static func reopening(reason: String, attempt: Int) -> Self
  static var failed: Self { get }
  static var stopped: Self { get }
}

/// State shared by a reader's thread and its users: the oplog's reader, the change stream's, and the
/// snapshot's. `Start` is the argument of `restart`.
final class ReaderMailbox<Batch: ReaderBatch, Start: Sendable, Status: ReaderStatus>: Sendable {
  let options: MongoSourceOptions
  let logger: Logger
  private let onChange: @Sendable () -> Void
  /// The thread's work for one `restart`, with the connection that the previous one left.
  private let read: @Sendable (ReaderMailbox, UInt64, Start, inout MongoConnection?) -> Void
  private let thread: WorkThread<State>

  private struct State {
    var queue: [Batch] = []
    var queuedBytes = 0
    /// The latest `restart` that the thread has not taken yet.
    var pending: Start?
    var failure: SourceFailure?
    var status = Status()

    /// True if the phase is another one afterwards.
    mutating func change(_ change: (inout Status) -> Void) -> Bool {
      let before = status.phase
      change(&status)
      return status.phase != before
    }
  }

  /// - Parameter thread: the thread's name.
  init(
    options: MongoSourceOptions, logger: Logger, thread: String,
    onChange: @escaping @Sendable () -> Void,
    read: @escaping @Sendable (ReaderMailbox, UInt64, Start, inout MongoConnection?) -> Void
  ) {
    self.options = options
    self.logger = logger
    self.thread = WorkThread(thread, State())
    self.onChange = onChange
    self.read = read
  }

  // MARK: The user's side

  func restart(at start: Start) -> UInt64 {
    let generation = thread.restart { state, generation, isStopping in
      state.queue.removeAll(keepingCapacity: true)
      state.queuedBytes = 0
      state.pending = isStopping ? nil : start
      state.failure = nil
      state.status.begin(generation)
      state.status.phase = isStopping ? .stopped : .opening
    }
    if !thread.start({ [self] in run() }) {
      fail(.refused(OSThread.refusal(thread.name)), generation: generation)
    }
    return generation
  }

  func take() -> Batch? {
    let batch = thread.withState { state -> Batch? in
      guard !state.queue.isEmpty else { return nil }
      let batch = state.queue.removeFirst()
      state.queuedBytes -= batch.heldBytes
      return batch
    }
    if batch != nil { thread.wake() }
    return batch
  }

  var failure: SourceFailure? { thread.withState { $0.failure } }

  var status: Status {
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
    // A connection that nothing is wrong with serves the next assignment.
    var kept: MongoConnection?
    while let (generation, start) = nextAssignment() {
      read(self, generation, start, &kept)
    }
  }

  /// Waits for the next `restart`; nil after `stop`.
  private func nextAssignment() -> (UInt64, Start)? {
    thread.next { state, generation in
      guard let start = state.pending else { return nil }
      state.pending = nil
      return (generation, start)
    }
  }

  /// False after the next `restart` or `stop`.
  func isCurrent(_ generation: UInt64) -> Bool { thread.isCurrent(generation) }

  /// Sleeps until the generation ends, at most `duration`.
  func pause(_ duration: Duration, generation: UInt64) {
    thread.pause(duration, generation: generation)
  }

  /// Reports an error that is retried, and pauses until the next attempt. `consequence` completes the
  /// warning about the first failure in a row.
  func pause(
    after error: MongoError, _ retries: inout Retries, _ consequence: String, generation: UInt64
  ) {
    let failure = retries.failed(error, logger, consequence)
    update(generation: generation) { $0.reopen(after: error, attempt: failure.attempt) }
    pause(failure.pause, generation: generation)
  }

  /// Waits for room and queues a batch. False if the generation has ended.
  ///
  /// - Parameter change: of the status, once the batch is queued.
  func deliver(_ batch: Batch, _ change: (inout Status) -> Void) -> Bool {
    let limit = (batches: options.queuedBatches, bytes: options.queuedBytes)
    let changed = thread.wait(generation: batch.generation) { state -> Bool? in
      let waiting = state.queue.count
      guard
        waiting == 0
          || (waiting < limit.batches && state.queuedBytes + batch.heldBytes <= limit.bytes)
      else { return nil }
      state.queue.append(batch)
      state.queuedBytes += batch.heldBytes
      return state.change(change) || waiting == 0
    }
    guard let changed else { return false }
    if changed { onChange() }
    return true
  }

  /// Changes the status, unless the generation has ended.
  func update(generation: UInt64, _ change: (inout Status) -> Void) {
    if thread.ifCurrent(generation, { $0.change(change) }) == true { onChange() }
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

extension ReaderStatus {
  mutating func reopen(after error: MongoError, attempt: Int) {
    phase = .reopening(reason: error.description, attempt: attempt)
    lastError = error
  }
}
