/// What is checked before a proposal, or a batch's message, is taken; and how proposals become messages.
struct Proposal {
  enum Content {
    /// One message, or all of an atomic batch.
    case messages([Proposed])
    case remove(UInt64, ReplyTo)
    case purge(String, below: UInt64, keep: UInt64, ReplyTo)
  }
  var content: Content
}

struct Proposed {
  var message: Publication
  var headers: ProtocolHeaders
  /// The sequence that it follows, with proposals counted that fail when they are applied.
  var sequence: UInt64
  var time: Int64
  var batch: Answer.BatchCount?
  var fast: FastReply?
  /// The subject whose last sequence it asserted.
  var asserted: String?
}

/// What the messages of one batch (or one message) change for those checked behind them.
struct StagedChanges {
  var ids: Set<String> = []
  var subjects: [String: SimulatedStream.Amount] = [:]
  /// Asserted subjects: the sequence found, and the last message that asserted it.
  var expected: [String: UInt64] = [:]
  var total = SimulatedStream.Amount()
}

/// Why a message is not taken.
struct CheckFailure: Error {
  var refusal: Refusal
  /// The id is known; the original's sequence, or 0.
  var duplicateOf: UInt64?
}

extension SimulatedStream {
  /// - Returns: the subject that the message asserts.
  func check(_ message: Publication, _ headers: ProtocolHeaders, _ staged: inout StagedChanges)
    throws(CheckFailure) -> String?
  {
    func refused(_ refusal: Refusal) -> CheckFailure { CheckFailure(refusal: refusal) }
    var asserted: String?
    if !message.headers.isEmpty {
      if message.headers.count > ServerRules.longestHeaders { throw refused(.headersTooLarge) }
      if !headers.expectedStream.isEmpty, headers.expectedStream != configuration.name {
        throw refused(.expectedStreamDiffers)
      }
      if let refusal = ttlRefusal(headers) { throw refused(refusal) }
      if !headers.messageID.isEmpty {
        if staged.ids.contains(headers.messageID) {
          throw CheckFailure(refusal: .atomicDuplicate, duplicateOf: 0)
        }
        if let known = duplicates.sequence(of: headers.messageID) {
          throw CheckFailure(
            refusal: known > 0 ? .atomicDuplicate : .duplicateInProcess, duplicateOf: known)
        }
        staged.ids.insert(headers.messageID)
      }
      if rules.refusesSourceHeader, headers.isFromSource { throw refused(.sourceHeaderNotAllowed) }
      let last = proposedSequence &- failedProposals
      if let expected = headers.expectedLastSequence {
        if expected != last { throw refused(.wrongLastSequence(last)) }
        if !staged.subjects.isEmpty { throw refused(.wrongLastSequenceInFlight) }
      }
      asserted = try checkSubjectSequence(message, headers, &staged)
      if !headers.rollup.isEmpty { try checkRollup(message, headers, staged) }
    }
    stage(message, &staged)
    if let failure = limitFailure(message, headers, staged) { throw refused(.storeFailed(failure)) }
    return asserted
  }

  private func checkSubjectSequence(
    _ message: Publication, _ headers: ProtocolHeaders, _ staged: inout StagedChanges
  ) throws(CheckFailure) -> String? {
    guard let expected = headers.expectedSubjectSequence else {
      if !headers.sequenceSubject.isEmpty { throw CheckFailure(refusal: .subjectSequenceMissing) }
      return nil
    }
    let subject = assertedSubject(message.subject, headers)
    if staged.subjects[subject] != nil || expectedInFlight.contains(subject)
      || inFlight[subject] != nil
    {
      throw CheckFailure(refusal: .wrongLastSequenceInFlight)
    }
    let last = staged.expected[subject] ?? lastSequence(of: message.subject, headers)
    if last != expected { throw CheckFailure(refusal: .wrongLastSequence(last)) }
    staged.expected[subject] = last
    return subject
  }

  private func checkRollup(
    _ message: Publication, _ headers: ProtocolHeaders, _ staged: StagedChanges
  )
    throws(CheckFailure)
  {
    func refused(_ text: String) -> CheckFailure { CheckFailure(refusal: .rollupFailed(text)) }
    guard configuration.allowRollup, !configuration.denyPurge else {
      throw refused("rollup not permitted")
    }
    switch headers.rollup {
    case "sub":
      if staged.subjects[message.subject] != nil { throw refused("batch rollup sub invalid") }
    case "all":
      if !staged.subjects.isEmpty { throw refused("batch rollup all invalid") }
    default: throw refused("rollup value invalid: \"\(headers.rollup)\"")
    }
  }

  private func stage(_ message: Publication, _ staged: inout StagedChanges) {
    let size = store.size(message.subject, message.headers.count, message.payload.count)
    staged.subjects[message.subject, default: Amount()].messages += 1
    staged.subjects[message.subject, default: Amount()].bytes += size
    staged.total.messages += 1
    staged.total.bytes += size
  }

