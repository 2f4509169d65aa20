import Bytes

/// Looks ids up before anything is published, for streams that hold some of them already: by earlier
/// runs, or by producers that were first.
///
/// Messages are collected, up to a batch of them. Then each id is sent alone, with an assertion that can
/// never hold: the server looks at ids first, so it answers `duplicate` with the original's sequence, or
/// refuses, and stores nothing either way. All of them are under way at once. What the stream has is
/// compared with its original where the id alone does not prove the event; what it lacks is published by
/// the lane's protocol. All is settled together, in order, once everything is known to be stored. Meanwhile
/// the next messages are collected.
extension PublishLane {
  /// A class, so that its arrays are changed where they are.
  final class Stage {
    enum Phase { case collecting, lookingUp, reading, publishing }

    enum Fate {
      case unknown
      /// The stream has no such id.
      case absent
      /// It has, at that sequence.
      case held(UInt64)
    }

    /// Where a message's original is asked for.
    enum Question {
      case none
      /// From any server that has the stream's messages.
      case direct
      case leader
    }

    struct Message {
      /// Where the parts stand.
      var place: Place
      var end: Int
      var fate = Fate.unknown
      var question = Question.none
      /// Of what `StoredIDs` has under its id.
      var mark = StoredIDs.unclear
      /// This lane has stored it.
      var isOurs = false
      /// An earlier one of these has its id.
      var isRepeat = false
    }

    var phase = Phase.collecting
    var messages: [Message] = []
    /// Answers that are still to come.
    var awaited = 0
    /// The server has seen an id and not settled yet whether it keeps the message.
    var isUnsettled = false
    var rounds = 0
    /// Indices of messages whose originals are read, and how many were asked for.
    var toRead: [Int] = []
    var asked = 0
    var conflicts: [LaneProgress.Conflict] = []
    /// Indices of messages to publish, and how many of them were written, and are stored.
    var toPublish: [Int] = []
    var written = 0
    var stored = 0
    /// The sequence of the last message that this lane stored.
    var lastSequence: UInt64 = 0
    /// What was found in the stream before was believed without a question.
    var usesKnown = false
    /// So was that it has no other ids.
    var presumes = false
    /// Of what was published the server had an id already, so that what follows is refused (`brokenChain`).
    var isBroken = false
    /// All that was published is looked up again, to see what of it is ours.
    var isConfirming = false
    /// Messages settled since the last duplicate.
    var clean = 0
  }

  /// An answer to something else than a publish, for the message of that index.
  enum StagedAnswer {
    case id(Int)
    case original(Int)
  }

  static let mostRounds = 200
  static let batchesAsked = 20
  /// So many messages without a duplicate, and ids are no longer looked up.
  static let cleanEnough = 50_000

  /// The next messages are collected while the server answers for those before them; not before its
  /// questions are with the socket.
  func canCollect(beside stage: Stage) -> Bool {
    guard ahead.count < Self.maximumBatch else { return false }
    return stage.phase == .collecting || (output.count == 0 && !isOver(stage))
  }

  /// What was sent to the socket left room to collect more.
  public var collectsAhead: Bool { stage.map { $0.phase != .collecting } ?? false && canSend }

  /// No duplicate came for so long that the messages behind these go out without questions.
  private func isOver(_ stage: Stage) -> Bool {
    options.screening == .whileNeeded && stage.clean >= Self.cleanEnough
  }

  /// How many messages are published at once: fast ingest takes more only with flow control.
  private var partLimit: Int {
    mode == .fast ? max(1, min(2 * flowEvery, Self.maximumBatch)) : Self.maximumBatch
  }

  /// What the protocol can add to the staged message beyond what is always allowed for.
  var stagedAddition: Int {
    mode == .chain && options.assertsPredecessor ? longestID + 96 : 0
  }

  // MARK: - Collecting

  /// The open message is complete.
  func stageMessage() {
    let id = messageID(output.bytes, open)
    longestID = max(longestID, id.count)
    ahead.append(Stage.Message(place: open, end: output.count))
    let size = output.count - open.start
    sizes.append(Int32(clamping: size))
    bytesInFlight += size
    sent &+= 1
    stopStaging()
    if ahead.count >= Self.maximumBatch { lookUpStaged() }
  }

  /// The open message is complete, or discarded: `output` is what goes to the socket again.
  func stopStaging() {
    swap(&output, &collecting)
    isStaging = false
  }

