internal import Logging

/// State shared by the image reader's thread and its users.
final class ImageMailbox: Sendable {
  let options: MongoSourceOptions
  let logger: Logger
  let bytesPerAnswer: Int
  private let shared = ConditionLock(Shared())

  struct Assignment: Sendable {
    var request: ImageRequest
    var generation: UInt64
    var onAnswer: @Sendable (ImageAnswer) -> Void
  }

  private struct Shared {
    var queue: [Assignment] = []
    var generation: UInt64 = 0
    var status = ImageStatus()
    var threadRuns = false
    /// Consecutive refusals by the system to start it.
    var refusals = 0
    var stopping = false
  }

  init(options: MongoSourceOptions, logger: Logger, bytesPerAnswer: Int) {
    var options = options
    // No tailing.
    options.awaitTime = .zero
    self.options = options
    self.logger = logger
    self.bytesPerAnswer = bytesPerAnswer
  }

  // MARK: The user's side

  func restart() -> UInt64 {
    let generation = shared.withLock { shared in
      shared.queue.removeAll()
      shared.generation += 1
      if !shared.stopping { shared.status.phase = .idle }
      return shared.generation
    }
    shared.signal()
    return generation
  }

  func submit(
    _ request: ImageRequest, generation: UInt64,
    onAnswer: @escaping @Sendable (ImageAnswer) -> Void
  ) -> Bool {
    let startThread = shared.withLock { shared in
      guard shared.generation == generation, !shared.stopping else { return false }
      shared.queue.append(
        Assignment(request: request, generation: generation, onAnswer: onAnswer))
      shared.status.requests += 1
      defer { shared.threadRuns = true }
      return !shared.threadRuns
    }
    shared.signal()
    guard startThread, !OSThread.start("image-reader", { [self] in run() }) else { return true }
    let error = MongoError(
      domain: .client, message: OSThread.refusal("image-reader"), place: "full documents",
      isTransient: true)
    let isFirst = shared.withLock { shared in
      shared.threadRuns = false
      // Without a thread nothing else empties the queue.
      shared.queue.removeAll()
      shared.status.requests -= 1
      shared.refusals += 1
      shared.status.phase = .retrying(reason: error.description, attempt: shared.refusals)
      shared.status.lastError = error
      return shared.refusals == 1
    }
    if isFirst { logger.warning("\(error); full documents are delayed until a thread starts") }
    return false
  }

  var status: ImageStatus { shared.withLock { $0.status } }

  func requestStop() {
    shared.withLock { shared in
      shared.stopping = true
      shared.queue.removeAll()
      shared.status.phase = .stopped
    }
    shared.signal()
  }

  func stop(waiting limit: Duration) {
    requestStop()
    _ = shared.wait(atMost: limit) { shared in shared.threadRuns ? nil : true }
  }

  // MARK: The thread's side

  private func run() {
    shared.withLock { $0.refusals = 0 }
    var thread = ImageThread(self)
    while let assignment = next() {
      thread.serve(assignment)
    }
    thread.end()
    shared.withLock { $0.threadRuns = false }
    shared.signal()
  }

  /// Waits for the next request; nil after `stop`.
  private func next() -> Assignment? {
    shared.wait { shared -> Assignment?? in
      if shared.stopping { return .some(nil) }
      guard !shared.queue.isEmpty else { return nil }
      shared.status.phase = .reading
      return shared.queue.removeFirst()
    } ?? nil
  }

  /// False after the next `restart` or `stop`.
  func isCurrent(_ generation: UInt64) -> Bool {
    shared.withLock { $0.generation == generation && !$0.stopping }
  }

  /// Sleeps until the generation ends, at most `duration`.
  func pause(_ duration: Duration, generation: UInt64) {
    _ = shared.wait(atMost: duration) { shared in
      shared.generation == generation && !shared.stopping ? nil : true
    }
  }

  /// Changes the status, except the phase if the generation has ended.
  func update(generation: UInt64, _ change: (inout ImageStatus) -> Void) {
    shared.withLock { shared in
      let phase = shared.status.phase
      change(&shared.status)
      if shared.generation != generation || shared.stopping { shared.status.phase = phase }
    }
  }

  func answer(_ assignment: Assignment, _ answer: ImageAnswer) {
    update(generation: assignment.generation) { status in
      for index in 0..<answer.count { status.count(answer[index].kind) }
      status.lastAnswerAt = .now
      status.phase = .idle
    }
    guard isCurrent(assignment.generation) else { return }
    assignment.onAnswer(answer)
  }
}
