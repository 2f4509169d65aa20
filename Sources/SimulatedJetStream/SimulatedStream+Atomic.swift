/// An atomic batch that is not committed yet.
struct AtomicBatch {
  var messages: [(Publication, ProtocolHeaders)] = []
  var lastSequence: UInt64 = 0
  var deadline: Int64
}

extension SimulatedStream {
  /// A message with `Nats-Batch-Id`.
  func publishAtomic(_ message: Publication, _ headers: ProtocolHeaders) {
    let reply = message.reply
    if configuration.isSealed {
      if rules.namesTooManyBatches { return refuse(reply, .sealed) }
      // Also where the stream acknowledges nothing.
      return tell(reply, .refused(stream: configuration.name, .sealed))
    }
    if server.isOutOfResources { return refuse(reply, .insufficientResources) }
    if let refusal = sizeRefusal(message) { return refuse(reply, refusal) }
    if !configuration.allowAtomic { return refuse(reply, .atomicDisabled) }
    let id = headers.batchID
    if id.utf8.count > ServerRules.longestBatchID { return refuse(reply, .atomicInvalidID) }
    guard let sequence = headers.batchSequence else { return refuse(reply, .atomicMissingSequence) }
    let endsUnstored = rules.knowsEndOfBatch && headers.batchCommit == "eob"
    let size = endsUnstored ? sequence &- 1 : sequence
    if atomicBatches[id] == nil {
      guard sequence == 1 else {
        return refuse(
          reply, size > ServerRules.largestAtomicBatch ? .atomicTooLarge : .atomicIncomplete)
      }
      guard atomicBatches.count < ServerRules.atomicBatchesPerStream,
        server.openAtomicBatches < ServerRules.atomicBatchesPerServer
      else { return refuse(reply, rules.namesTooManyBatches ? .atomicTooMany : .atomicIncomplete) }
      atomicBatches[id] = AtomicBatch(deadline: 0)
    }
    if let commit = headers.batchCommit, commit != "1", !endsUnstored {
      atomicBatches[id] = nil
      return refuse(reply, .atomicInvalidCommit)
    }
    atomicBatches[id]?.deadline = now + ServerRules.batchPatience
    atomicBatches[id]?.lastSequence += 1
    if atomicBatches[id]?.lastSequence != sequence || (sequence == 1 && endsUnstored) {
      atomicBatches[id] = nil
      return refuse(reply, .atomicIncomplete)
    }
    if size > ServerRules.largestAtomicBatch {
      atomicBatches[id] = nil
      return refuse(reply, .atomicTooLarge)
    }
    if !endsUnstored { atomicBatches[id]?.messages.append((message, headers)) }
    guard headers.batchCommit != nil else { return answer(reply, .receipt) }
    guard let batch = atomicBatches.removeValue(forKey: id) else { return }
    commit(
      batch.messages, Answer.BatchCount(id: id, count: size), reply, endsUnstored: endsUnstored)
  }

  private func commit(
    _ messages: [(Publication, ProtocolHeaders)], _ batch: Answer.BatchCount, _ reply: ReplyTo,
    endsUnstored: Bool
  ) {
    if isReplicated {
      alignProposals()
    } else {
      proposedSequence = lastSequence
      failedProposals = 0
    }
    let begin = proposedSequence
    var staged = StagedChanges()
    var asserted: [String?] = []
    for (message, headers) in messages {
      do throws(CheckFailure) {
        if !headers.expectedLastID.isEmpty {
          throw CheckFailure(refusal: .atomicUnsupportedHeader("Nats-Expected-Last-Msg-Id"))
        }
        asserted.append(try check(message, headers, &staged))
      } catch {
        // With one replica the server leaves its count of proposals where it was.
        if isReplicated { proposedSequence = begin }
        return refuse(reply, error.refusal)
      }
      proposedSequence += 1
    }
    var messages = messages
    if let last = messages.indices.last {
      messages[last].0.reply = reply
      if endsUnstored { messages[last].0.headers.markCommit() }
    }
    if isReplicated {
      proposedSequence = begin
      return propose(messages, staged, asserted: asserted, batch: batch)
    }
    proposedSequence = 0
    failedProposals = 0
    for (index, (message, headers)) in messages.enumerated() {
      var message = message
      let isLast = index == messages.count - 1
      if !isLast { message.reply.subject = "" }
      let isStored = store(message, headers, checks: false, batch: isLast ? batch : nil)
      if !isStored, rules.knowsFastBatches { return }
    }
  }

  /// Batches without traffic are given up.
  func abandonBatches() {
    if !atomicBatches.isEmpty { atomicBatches = atomicBatches.filter { $0.value.deadline > now } }
    if !fastBatches.isEmpty { fastBatches = fastBatches.filter { $0.value.deadline > now } }
  }
}

extension [UInt8] {
  /// The last message of a batch that another message ended gets the usual header.
  fileprivate mutating func markCommit() {
    if isEmpty { self = Array("NATS/1.0\r\n\r\n".utf8) }
    removeLast(2)
    append(contentsOf: "Nats-Batch-Commit: 1\r\n\r\n".utf8)
  }
}