  /// The value of the message's first header, where that is its id.
  func messageID(_ bytes: UnsafeRawBufferPointer, _ place: Place) -> UnsafeRawBufferPointer {
    let name = "Nats-Msg-Id: "
    let first = place.headers + 10
    let line = bytes[first..<place.ownEnd]
    guard line.starts(with: name.utf8), let end = line.firstIndex(of: 13) else {
      return UnsafeRawBufferPointer(start: nil, count: 0)
    }
    return UnsafeRawBufferPointer(rebasing: bytes[(first + name.utf8.count)..<end])
  }

  // MARK: - Looking ids up

  /// Sends the ids of everything that was collected, unless those before are still under way.
  func lookUpStaged() {
    guard let stage, stage.phase == .collecting, !ahead.isEmpty else { return }
    swap(&collecting, &staged)
    collecting.removeAll()
    stage.messages = ahead
    ahead.removeAll(keepingCapacity: true)
    longestID = 0
    lookUp()
  }

  private func lookUp() {
    guard let stage else { return }
    stage.phase = .lookingUp
    stage.isUnsettled = false
    stage.rounds += 1
    if stage.rounds == 1 { takeKnown(stage) } else { forgetKnown(stage) }
    stage.awaited = 0
    for index in stage.messages.indices {
      if case .unknown = stage.messages[index].fate {} else { continue }
      stage.awaited += 1
      let place = stage.messages[index].place
      writeQuestion(messageID(staged.bytes, place), subject(place), index)
    }
  }

