import Oplog

extension ResumePlan {
  /// Seconds. A running bridge renews its key every half second, and sends nothing without a connection.
  static let silence = 3
  /// For how long an ack is waited for.
  package static let ackLimit = Duration.seconds(3)
  /// How old a message is at most that was stored without an ack when a checkpoint was written.
  private static let longestUnanswered = ackLimit + .seconds(1)

  /// Decides, in a new process, for which streams the number of removed messages shows how many of the bridge's
  /// were stored. Only if nothing else shows it: a removed message may have been a replayed dead letter, the
  /// server's own, or a foreign one, and each one that is counted wrongly loses an event.
  ///
  /// In order:
  /// 1. The bridge stopped with everything acknowledged: none was its own.
  /// 2. None was stored longer ago than the stream's duplicate window, and ids are positional: events are
  ///    published again, and the server answers for each whether it has it, gone or not.
  /// 3. The server adds messages of its own (`subject_delete_marker_ttl`): they can't be told apart, so
  ///    events are published again, perhaps twice, rather than lost. That is reported.
  /// 4. The last one came when the bridge had been silent for `silence`: foreign messages are among them. As 3.
  /// 5. They are counted: only the bridge publishes to an exclusive stream.
  ///
  /// - Parameters:
  ///   - time: when the checkpoint was written; nil: unknown.
  ///   - heardAt: when the process before this one last renewed its key, by the same clock.
  package mutating func trust(
    _ streams: [StreamObservation], _ checkpoint: Checkpoint?, _ time: CheckpointTime?,
    heardAt: ServerTime?
  ) {
    for stream in streams {
      guard let gone = unseen[stream.name] else { continue }
      guard !(checkpoint?.isFinal ?? false) || checkpoint?.inherited(in: stream) != nil else {
        remarks.append(
          """
          \(gone.what(in: stream)). None is this bridge's, which had everything acknowledged when it \
          stopped
          """)
        stopCounting(gone, stream)
        continue
      }
      settle(
        gone, stream, byIDs: Self.idsTell(stream, checkpoint, time),
        doubt: Self.doubt(gone, stream, checkpoint) ?? Self.others(stream, heardAt))
    }
  }

  /// Decides the same within a process, which knows how many messages may have been stored without an ack. If more are
  /// gone, some were another producer's, and the two can't be distinguished.
  ///
  /// Those whose ids were to tell came from before the process, and their number isn't known.
  mutating func bound(
    _ unanswered: [String: Int], _ streams: [StreamObservation], _ checkpoint: Checkpoint?,
    _ time: CheckpointTime?
  ) {
    for stream in streams {
      guard let gone = unseen[stream.name] else { continue }
      let inherited = checkpoint?.inherited(in: stream).flatMap { $0.byIDs ? $0 : nil }
      let older = inherited?.through ?? 0
      let byIDs =
        (inherited != nil || gone.isInDoubt) && Self.idsTell(stream, checkpoint, time)
      var doubt = Self.doubt(gone, stream, checkpoint)
      if doubt == nil, !byIDs {
        let most = UInt64(unanswered[stream.name] ?? 0) + older - min(older, gone.after)
        if gone.count > most {
          doubt = """
            somebody else publishes to this exclusive stream, as at most \(most) of them were sent here
            """
        }
      }
      settle(gone, stream, byIDs: byIDs, doubt: doubt)
    }
  }

  /// Looks removed messages up by their ids, or publishes their events again, or (if neither) leaves them to be counted.
  private mutating func settle(
    _ gone: Unseen, _ stream: StreamObservation, byIDs: Bool, doubt: String?
  ) {
    let what = gone.what(in: stream)
    if byIDs {
      remarks.append("\(what). Which of them are events is looked up by their ids")
      toldByIDs.insert(stream.name)
      guard doubt != nil else {
        unseen[stream.name] = nil
        return
      }
      // When the server has forgotten them, a count would lose events for the others among them.
      inDoubt.insert(stream.name)
      stopCounting(gone, stream)
    } else if let doubt = doubt ?? (gone.isPartlyMet ? Self.metBefore : nil) {
      doubts.append(
        """
        \(what), and \(doubt): how many were the bridge's can't be told. What was published since the \
        last checkpoint is published again, and may be doubled
        """)
      stopCounting(gone, stream)
    }
  }

  private mutating func stopCounting(_ gone: Unseen, _ stream: StreamObservation) {
    unseen[stream.name] = nil
    uncounted[stream.name] = gone.after + gone.count
  }

  /// Why the number of a stream's removed messages isn't that of the events among them, whoever published them.
  private static func doubt(
    _ gone: Unseen, _ stream: StreamObservation, _ checkpoint: Checkpoint?
  ) -> String? {
    if gone.isInDoubt { return forgotten }
    return mayHoldTwice(stream, gone, checkpoint) ? twice : nil
  }

