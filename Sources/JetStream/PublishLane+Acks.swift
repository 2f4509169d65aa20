import DeliberateErrors

/// What the server's answers do to a lane.
extension PublishLane {
  /// Takes one ack. `token` is what follows the inbox and its dot in the ack's subject.
  public func received(
    token: UnsafeRawBufferPointer, headers: UnsafeRawBufferPointer,
    payload: UnsafeRawBufferPointer, status: Int?
  ) throws(JetStreamError) -> LaneProgress {
    if let index = directAnswer(token) {
      return try takeDirect(index, headers, payload, status: status)
    }
    if let status {
      // The server's own refusal: nobody serves the subject (503), or the like.
      throw JetStreamError(
        code: 0, operation: "publish to \(options.stream)",
        message: status == 503
          ? "nobody answers for the stream: it is missing, or has no leader"
          : "the server answered with status \(status)",
        remedy: .backOff)
    }
    if stage != nil, let answer = stagedAnswer(token) { return try receive(answer, payload) }
    let frame = AckFrame(payload: payload)
    guard stage != nil else { return try receivedAck(token, frame, payload) }
    if stage?.phase == .publishing, try publishingMetDuplicates(frame) { return lookUpAgain() }
    if let progress = try brokenChain(token, frame) { return progress }
    return try publishedStaged(try receivedAck(token, frame, payload))
  }

  /// Between looking ids up and publishing them, somebody else stored one: whether the batch has to be
  /// looked at again. (A message alone says so in its ack.)
  private func publishingMetDuplicates(_ frame: AckFrame) throws(JetStreamError) -> Bool {
    switch (mode, frame) {
    case (.atomic, .refused(10201, _)):
      batches.removeFirst()
      linesAcked = lines
      expectedSequence = lastSequence
      return true
    case (.fast, .stored(let sequence, let duplicate, let count?))
    where sealed && count == UInt64(inBatch) && (sequence == 0 || duplicate):
      endFastBatch(lastSequence)
      linesAcked = lines
      return true
    default: return false
    }
  }

  private func receivedAck(
    _ token: UnsafeRawBufferPointer, _ frame: AckFrame, _ payload: UnsafeRawBufferPointer
  ) throws(JetStreamError) -> LaneProgress {
    switch frame {
    case .stored(let sequence, let duplicate, let count):
      guard
        sequence > 0 || (mode == .fast && count != nil) || DeliberateError.isOn(.zeroAckCounted)
      else {
        throw unexpected("an ack without a sequence: not stored yet", remedy: .backOff)
      }
      switch mode {
      case .chain, .single: return try ackOne(token, sequence, duplicate)
      case .atomic: return try ackAtomic(token, sequence, count)
      case .fast: return try ackFast(sequence, count, duplicate)
      }
    case .flow(let sequence, let every):
      guard mode == .fast else { throw unexpected("a fast-ingest ack", remedy: .reread) }
      // The server's own choice; more than a batch holds says no more than that.
      flowEvery = Int(min(max(every, 1), UInt64(Self.maximumFastBatch)))
      return try ackFlow(sequence)
    case .refused where DeliberateError.isOn(.refusalCounted) && mode != .atomic && mode != .fast:
      linesAcked &+= 1
      return LaneProgress(acked: take(1, lastSequence: lastSequence), duplicates: 0)
    case .refused where DeliberateError.isOn(.refusedBatchSkipped) && mode == .atomic:
      guard let size = batches.first else { break }
      batches.removeFirst()
      linesAcked &+= UInt64(size)
      expectedSequence = lastSequence
      return LaneProgress(acked: take(Int(size), lastSequence: lastSequence), duplicates: 0)
    case .gap where DeliberateError.isOn(.gapIgnored): return .moved
    case .refused(let code, _):
      var error = JetStreamError(
        code: code, operation: "publish to \(options.stream)",
        serverSays: RefusalText.words(payload))
      // A duplicate in a fast batch is skipped without a word, and what follows it expects a wrong sequence.
      if mode == .fast, options.exclusive, JetStreamCode.endsFastBatch.contains(code) {
        error.meansDuplicate = true
      }
      error.meansFenceMoved = code == JetStreamCode.wrongLastSequence && !fenceLines.isEmpty
      throw error
    case .gap(let sequence):
      throw unexpected("messages before \(sequence) of a batch never arrived", remedy: .reread)
    case .receipt: return LaneProgress(acked: 0, duplicates: 0)
    case .unknown: throw unexpected("an answer that is no ack", remedy: .reread)
    }
    throw unexpected("an answer to a batch that was not sent", remedy: .reread)
  }

  func unexpected(_ what: String, remedy: JetStreamError.Remedy) -> JetStreamError {
    JetStreamError(
      code: 0, operation: "publish to \(options.stream)", message: what, remedy: remedy)
  }

  func number(_ token: UnsafeRawBufferPointer) -> UInt64? {
    var value: UInt64 = 0
    guard token.count > 0, token.count < 10 else { return nil }
    for c in token {
      guard c >= 48, c <= 57 else { return nil }
      value = value &* 10 &+ UInt64(c &- 48)
    }
    return value
  }

