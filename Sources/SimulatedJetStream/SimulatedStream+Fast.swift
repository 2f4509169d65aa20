/// The reply subject of a fast batch's message:
/// `<inbox>.<batch>.<flow>.<gap>.<sequence>.<operation>.$FI`.
struct FastReply {
  enum Operation: Int { case start, append, commit, commitEnd, ping }

  var id: String
  var flow: Int
  var gapsAllowed: Bool
  var sequence: UInt64
  var operation: Operation

  var commits: Bool { operation == .commit || operation == .commitEnd }

  static func isFast(_ reply: String) -> Bool { reply.utf8.count > 4 && reply.hasSuffix(".$FI") }

  /// Nil: not of that form.
  init?(_ reply: String) {
    let tokens = reply.split(separator: ".", omittingEmptySubsequences: false)
    guard tokens.count >= 7 else { return nil }
    let end = tokens.count - 1
    guard let number = Int(tokens[end - 1]), let operation = Operation(rawValue: number),
      let sequence = UInt64(tokens[end - 2]), sequence > 0, sequence < .max,
      tokens[end - 3] == "ok" || tokens[end - 3] == "fail"
    else { return nil }
    if sequence == 1, operation == .commitEnd || operation == .append { return nil }
    if operation == .start, sequence != 1 { return nil }
    let flow = Int(tokens[end - 4]) ?? 0
    self.id = String(tokens[end - 5])
    self.flow = flow <= 0 ? 10 : min(flow, 65535)
    self.gapsAllowed = tokens[end - 3] == "ok"
    self.sequence = sequence
    self.operation = operation
  }
}

struct FastBatch {
  /// The highest sequence of the batch, and the highest that is settled.
  var lastSequence: UInt64 = 0
  var settled: UInt64 = 0
  /// The stream's sequence of the last message stored.
  var storedAt: UInt64 = 0
  /// Up to where flow control went.
  var flowed: UInt64 = 0
  var pending = 0
  var every: Int
  var mostEvery: Int
  var gapsAllowed: Bool
  var isCommitted = false
  var deadline: Int64
  /// Where the last stored message wanted its answer.
  var reply = ReplyTo(subject: "")
}

extension SimulatedStream {
  private static let mostFlow = 500

  /// A message whose reply subject says that it belongs to a fast batch. `fast` is nil where that is malformed.
  func publishFast(_ message: Publication, _ fast: FastReply?) {
    let reply = message.reply
    if configuration.isSealed { return refuse(reply, .sealed) }
    if server.isOutOfResources { return refuse(reply, .insufficientResources) }
    if let refusal = sizeRefusal(message) { return refuse(reply, refusal) }
    if !configuration.allowBatched { return refuse(reply, .fastDisabled) }
    guard let fast else { return refuse(reply, .fastInvalidPattern) }
    if fast.id.utf8.count > ServerRules.longestBatchID { return refuse(reply, .fastInvalidID) }
    if fastBatches[fast.id] == nil {
      guard fast.sequence == 1, fast.operation != .ping else {
        return refuse(reply, .fastUnknownID)
      }
      guard fastBatches.count < ServerRules.fastBatchesPerStream,
        server.openFastBatches < ServerRules.fastBatchesPerServer
      else { return refuse(reply, .fastTooMany) }
      let every = fastBatches.isEmpty ? min(Self.mostFlow, fast.flow) : 1
      fastBatches[fast.id] = FastBatch(
        every: every, mostEvery: fast.flow, gapsAllowed: fast.gapsAllowed, deadline: 0)
    }
    guard var batch = fastBatches[fast.id] else { return }
    if !batch.isCommitted { batch.deadline = now + ServerRules.batchPatience }
    if fast.operation == .ping { return ping(&batch, fast, reply) }
    // It ends; the publisher waits for the answer to its end.
    if batch.isCommitted { return }
    guard follows(&batch, fast, reply) else { return }
    if fast.commits {
      if fast.operation == .commitEnd {
        batch.lastSequence -= 1
        if batch.pending == 0 { batch.settled = batch.lastSequence }
      }
      end(&batch, fast, reply)
      if fast.operation == .commitEnd { return }
    } else if fast.sequence == 1 {
      answer(reply, .flow(sequence: 0, every: batch.every))
    }
    fastBatches[fast.id] = batch
    take(message, fast, batch)
  }

  /// Whether the message is the batch's next. Saves the batch where it is not.
  private func follows(_ batch: inout FastBatch, _ fast: FastReply, _ reply: ReplyTo) -> Bool {
    batch.lastSequence += 1
    guard batch.lastSequence != fast.sequence else { return true }
    let isForward = fast.sequence > batch.lastSequence
    if isForward { tell(reply, .gap(expected: batch.lastSequence, current: fast.sequence)) }
    if batch.gapsAllowed, isForward {
      batch.lastSequence = fast.sequence
      return true
    }
    batch.lastSequence -= 1
    end(&batch, fast, reply)
    return false
  }

