internal import Logging

/// State shared by the image reader's thread and its users.
final class ImageMailbox: Sendable {
  let options: MongoSourceOptions
  let logger: Logger
  let bytesPerAnswer: Int
  private let thread = WorkThread("image-reader", State())

  struct Assignment: Sendable {
    var request: ImageRequest
    var generation: UInt64
    var onAnswer: @Sendable (ImageAnswer) -> Void
  }

  private struct State {
    var queue: [Assignment] = []
    var status = ImageStatus()
    /// Consecutive refusals by the system to start the thread.
    var refusals = 0
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
    thread.restart { state, _, isStopping in
      state.queue.removeAll()
      if !isStopping { state.status.phase = .idle }
    }
  }

  func submit(
    _ request: ImageRequest, generation: UInt64,
    onAnswer: @escaping @Sendable (ImageAnswer) -> Void
  ) -> Bool {
    let isQueued: Void? = thread.ifCurrent(generation) { state in
      state.queue.append(
        Assignment(request: request, generation: generation, onAnswer: onAnswer))
      state.status.requests += 1
    }
    guard isQueued != nil else { return false }
    thread.wake()
    guard !thread.start({ [self] in run() }) else { return true }
    let error = MongoError(
      domain: .client, message: OSThread.refusal(thread.name), place: "full documents",
      isTransient: true)
    let isFirst = thread.withState { state in
      // Without a thread nothing else empties the queue.
      state.queue.removeAll()
      state.status.requests -= 1
      state.refusals += 1
      state.status.phase = .retrying(reason: error.description, attempt: state.refusals)
      state.status.lastError = error
      return state.refusals == 1
    }
    if isFirst { logger.warning("\(error); full documents are delayed until a thread starts") }
    return false
  }

  var status: ImageStatus { thread.withState { $0.status } }

  func requestStop() {
    thread.requestStop { state in
      state.queue.removeAll()
      state.status.phase = .stopped
    }
  }

  func stop(waiting limit: Duration) {
    requestStop()
    thread.waitForEnd(atMost: limit)
  }

  // MARK: The thread's side

  private func run() {
    thread.withState { $0.refusals = 0 }
    var work = ImageThread(self)
    while let assignment = next() {
      work.serve(assignment)
    }
    work.end()
  }

  /// Waits for the next request; nil after `stop`.
  private func next() -> Assignment? {
    thread.next { state, _ in
      guard !state.queue.isEmpty else { return nil }
      state.status.phase = .reading
      return state.queue.removeFirst()
    }
  }

  /// False after the next `restart` or `stop`.
  func isCurrent(_ generation: UInt64) -> Bool { thread.isCurrent(generation) }

  /// Sleeps until the generation ends, at most `duration`.
  func pause(_ duration: Duration, generation: UInt64) {
    thread.pause(duration, generation: generation)
  }

  /// Changes the status, except the phase if the generation has ended.
  func update(generation: UInt64, _ change: (inout ImageStatus) -> Void) {
    if thread.ifCurrent(generation, { change(&$0.status) }) != nil { return }
    thread.withState { state in
      let phase = state.status.phase
      change(&state.status)
      state.status.phase = phase
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
