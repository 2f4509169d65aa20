enum Verdict {
  case store
  case answer(Answer)
  /// Not stored, and nothing said.
  case drop
}

/// What a single message is checked for, in the order of the server's version.
extension SimulatedStream {
  func verdict(_ message: Publication, _ headers: ProtocolHeaders) -> Verdict {
    let name = configuration.name
    func refused(_ refusal: Refusal) -> Verdict { .answer(.refused(stream: name, refusal)) }
    func duplicate(_ sequence: UInt64) -> Verdict {
      .answer(.duplicate(stream: name, sequence: sequence, batch: nil))
    }
    if rules.checksSizeFirst, let refusal = sizeRefusal(message) { return refused(refusal) }
    if !message.headers.isEmpty {
      if !headers.expectedStream.isEmpty, headers.expectedStream != name {
        return refused(.expectedStreamDiffers)
      }
      if rules.comparesSequencesBeforeIDs {
        if let refusal = ttlRefusal(headers) ?? sequenceRefusal(message, headers) {
          return refused(refusal)
        }
        if rules.refusesSourceHeader, headers.isFromSource {
          return refused(.sourceHeaderNotAllowed)
        }
        if let known = knownSequence(headers) {
          return duplicate(known)
        }
      } else {
        if let refusal = ttlRefusal(headers) { return refused(refusal) }
        if let known = knownSequence(headers) {
          return duplicate(known)
        }
        if let refusal = sequenceRefusal(message, headers) { return refused(refusal) }
      }
      if let refusal = lastIDRefusal(headers) {
        failedProposals += 1
        return refused(refusal)
      }
      if !headers.rollup.isEmpty {
        guard configuration.allowRollup, !configuration.denyPurge else {
          return refused(.rollupFailed("rollup not permitted"))
        }
        guard headers.rollup == "sub" || headers.rollup == "all" else {
          return rules.dropsUnknownRollups
            ? .drop : refused(.rollupFailed("rollup value invalid: \"\(headers.rollup)\""))
        }
      }
    }
    if let refusal = sizeRefusal(message) { return refused(refusal) }
    return server.isOutOfResources ? refused(.insufficientResources) : .store
  }

  func sizeRefusal(_ message: Publication) -> Refusal? {
    let limit = configuration.maxMessageSize
    if limit >= 0, message.headers.count + message.payload.count > limit { return .messageTooLarge }
    return message.headers.count > ServerRules.longestHeaders ? .headersTooLarge : nil
  }

  func ttlRefusal(_ headers: ProtocolHeaders) -> Refusal? {
    rules.knowsMessageTTL && headers.hasTTL && !configuration.allowMessageTTL
      ? .messageTTLDisabled : nil
  }

  func knownSequence(_ headers: ProtocolHeaders) -> UInt64? {
    guard !headers.messageID.isEmpty, let known = duplicates.sequence(of: headers.messageID),
      known > 0
    else { return nil }
    return known
  }

  func lastIDRefusal(_ headers: ProtocolHeaders) -> Refusal? {
    guard !headers.expectedLastID.isEmpty, headers.expectedLastID != lastMessageID else {
      return nil
    }
    return .wrongLastMessageID(lastMessageID)
  }

  /// Of the subject first, then of the stream.
  private func sequenceRefusal(_ message: Publication, _ headers: ProtocolHeaders) -> Refusal? {
    if let expected = expectedSubjectSequence(headers) {
      let last = lastSequence(of: message.subject, headers)
      if last != expected { return .wrongLastSequence(last) }
    } else if rules.knowsSequenceSubject, !headers.sequenceSubject.isEmpty {
      return .subjectSequenceMissing
    }
    if let expected = headers.expectedLastSequence, expected != lastSequence {
      return .wrongLastSequence(lastSequence)
    }
    return nil
  }

  func expectedSubjectSequence(_ headers: ProtocolHeaders) -> UInt64? {
    rules.knowsSequenceSubject || !headers.isSequenceHidden ? headers.expectedSubjectSequence : nil
  }

  func assertedSubject(_ subject: String, _ headers: ProtocolHeaders) -> String {
    rules.knowsSequenceSubject && !headers.sequenceSubject.isEmpty
      ? headers.sequenceSubject : subject
  }

  func lastSequence(of subject: String, _ headers: ProtocolHeaders) -> UInt64 {
    store.last(on: assertedSubject(subject, headers))?.sequence ?? 0
  }

  /// What is checked of a proposal, or of a batch's message, only when it is applied.
  func verdictWhenApplied(_ message: Publication, _ headers: ProtocolHeaders) -> Verdict {
    func refused(_ refusal: Refusal) -> Verdict {
      .answer(.refused(stream: configuration.name, refusal))
    }
    if !rules.checksBeforeReplicating, let refusal = sequenceRefusal(message, headers) {
      return refused(refusal)
    }
    if let refusal = lastIDRefusal(headers) { return refused(refusal) }
    guard !rules.checksBeforeReplicating, !headers.rollup.isEmpty else { return .store }
    guard configuration.allowRollup, !configuration.denyPurge else {
      return refused(.rollupFailed("rollup not permitted"))
    }
    return headers.rollup == "sub" || headers.rollup == "all" ? .store : .drop
  }
}