  private func limitFailure(
    _ message: Publication, _ headers: ProtocolHeaders, _ staged: StagedChanges
  )
    -> Refusal.StoreFailure?
  {
    guard configuration.discard == .new else { return nil }
    var total = staged.total
    for amount in inFlight.values {
      total.messages += amount.messages
      total.bytes += amount.bytes
    }
    if configuration.maxMessages > 0, store.count + total.messages > configuration.maxMessages {
      return .messages
    }
    if configuration.maxBytes > 0, store.bytes + total.bytes > configuration.maxBytes {
      return .bytes
    }
    if configuration.discardNewPerSubject, configuration.maxMessagesPerSubject > 0,
      headers.rollup.isEmpty || !rules.rollupPassesSubjectLimit
    {
      let subject = message.subject
      let held =
        store.count(on: subject) + (staged.subjects[subject]?.messages ?? 0)
        + (inFlight[subject]?.messages ?? 0)
      if held > configuration.maxMessagesPerSubject { return .messagesPerSubject }
    }
    return nil
  }

  // MARK: - Single messages of replicated streams

  /// Duplicates and sealed streams are answered also where the stream acknowledges nothing.
  func proposeSingle(_ message: Publication, _ headers: ProtocolHeaders) {
    if configuration.isSealed {
      return tell(message.reply, .refused(stream: configuration.name, .sealed))
    }
    if server.isOutOfResources { return refuse(message.reply, .insufficientResources) }
    if let refusal = sizeRefusal(message) { return refuse(message.reply, refusal) }
    alignProposals()
    guard rules.checksBeforeReplicating else { return proposeUnchecked(message, headers) }
    var staged = StagedChanges()
    do throws(CheckFailure) {
      let asserted = try check(message, headers, &staged)
      propose([(message, headers)], staged, asserted: [asserted])
    } catch {
      if let original = error.duplicateOf, original > 0 {
        return tell(
          message.reply, .duplicate(stream: configuration.name, sequence: original, batch: nil))
      }
      refuse(message.reply, error.refusal)
    }
  }

  /// Before 2.11, little is checked before messages are replicated.
  private func proposeUnchecked(_ message: Publication, _ headers: ProtocolHeaders) {
    if message.headers.count > ServerRules.longestHeaders {
      return refuse(message.reply, .headersTooLarge)
    }
    if let expected = expectedSubjectSequence(headers), expected <= lastSequence {
      let last = lastSequence(of: message.subject, headers)
      if last != expected { return refuse(message.reply, .wrongLastSequence(last)) }
    }
    if !headers.expectedStream.isEmpty, headers.expectedStream != configuration.name {
      return refuse(message.reply, .expectedStreamDiffers)
    }
    var staged = StagedChanges()
    if !headers.messageID.isEmpty {
      if let known = duplicates.sequence(of: headers.messageID) {
        return answer(
          message.reply, .duplicate(stream: configuration.name, sequence: known, batch: nil))
      }
      staged.ids.insert(headers.messageID)
    }
    stage(message, &staged)
    if configuration.retention != .limits, let failure = limitFailure(message, headers, staged) {
      // The id is known from here on, without a message.
      if !headers.messageID.isEmpty { duplicates.insert(headers.messageID, 0, at: now, now: now) }
      return refuse(message.reply, .storeFailed(failure))
    }
    propose([(message, headers)], staged, asserted: [nil])
  }

  /// The sequence that proposals follow, taken from the stream where that is ahead of them.
  func alignProposals() {
    if proposedSequence == 0 || proposedSequence < lastSequence + failedProposals {
      proposedSequence = lastSequence + failedProposals
    }
  }

  /// `messages` go out together, and are stored together.
  func propose(
    _ messages: [(Publication, ProtocolHeaders)], _ staged: StagedChanges, asserted: [String?],
    batch: Answer.BatchCount? = nil, fast: FastReply? = nil
  ) {
    for id in staged.ids { duplicates.insert(id, 0, at: now, now: now) }
    for (subject, amount) in staged.subjects {
      inFlight[subject, default: Amount()].messages += amount.messages
      inFlight[subject, default: Amount()].bytes += amount.bytes
    }
    for subject in staged.expected.keys { expectedInFlight.insert(subject) }
    var proposed: [Proposed] = []
    for (index, (message, headers)) in messages.enumerated() {
      var message = message
      let isLast = index == messages.count - 1
      if !isLast { message.reply.subject = "" }
      proposed.append(
        Proposed(
          message: message, headers: headers, sequence: proposedSequence, time: now,
          batch: isLast ? batch : nil, fast: fast, asserted: asserted[index]))
      proposedSequence += 1
    }
    proposals.append(Proposal(content: .messages(proposed)))
    server.commitsIfAtOnce(self)
  }

  /// A majority has the next proposals: they are applied, in order.
  public func commit(_ count: Int = .max) {
    let ready = proposals.prefix(count)
    proposals.removeFirst(ready.count)
    for proposal in ready {
      switch proposal.content {
      case .messages(let messages):
        for proposed in messages { apply(proposed) }
      case .remove(let sequence, let reply): server.remove(sequence, from: self, reply)
      case .purge(let subject, let below, let keep, let reply):
        server.reply(reply, .purged(purge(subject, below: below, keep: keep)))
      }
    }
  }

  public var proposalCount: Int { proposals.count }

  private func apply(_ proposed: Proposed) {
    let message = proposed.message
    store(
      message, proposed.headers, checks: false, proposed: proposed, batch: proposed.batch,
      fast: proposed.fast)
    if var amount = inFlight[message.subject] {
      amount.messages -= 1
      amount.bytes -= store.size(message.subject, message.headers.count, message.payload.count)
      inFlight[message.subject] = amount.messages > 0 ? amount : nil
    }
    if let subject = proposed.asserted { expectedInFlight.remove(subject) }
  }
}