  /// Why some of a stream's removed messages may have been those of others.
  private static func others(_ stream: StreamObservation, _ heardAt: ServerTime?) -> String? {
    if stream.hasDeleteMarkers { return "the server's own delete markers are among them" }
    guard let heardAt, let lastAt = stream.lastAt, lastAt.seconds - heardAt.seconds > silence
    else { return nil }
    return """
      the last came \(lastAt.seconds - heardAt.seconds) s after the bridge was last heard of, so somebody \
      else publishes to this exclusive stream
      """
  }

  private static let metBefore = "some of their events are looked at again"
  private static let twice = """
    some may be there twice, as the server was asked for ids that it forgets when it restarts
    """
  private static let forgotten =
    "only their ids showed which events they are of, and the server may have forgotten those"

  /// Whether the server still knows the ids of everything that was stored since the checkpoint, gone or not.
  static func idsTell(
    _ stream: StreamObservation, _ checkpoint: Checkpoint?, _ time: CheckpointTime?
  ) -> Bool {
    guard let (known, age) = ids(stream, checkpoint, time) else { return false }
    return age < min(known * 3 / 4, known - longestUnanswered)
  }

  /// For how long the server knows ids, and how old what the checkpoint lacks may be; nil: unknown.
  private static func ids(
    _ stream: StreamObservation, _ checkpoint: Checkpoint?, _ time: CheckpointTime?
  ) -> (known: Duration, age: Duration)? {
    // On a shared stream, ids are looked up before anything is published.
    let known = stream.exclusive ? stream.idsProveFor : stream.duplicateWindow
    guard let known, let time, let since = firstUnsaved(stream, checkpoint, time) else {
      return nil
    }
    return (known, time.age(since: since))
  }

  /// Whether the stream has, or had, messages behind the last one that is in the epoch's checkpoint.
  func mayInherit(from stream: StreamObservation) -> Bool {
    unseen[stream.name] != nil || toldByIDs.contains(stream.name)
      || stream.exclusive && !(held[stream.name]?.isEmpty ?? true)
  }

  /// For how long ids can be relied on.
  private mutating func relyOnIDs(
    of stream: StreamObservation, _ checkpoint: Checkpoint?, _ time: CheckpointTime?,
    through newest: OplogPosition
  ) {
    guard let (known, age) = Self.ids(stream, checkpoint, time) else { return }
    let left = known - Self.longestUnanswered - age
    if let other = reliance, other.left <= left { return }
    reliance = IDReliance(stream: stream.name, left: left, through: newest)
  }

  /// Whether an event may have two of a stream's removed messages. An earlier leader, or epoch, asked the server for ids
  /// and stored something: the ids of what is gone don't survive a server's restart, so it may have been the same events
  /// once more. Then their number is not that of the events.
  private static func mayHoldTwice(
    _ stream: StreamObservation, _ gone: Unseen, _ checkpoint: Checkpoint?
  ) -> Bool {
    guard let inherited = checkpoint?.inherited(in: stream), inherited.areAsked,
      stream.lastSequence > inherited.through
    else { return false }
    // A late message of an earlier epoch comes before the first that the bridge stores behind them.
    let acked = checkpoint?.streams[stream.name]?.sequence ?? 0
    return gone.after < inherited.through || inherited.wereSent && acked <= inherited.through
  }

  /// Since when what the checkpoint lacks was stored, by the servers' clock; nil: unknown.
  private static func firstUnsaved(
    _ stream: StreamObservation, _ checkpoint: Checkpoint?, _ time: CheckpointTime?
  ) -> ServerTime? {
    guard let time else { return nil }
    guard let inherited = checkpoint?.inherited(in: stream) else { return time.written }
    return inherited.since
  }

  /// Notes for the checkpoints of this epoch, and for whoever reads them next, which messages are older.
  mutating func noteInherited(
    _ streams: [StreamObservation], _ checkpoint: Checkpoint?, _ time: CheckpointTime?,
    newest: OplogPosition
  ) {
    for stream in streams where mayInherit(from: stream) {
      // What was stored behind those whose ids were asked for may be the same events once more (`mayHoldTwice`).
      let before = checkpoint?.inherited(in: stream)
      let mayHoldTwice =
        before.map { $0.isInDoubt || ($0.areAsked && stream.lastSequence > $0.through) } ?? false
      let byIDs = toldByIDs.contains(stream.name)
      var found = InheritedMessages(
        through: stream.lastSequence, until: newest,
        since: Self.firstUnsaved(stream, checkpoint, time), byIDs: byIDs,
        isInDoubt: inDoubt.contains(stream.name) || mayHoldTwice)
      found.wereSent = before?.areAsked ?? false
      inherited[stream.name] = found
      if byIDs { relyOnIDs(of: stream, checkpoint, time, through: newest) }
    }
  }
}

extension ResumePlan.Unseen {
  fileprivate func what(in stream: StreamObservation) -> String {
    count == 0
      ? "stream \(stream.name): messages up to sequence \(after) are gone"
      : "stream \(stream.name): \(count) messages behind sequence \(after) are gone"
  }
}
