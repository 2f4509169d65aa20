internal import Logging

/// What the image reader's thread and its users share.
final class ImageMailbox: Sendable {
  let options: MongoSourceOptions
  let logger: Logger
  let bytesPerAnswer: Int
  private let shared = Guarded(Shared())

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
    /// How often in a row the system refused one.
    var refusals = 0
    var stopping = false
  }

  init(options: MongoSourceOptions, logger: Logger, bytesPerAnswer: Int) {
    var options = options
    // Nothing here waits for anything to be written.
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
      domain: .client, message: OSThread.refusal("image-reader"), place: "reading documents",
      isTransient: true)
    let isFirst = shared.withLock { shared in
      shared.threadRuns = false
      // Without a thread nobody else takes anything out.
      shared.queue.removeAll()
      shared.status.requests -= 1
      shared.refusals += 1
      shared.status.phase = .retrying(reason: error.description, attempt: shared.refusals)
      shared.status.lastError = error
      return shared.refusals == 1
    }
    if isFirst { logger.warning("\(error); full documents wait for it") }
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

  /// Waits for the next request; nil when it's over.
  private func next() -> Assignment? {
    shared.wait { shared -> Assignment?? in
      if shared.stopping { return .some(nil) }
      guard !shared.queue.isEmpty else { return nil }
      shared.status.phase = .reading
      return shared.queue.removeFirst()
    } ?? nil
  }

  /// False once another `restart` or `stop` came.
  func isCurrent(_ generation: UInt64) -> Bool {
    shared.withLock { $0.generation == generation && !$0.stopping }
  }

  /// Waits, unless the generation ends first.
  func pause(_ duration: Duration, generation: UInt64) {
    _ = shared.wait(atMost: duration) { shared in
      shared.generation == generation && !shared.stopping ? nil : true
    }
  }

  /// Changes the status; the phase only of the current generation.
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