  /// Duplicates whose events have to be looked at, or that are in the way of what follows: the next
  /// epoch looks ids up before it publishes.
  func duplicatesMet(_ what: String) -> JetStreamError {
    var error = unexpected(what, remedy: .reread)
    error.meansDuplicate = true
    return error
  }

  private func ackOne(_ token: UnsafeRawBufferPointer, _ sequence: UInt64, _ duplicate: Bool)
    throws(JetStreamError) -> LaneProgress
  {
    guard linesAcked < lines, number(token) == linesAcked % Self.replyCycle else {
      throw unexpected("an ack out of turn", remedy: .reread)
    }
    if options.exclusive {
      guard sequence == lastSequence &+ 1 || duplicate else {
        throw unexpected(
          "stored at \(sequence), expected \(lastSequence &+ 1): somebody else writes to the stream",
          remedy: .reread)
      }
    }
    if duplicate {
      // Where it may be another event's, it is not settled before that is known. And in a pipeline
      // everything behind it expects the wrong sequence.
      let isInTheWay =
        options.exclusive && sequence != lastSequence &+ 1 && lines &- linesAcked > 1
      if (options.judge != nil && stage == nil) || isInTheWay {
        throw duplicatesMet("an id that the stream already holds at \(sequence)")
      }
    }
    let last = duplicate && sequence <= lastSequence ? lastSequence : sequence
    if duplicate, options.exclusive { expectedSequence = last }
    linesAcked &+= 1
    let count = take(1, lastSequence: last)
    var progress = LaneProgress(
      acked: count, duplicates: duplicate ? 1 : 0, lastStored: duplicate ? nil : 0,
      sequence: duplicate ? 0 : sequence)
    if duplicate { progress.originals = sequence }
    return progress
  }

  private func ackAtomic(_ token: UnsafeRawBufferPointer, _ sequence: UInt64, _ count: UInt64?)
    throws(JetStreamError) -> LaneProgress
  {
    guard let size = batches.first, let count, count == UInt64(size) else {
      throw unexpected("an ack of a batch of another size", remedy: .reread)
    }
    let oldest = batchNumber &- UInt64(batches.count)
    guard number(token) == oldest % Self.replyCycle else {
      throw unexpected("a batch's ack out of turn", remedy: .reread)
    }
    if options.exclusive {
      guard sequence == lastSequence &+ count else {
        throw unexpected(
          "a batch stored at \(sequence), expected \(lastSequence &+ count)", remedy: .reread)
      }
    }
    batches.removeFirst()
    linesAcked &+= count
    let stored = take(Int(size), lastSequence: sequence)
    return LaneProgress(
      acked: stored, duplicates: 0, lastStored: stored - 1, sequence: sequence)
  }

  /// Room for more, and nothing settled: the server skips duplicates without a word, and only the
  /// batch's end tells at which sequence its messages are.
  private func ackFlow(_ sequence: UInt64) throws(JetStreamError) -> LaneProgress {
    guard let reached = Int(exactly: sequence), reached <= inBatch else {
      throw unexpected("an ack of more than was sent", remedy: .reread)
    }
    guard reached > batchAcked else { return LaneProgress(acked: 0, duplicates: 0) }
    if stage == nil { release(reached - batchAcked) }
    batchAcked = reached
    return .moved
  }

  private func ackFast(_ sequence: UInt64, _ count: UInt64?, _ duplicate: Bool)
    throws(JetStreamError) -> LaneProgress
  {
    guard sealed, let count, count == UInt64(inBatch) else {
      throw unexpected(
        "a batch ended after \(count ?? 0) of \(inBatch) messages", remedy: .reread)
    }
    // The sequence is that of the last message that was stored; 0, or the original's, if none was.
    let isAllDuplicates = sequence == 0 || duplicate
    let highest = batchBase &+ count
    guard isAllDuplicates || sequence <= highest || !options.exclusive else {
      throw unexpected(
        "a batch ended at \(sequence), expected \(highest): somebody else writes to the stream",
        remedy: .reread)
    }
    guard !isAllDuplicates, sequence == highest || !options.exclusive else {
      // Which of them were stored can't be told.
      throw duplicatesMet("a batch of \(count) messages with ids that the stream already holds")
    }
    if stage == nil { release(inBatch - batchAcked) }
    endFastBatch(sequence)
    linesAcked &+= count
    acked &+= stage == nil ? count : 0
    return LaneProgress(
      acked: Int(count), duplicates: 0, lastStored: Int(count) - 1, sequence: sequence)
  }

  /// The next batch begins behind `sequence`.
  func endFastBatch(_ sequence: UInt64) {
    lastSequence = sequence
    expectedSequence = sequence
    batchBase = sequence
    batchNumber &+= 1
    inBatch = 0
    batchAcked = 0
    sealed = false
  }

  /// Room in the byte window.
  func release(_ n: Int) {
    for _ in 0..<n {
      if let size = sizes.first {
        bytesInFlight -= Int(size)
        sizes.removeFirst()
      }
    }
  }

  private func take(_ n: Int, lastSequence: UInt64) -> Int {
    self.lastSequence = lastSequence
    // Staged messages are settled all together.
    guard stage == nil else { return n }
    release(n)
    acked &+= UInt64(n)
    return n
  }
}
