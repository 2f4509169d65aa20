/// What the server's answers do to a lane.
extension PublishLane {
  /// Takes one ack. `token` is what follows the inbox and its dot in the ack's subject.
  public func received(token: UnsafeRawBufferPointer, payload: UnsafeRawBufferPointer, status: Int?)
    throws(JetStreamError) -> LaneProgress
  {
    if let status {
      // The server's own refusal: nobody serves the subject (503), or the like.
      throw JetStreamError(
        code: 0, operation: "publish to \(options.stream)",
        message: status == 503
          ? "nobody answers for the stream: it is missing, or has no leader"
          : "the server answered with status \(status)",
        remedy: .backOff)
    }
    switch AckFrame(payload: payload) {
    case .stored(let sequence, let duplicate, let count):
      guard sequence > 0 else {
        throw unexpected("an ack without a sequence: not stored yet", remedy: .backOff)
      }
      switch mode {
      case .chain, .single: return try ackOne(token, sequence, duplicate)
      case .atomic: return try ackAtomic(token, sequence, count)
      case .fast: return try ackFast(sequence, count)
      }
    case .flow(let sequence, let every):
      guard mode == .fast else { throw unexpected("a fast-ingest ack", remedy: .reread) }
      flowEvery = Int(clamping: max(every, 1))
      return try ackFlow(sequence)
    case .refused(let code, _):
      throw JetStreamError(code: code, operation: "publish to \(options.stream)")
    case .gap(let sequence):
      throw unexpected("messages before \(sequence) of a batch never arrived", remedy: .reread)
    case .receipt: return LaneProgress(acked: 0, duplicates: 0)
    case .unknown: throw unexpected("an answer that is no ack", remedy: .reread)
    }
  }

  private func unexpected(_ what: String, remedy: JetStreamError.Remedy) -> JetStreamError {
    JetStreamError(
      code: 0, operation: "publish to \(options.stream)", message: what, remedy: remedy)
  }

  private func number(_ token: UnsafeRawBufferPointer) -> UInt64? {
    var value: UInt64 = 0
    guard token.count > 0, token.count < 10 else { return nil }
    for c in token {
      guard c >= 48, c <= 57 else { return nil }
      value = value &* 10 &+ UInt64(c &- 48)
    }
    return value
  }

  private func ackOne(_ token: UnsafeRawBufferPointer, _ sequence: UInt64, _ duplicate: Bool)
    throws(JetStreamError) -> LaneProgress
  {
    guard inFlight > 0, number(token) == acked % Self.replyCycle else {
      throw unexpected("an ack out of turn", remedy: .reread)
    }
    if options.exclusive {
      guard sequence == lastSequence &+ 1 || duplicate else {
        throw unexpected(
          "stored at \(sequence), expected \(lastSequence &+ 1): somebody else writes to the stream",
          remedy: .reread)
      }
      if duplicate, sequence != lastSequence &+ 1, inFlight > 1 {
        // The server had it from elsewhere, so everything behind it expects the wrong sequence.
        _ = take(1, lastSequence: lastSequence)
        var error = unexpected(
          "an id that the stream already holds at \(sequence)", remedy: .reread)
        error.meansDuplicate = true
        throw error
      }
    }
    let last = duplicate && sequence <= lastSequence ? lastSequence : sequence
    if duplicate, options.exclusive { expectedSequence = last }
    return LaneProgress(acked: take(1, lastSequence: last), duplicates: duplicate ? 1 : 0)
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
    return LaneProgress(acked: take(Int(size), lastSequence: sequence), duplicates: 0)
  }

  private func ackFlow(_ sequence: UInt64) throws(JetStreamError) -> LaneProgress {
    guard let reached = Int(exactly: sequence), reached <= inBatch else {
      throw unexpected("an ack of more than was sent", remedy: .reread)
    }
    guard reached > batchAcked else { return LaneProgress(acked: 0, duplicates: 0) }
    let more = reached - batchAcked
    batchAcked = reached
    // Exact unless the server skipped duplicates, which the batch's final ack tells.
    return LaneProgress(
      acked: take(more, lastSequence: batchBase &+ UInt64(reached)), duplicates: 0)
  }

  private func ackFast(_ sequence: UInt64, _ count: UInt64?) throws(JetStreamError) -> LaneProgress
  {
    guard sealed, let count, count == UInt64(inBatch) else {
      throw unexpected(
        "a batch ended after \(count ?? 0) of \(inBatch) messages", remedy: .reread)
    }
    let highest = batchBase &+ count
    guard sequence <= highest || !options.exclusive else {
      throw unexpected(
        "a batch ended at \(sequence), expected \(highest): somebody else writes to the stream",
        remedy: .reread)
    }
    let more = inBatch - batchAcked
    let duplicates = options.exclusive ? Int(clamping: highest &- sequence) : 0
    expectedSequence = sequence
    batchBase = sequence
    batchNumber &+= 1
    inBatch = 0
    batchAcked = 0
    sealed = false
    return LaneProgress(
      acked: take(more, lastSequence: sequence), duplicates: min(duplicates, Int(clamping: count)))
  }

  private func take(_ n: Int, lastSequence: UInt64) -> Int {
    for _ in 0..<n {
      if let size = sizes.first {
        bytesInFlight -= Int(size)
        sizes.removeFirst()
      }
    }
    acked &+= UInt64(n)
    self.lastSequence = lastSequence
    return n
  }
}
