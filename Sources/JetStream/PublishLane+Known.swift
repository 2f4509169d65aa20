import Bytes
import NIOCore

/// What was found in the stream before the lane began (`StoredIDs`), in the place of questions.
extension PublishLane {
  /// Protocols in which the server reports an id that was wrongly taken for absent, and stores nothing out of
  /// order. Fast ingest skips it without a word.
  public static func takesKnownIDs(_ mode: PublishProtocol) -> Bool { mode != .fast }

  /// What was found in the stream before the lane began. The first message is asked for all the same: its
  /// answer lets the batch go on, and shows whether the stream is still what it was.
  func takeKnown(_ stage: Stage) {
    guard let known else { return }
    stage.usesKnown = true
    stage.presumes = asksForUnknown == 0
    asksForUnknown = max(asksForUnknown - 1, 0)
    let now = NIODeadline.now()
    for index in stage.messages.indices.dropFirst() {
      let id = messageID(staged.bytes, stage.messages[index].place)
      guard let found = known.message(id) else {
        if stage.presumes { stage.messages[index].fate = .absent }
        continue
      }
      guard now < found.expires else { continue }
      stage.messages[index].fate = .held(found.sequence)
      stage.messages[index].mark = found.mark
    }
  }

  /// In a chain that was published from `stage`, the stream had an id that was taken for absent (a consumer may have
  /// removed the message): everything behind it expects a wrong sequence, and is refused. When all is answered,
  /// the ids are asked for. Nil: nothing of the kind, the answer is an ordinary one.
  func brokenChain(
    _ token: UnsafeRawBufferPointer, _ frame: AckFrame
  ) throws(JetStreamError) -> LaneProgress? {
    guard mode == .chain, let stage, stage.phase == .publishing, linesAcked < lines,
      number(token) == linesAcked % Self.replyCycle
    else { return nil }
    switch frame {
    case .stored(let sequence, true, _) where sequence > 0: stage.isBroken = true
    case .refused(JetStreamCode.wrongLastSequence, _) where stage.isBroken: break
    case .refused(JetStreamCode.wrongLastID, _) where stage.isBroken: break
    default: return nil
    }
    linesAcked &+= 1
    guard linesAcked == lines else { return .moved }
    stage.isBroken = false
    expectedSequence = lastSequence
    // The last that was written is not the stream's last: the next message asserts the sequence alone, as an epoch's
    // first does.
    idOfLast.removeAll(keepingCapacity: true)
    return lookUpAgain()
  }

  func forgetKnown(_ stage: Stage) {
    stage.usesKnown = false
    for index in stage.messages.indices {
      stage.messages[index].fate = .unknown
      stage.messages[index].mark = StoredIDs.unclear
    }
  }

  /// The stream is not what was read, where the server does not have what was found there.
  func checkKnown(_ index: Int) {
    guard let known, stage?.usesKnown == true, let message = stage?.messages[index],
      case .absent = message.fate,
      let found = known.message(messageID(staged.bytes, message.place)),
      NIODeadline.now() < found.expires
    else { return }
    self.known = nil
  }

  /// Whether what is known of the stored message tells the same event from another one.
  func isJudged(_ index: Int, _ message: Stage.Message, at sequence: UInt64) -> Bool {
    guard let judge = options.judge, message.mark != StoredIDs.unclear else { return false }
    let own = ownHeaders(message.place)
    guard message.mark == StoredIDs.foreign else { return message.mark == judge.mark(own) }
    let difference = judge.difference(
      DuplicateJudge.Content(headers: Array(own), payload: []),
      DuplicateJudge.Content(headers: [], payload: [], sequence: sequence))
    if let difference { note(conflict: index, difference) }
    return true
  }
}