  private func subject(_ place: Place) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: staged.bytes[(place.start + 5)..<place.reply])
  }

  /// A message that can't be stored: the server looks for its id before it finds that out.
  ///
  /// The assertion is one that is checked behind the ids by every server from 2.9 to 2.15. With one
  /// replica that is the last id (2.15 checks sequences first there); with several the last sequence
  /// (on 2.15.1 a wrong last id makes a replicated stream fall silent).
  private func writeQuestion(
    _ id: UnsafeRawBufferPointer, _ subject: UnsafeRawBufferPointer, _ index: Int
  ) {
    output.append("HPUB ")
    output.append(subject)
    output.append(UInt8(ascii: " "))
    output.append(inbox)
    output.append(".p")
    output.append(decimal: UInt64(index))
    output.append(UInt8(ascii: " "))
    let sizes = output.appendPlaceholder(Self.sizeDigits)
    output.append(UInt8(ascii: " "))
    _ = output.appendPlaceholder(Self.sizeDigits)
    output.append("\r\n")
    let start = output.count
    output.append("NATS/1.0\r\nNats-Msg-Id: ")
    output.append(id)
    output.append(
      options.isReplicated
        ? "\r\nNats-Expected-Last-Sequence: 9223372036854775807\r\n\r\n"
        : "\r\nNats-Expected-Last-Msg-Id: .tailrace.no-such-id\r\n\r\n")
    let size = output.count - start
    output.patch(decimal: size, at: sizes, width: Self.sizeDigits)
    output.patch(decimal: size, at: sizes + Self.sizeDigits + 1, width: Self.sizeDigits)
    output.append("\r\n")
  }

  /// Which question a reply subject's last part belongs to: `p<index>` or `g<index>` (`d<index>` is
  /// `directAnswer`'s).
  func stagedAnswer(_ token: UnsafeRawBufferPointer) -> StagedAnswer? {
    guard let kind = token.first, kind == UInt8(ascii: "p") || kind == UInt8(ascii: "g"),
      let index = number(UnsafeRawBufferPointer(rebasing: token.dropFirst())).map({ Int($0) }),
      let stage, index < stage.messages.count
    else { return nil }
    return kind == UInt8(ascii: "p") ? .id(index) : .original(index)
  }

  func receive(
    _ answer: StagedAnswer, _ payload: UnsafeRawBufferPointer
  ) throws(JetStreamError) -> LaneProgress {
    switch answer {
    case .id(let index): try takeID(index, AckFrame(payload: payload))
    case .original(let index): try takeOriginal(index, payload)
    }
  }

  private func takeID(_ index: Int, _ frame: AckFrame) throws(JetStreamError) -> LaneProgress {
    guard stage?.phase == .lookingUp, stage?.awaited ?? 0 > 0 else {
      throw unexpected("an answer about an id out of turn", remedy: .reread)
    }
    switch frame {
    case .stored(let sequence, true, _) where sequence > 0:
      stage?.messages[index].fate = .held(sequence)
    case .stored(0, true, _), .refused(10158, _), .refused(10201, _): stage?.isUnsettled = true
    case .refused(10070, _), .refused(10071, _): stage?.messages[index].fate = .absent
    case .refused(let code, _):
      throw JetStreamError(code: code, operation: "publish to \(options.stream)")
    default: throw unexpected("an id was looked up, and the answer is none", remedy: .reread)
    }
    checkKnown(index)
    stage?.awaited -= 1
    guard stage?.awaited == 0 else { return LaneProgress(acked: 0, duplicates: 0) }
    if stage?.usesKnown == true, known == nil {
      lookUp()
      return .moved
    }
    if stage?.isUnsettled == true {
      guard let rounds = stage?.rounds, rounds < Self.mostRounds else {
        throw unexpected("an id that is not settled for long", remedy: .backOff)
      }
      lookUp()
      return .moved
    }
    return try knowIDs()
  }

  /// Every id is known to be in the stream, or not.
  private func knowIDs() throws(JetStreamError) -> LaneProgress {
    if stage?.isConfirming == true { return try confirm() }
    findRepeats()
    let count = stage?.messages.count ?? 0
    if options.judge != nil {
      stage?.toRead = (0..<count).filter { index in
        guard let message = stage?.messages[index], !message.isRepeat, !message.isOurs,
          case .held(let sequence) = message.fate
        else { return false }
        return !isJudged(index, message, at: sequence)
      }
    }
    stage?.asked = 0
    stage?.awaited = stage?.toRead.count ?? 0
    stage?.phase = .reading
    guard stage?.awaited ?? 0 > 0 else { return try publishAbsent() }
    askForOriginals()
    return .moved
  }

  func ownHeaders(_ place: Place) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: staged.bytes[(place.headers + 10)..<place.ownEnd])
  }

  /// Two of the collected messages under one id: the server would keep the first alone.
  private func findRepeats() {
    guard let messages = stage?.messages else { return }
    firstOfID.removeAll(keepingCapacity: true)
    for (index, message) in messages.enumerated() {
      guard case .absent = message.fate else { continue }
      let id = messageID(staged.bytes, message.place)
      guard !id.isEmpty else { continue }
      let key = StoredIDs.Key(id)
      guard let before = firstOfID[key] else {
        firstOfID[key] = index
        continue
      }
      let difference =
        options.judge.flatMap { $0.difference(content(index), content(before)) }
      if let difference {
        note(conflict: index, difference)
      } else {
        // The same event once more: what is stored of the first is stored of this one.
        stage?.messages[index].isRepeat = true
      }
    }
  }

  func note(conflict index: Int, _ detail: String) {
    guard let place = stage?.messages[index].place else { return }
    stage?.messages[index].isRepeat = true
    stage?.conflicts.append(
      LaneProgress.Conflict(
        offset: index, id: Array(messageID(staged.bytes, place)), detail: detail))
  }

  /// A collected message in full.
  func content(_ index: Int) -> DuplicateJudge.Content {
    guard let message = stage?.messages[index] else {
      return DuplicateJudge.Content(headers: [], payload: [])
    }
    return DuplicateJudge.Content(
      headers: Array(ownHeaders(message.place)), payload: Array(body(of: message)))
  }

  private func body(of message: Stage.Message) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: staged.bytes[(message.place.headersEnd + 2)..<message.end])
  }

  // MARK: - Publishing

  /// Everything is known: publishes what the stream lacks, unless something would have to go elsewhere
  /// first.
  func publishAbsent() throws(JetStreamError) -> LaneProgress {
    if let conflicts = stage?.conflicts, !conflicts.isEmpty {
      var progress = LaneProgress(acked: 0, duplicates: 0)
      progress.conflicts = conflicts.sorted { $0.offset < $1.offset }
      return progress
    }
    guard let messages = stage?.messages else { return LaneProgress(acked: 0, duplicates: 0) }
    if stage?.isConfirming == true { return settleStage() }
    stage?.toPublish = messages.indices.filter { index in
      guard case .absent = messages[index].fate else { return false }
      return !messages[index].isRepeat && !messages[index].isOurs
    }
    stage?.written = 0
    stage?.stored = 0
    stage?.phase = .publishing
    guard let wanted = stage?.toPublish, !wanted.isEmpty else { return confirmOrSettle() }
    if mode == .single { writeNext() } else { writePart() }
    return .moved
  }

  /// As many of the messages to publish as may be sent at once.
  private func writePart() {
    guard let stage else { return }
    let left = stage.toPublish.count - stage.written
    for _ in 0..<min(left, partLimit) { writeNext() }
    sealBatch()
  }

  /// The next message to publish, by the lane's own protocol.
  private func writeNext() {
    guard let stage, stage.written < stage.toPublish.count else { return }
    let message = stage.messages[stage.toPublish[stage.written]]
    self.stage?.written += 1
    beginLine()
    output.append(subject(message.place))
    beginHeaders()
    output.append(ownHeaders(message.place))
    beginBody()
    output.append(body(of: message))
    endLine()
  }

  /// An ack of what was published.
  func publishedStaged(_ progress: LaneProgress) throws(JetStreamError) -> LaneProgress {
    guard progress.acked > 0 else { return progress }
    let stored = stage?.stored ?? 0
    let wanted = stage?.toPublish.count ?? 0
    guard stage?.phase == .publishing, stored + progress.acked <= wanted else {
      throw unexpected("an ack of what was not published", remedy: .reread)
    }
    // Somebody else was faster since the ids were looked up.
    guard progress.duplicates == 0 else { return lookUpAgain() }
    stage?.stored += progress.acked
    stage?.lastSequence = progress.sequence
    for place in stored..<(stored + progress.acked) {
      guard let index = stage?.toPublish[place] else { continue }
      stage?.messages[index].isOurs = true
    }
    guard stored + progress.acked == wanted else {
      if mode == .single { writeNext() }
      if mode == .fast, stored + progress.acked == stage?.written { writePart() }
      return .moved
    }
    return confirmOrSettle()
  }

  /// Everything is in the stream. In a batch of fast ingest others may have been faster, of which its end
  /// says nothing: on an exclusive stream, too, somebody else's message takes the sequence of the one that
  /// was skipped for its id, so that as many are there as were sent. Where ids name their events, that one
  /// is the event.
  private func confirmOrSettle() -> LaneProgress {
    guard mode == .fast, !options.exclusive || options.judge != nil,
      stage?.messages.contains(where: \.isOurs) ?? false
    else {
      return settleStage()
    }
    stage?.isConfirming = true
    lookUp()
    return .moved
  }

  /// Somebody else stored one of the ids between the two steps: the batch was refused, or it has to be
  /// seen what of it is stored.
  func lookUpAgain() -> LaneProgress {
    if stage?.presumes == true { asksForUnknown = Self.batchesAsked }
    for index in stage?.messages.indices ?? 0..<0 { stage?.messages[index].isRepeat = false }
    stage?.conflicts = []
    lookUp()
    return .moved
  }

  /// Everything that was published is in the stream, by this lane or by others: the batch's end told
  /// where the last of ours is, and ours are in order. Another's may be where ours would be, so that each
  /// is read where an id alone does not prove the event.
  private func confirm() throws(JetStreamError) -> LaneProgress {
    guard let done = stage else { return LaneProgress(acked: 0, duplicates: 0) }
    var end = done.lastSequence &+ 1
    let published = done.messages.indices.filter { done.messages[$0].isOurs }
    for index in published.reversed() {
      guard case .held(let sequence) = done.messages[index].fate else {
        throw unexpected("a message that was acknowledged is not stored", remedy: .reread)
      }
      let isOurs = sequence < end && (end <= done.lastSequence || sequence == done.lastSequence)
      stage?.messages[index].isOurs = isOurs
      if isOurs { end = sequence }
    }
    guard options.judge != nil else { return settleStage() }
    stage?.toRead = published
    stage?.asked = 0
    stage?.awaited = published.count
    stage?.phase = .reading
    askForOriginals()
    return .moved
  }

  /// Whether what the stream holds is what this lane has published: by its headers, or, where it is gone by
  /// now, by where it stood.
  func isOwn(_ index: Int, _ original: DuplicateJudge.Content?) -> Bool {
    guard let message = stage?.messages[index] else { return false }
    guard let original else { return message.isOurs }
    let isOwn = original.hasLines(ownHeaders(message.place))
    stage?.messages[index].isOurs = isOwn
    return isOwn
  }

  private func settleStage() -> LaneProgress {
    guard let done = stage else { return LaneProgress(acked: 0, duplicates: 0) }
    let count = done.messages.count
    var progress = LaneProgress(
      acked: count, duplicates: done.messages.count { !$0.isOurs },
      lastStored: done.messages.lastIndex { $0.isOurs })
    progress.sequence = done.lastSequence
    progress.wereStored = done.messages.map { !$0.isOurs }
    progress.originals = done.messages.reduce(0) { highest, message in
      if case .held(let sequence) = message.fate { max(highest, sequence) } else { highest }
    }
    release(count)
    acked &+= UInt64(count)
    staged.removeAll()
    let next = Stage()
    next.clean = progress.duplicates > 0 ? 0 : done.clean + count
    stage = next
    if isOver(next), ahead.isEmpty, output.count == 0 {
      stage = nil
    } else if ahead.count >= Self.maximumBatch {
      lookUpStaged()
    }
    return progress
  }
}