  private func ping(_ batch: inout FastBatch, _ fast: FastReply, _ reply: ReplyTo) {
    var sendsFlow = true
    if fast.sequence > batch.lastSequence {
      tell(reply, .gap(expected: batch.lastSequence + 1, current: fast.sequence + 1))
      if batch.gapsAllowed {
        batch.lastSequence = fast.sequence
        if batch.pending == 0 { batch.settled = batch.lastSequence }
        sendsFlow = !controlFlow(&batch, reply)
      } else if end(&batch, fast, reply) {
        sendsFlow = false
      }
    }
    if sendsFlow { tell(reply, .flow(sequence: batch.flowed, every: batch.every)) }
    if fastBatches[fast.id] != nil { fastBatches[fast.id] = batch }
  }

  /// Checks the batch's next message, and stores or proposes it.
  private func take(_ message: Publication, _ fast: FastReply, _ batch: FastBatch) {
    let reply = message.reply
    let headers = ProtocolHeaders(message.headers)
    var batch = batch
    alignProposals()
    var staged = StagedChanges()
    let asserted: String?
    do throws(CheckFailure) {
      asserted = try check(message, headers, &staged)
    } catch {
      let isDuplicate = error.duplicateOf != nil
      if isDuplicate {
        if batch.pending == 0 {
          batch.settled = fast.sequence
          controlFlow(&batch, reply)
        }
        if !fast.commits {
          fastBatches[fast.id] = batch
          return
        }
      }
      if !fast.gapsAllowed, batch.lastSequence == 1 {
        fastBatches[fast.id] = nil
        if let original = error.duplicateOf, original > 0 {
          return tell(
            reply,
            .duplicate(
              stream: configuration.name, sequence: original,
              batch: Answer.BatchCount(id: fast.id, count: fast.sequence)))
        }
        return tell(reply, .refused(stream: configuration.name, error.refusal))
      }
      if !isDuplicate { tell(reply, .batchRefused(sequence: fast.sequence, error.refusal)) }
      if fast.gapsAllowed, !fast.commits {
        fastBatches[fast.id] = batch
        return
      }
      if !isDuplicate {
        batch.lastSequence -= 1
        if batch.pending == 0 { batch.settled = batch.lastSequence }
      }
      end(&batch, fast, reply)
      return
    }
    batch.pending += 1
    fastBatches[fast.id] = batch
    let count = Answer.BatchCount(id: fast.id, count: fast.sequence)
    if isReplicated {
      return propose([(message, headers)], staged, asserted: [asserted], batch: count, fast: fast)
    }
    store(message, headers, checks: false, batch: count, fast: fast)
  }

  /// Ends the batch. True: all of it is settled, and the answer is given.
  @discardableResult
  private func end(_ batch: inout FastBatch, _ fast: FastReply, _ reply: ReplyTo) -> Bool {
    batch.isCommitted = true
    batch.deadline = .max
    guard batch.lastSequence == batch.settled else {
      fastBatches[fast.id] = batch
      return false
    }
    fastBatches[fast.id] = nil
    tell(reply, batch.answer(configuration.name, fast.id))
    return true
  }

  /// A message of the batch is stored. True: it was the batch's last, and its answer is the batch's.
  func registersEnd(of fast: FastReply, _ reply: ReplyTo) -> Bool {
    guard var batch = fastBatches[fast.id] else { return false }
    if batch.pending > 0 { batch.pending -= 1 }
    batch.reply = reply
    batch.storedAt = lastSequence
    let isCaughtUp = batch.pending == 0
    batch.settled = isCaughtUp ? batch.lastSequence : fast.sequence
    if batch.lastSequence == batch.settled, batch.isCommitted {
      fastBatches[fast.id] = nil
      guard isCaughtUp else { return true }
      tell(reply, batch.answer(configuration.name, fast.id))
      return false
    }
    controlFlow(&batch, reply)
    fastBatches[fast.id] = batch
    return false
  }

  @discardableResult
  private func controlFlow(_ batch: inout FastBatch, _ reply: ReplyTo) -> Bool {
    let every = UInt64(batch.every)
    guard batch.settled >= batch.flowed + every else { return false }
    batch.flowed += (batch.settled - batch.flowed) / every * every
    let most = min(max(1, Self.mostFlow / max(1, fastBatches.count)), batch.mostEvery)
    if batch.every < most {
      batch.every = min(batch.every * 2, most)
    } else if batch.every > most {
      batch.every = max(batch.every / 2, most)
    }
    tell(reply, .flow(sequence: batch.flowed, every: batch.every))
    return true
  }
}

extension FastBatch {
  fileprivate func answer(_ stream: String, _ id: String) -> Answer {
    .stored(
      stream: stream, sequence: storedAt, batch: Answer.BatchCount(id: id, count: lastSequence))
  }
}
