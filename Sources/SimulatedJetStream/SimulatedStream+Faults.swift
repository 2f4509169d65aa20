/// What a simulator does to a stream.
extension SimulatedStream {
  /// Something was proposed to the replicas, and is not committed yet.
  public var hasProposals: Bool { !proposals.isEmpty }

  /// Another replica leads. Of the proposals under way the first `keeping` survive; the others are gone without
  /// an answer. `answering`: the new leader applies the survivors, and says so; else the publisher hears nothing
  /// of them.
  public func changeLeader(keeping: Int = 0, answering: Bool = false) {
    guard isReplicated else { return }
    leader += 1
    let survivors = proposals.prefix(keeping)
    let outputs = server.outputs
    commit(survivors.count)
    if !answering { server.outputs = outputs }
    proposals.removeAll()
    // The new leader knows only the ids of what it has stored.
    rebuildDuplicates()
    forgetProposals()
    atomicBatches = [:]
    for id in fastBatches.keys.sorted() {
      guard var batch = fastBatches[id] else { continue }
      batch.every = fastBatches.count > 1 ? 1 : min(500, batch.mostEvery)
      batch.pending = 0
      batch.isCommitted = false
      batch.deadline = now + ServerRules.batchPatience
      batch.lastSequence = batch.settled
      batch.flowed = batch.settled
      fastBatches[id] = batch
      answer(batch.reply, .flow(sequence: batch.flowed, every: batch.every))
    }
  }

  /// The stream's servers stop at once and start again; the last `losing` messages never came to disk.
  public func crash(losing: Int = 0) {
    proposals.removeAll()
    store.lose(last: losing)
    replicas?.apply { $0.lose(last: losing) }
    lastSequence = store.lastSequence
    rebuildDuplicates()
    forgetProposals()
    failedProposals = 0
    atomicBatches = [:]
    fastBatches = [:]
    consumers.removeAll { consumer in
      guard consumer.configuration.inMemory else { return false }
      interests.removeAll { $0.consumer == consumer.name }
      return true
    }
    for consumer in consumers { consumer.restart() }
  }

  private func forgetProposals() {
    inFlight = [:]
    expectedInFlight = []
    proposedSequence = 0
  }

  /// As the server does when it starts: from the messages that are not older than the window.
  private func rebuildDuplicates() {
    duplicates.removeAll()
    lastMessageID = ""
    for message in store.messages where message.time >= now - configuration.duplicateWindow {
      let id = ProtocolHeaders(message.headers).messageID
      if !id.isEmpty { duplicates.insert(id, message.sequence, at: message.time, now: now) }
      if message.sequence == store.lastSequence { lastMessageID = id }
    }
  }
}
