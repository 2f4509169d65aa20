import Oplog

extension ResumePlan {
  /// Seconds. A running bridge renews its key every half second, and sends nothing without a connection.
  static let silence = 3

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
      let what =
        "stream \(stream.name): \(gone.count) messages behind sequence \(gone.after) are gone"
      let isFinal = checkpoint?.isFinal ?? false
      let doubt = isFinal ? nil : doubt(of: stream, gone, checkpoint, heardAt)
      if isFinal {
        remarks.append(
          "\(what). None is this bridge's, which had everything acknowledged when it stopped")
      } else if Self.idsTell(stream, checkpoint, time) {
        remarks.append("\(what). Which of them are events is looked up by their ids")
        toldByIDs.insert(stream.name)
        guard doubt != nil, !gone.isPartlyMet else {
          unseen[stream.name] = nil
          continue
        }
        // When the server has forgotten them, a count would lose events for the others among them.
        inDoubt.insert(stream.name)
      } else if let doubt {
        doubts.append(
          """
          \(what), and \(doubt): how many were the bridge's can't be told. What was published since the \
          last checkpoint is published again, and may be doubled
          """)
      } else {
        continue
      }
      unseen[stream.name] = nil
      uncounted[stream.name] = gone.after + gone.count
    }
  }

  /// Why some of a stream's removed messages may have been those of others.
  private func doubt(
    of stream: StreamObservation, _ gone: Unseen, _ checkpoint: Checkpoint?,
    _ heardAt: ServerTime?
  ) -> String? {
    if gone.isPartlyMet { return "some of their events are looked at again" }
    if gone.isInDoubt { return Self.forgotten }
    if Self.mayHoldTwice(stream, gone, checkpoint) {
      return """
        some may be there twice, as the server was asked for ids that it forgets when it restarts
        """
    }
    if stream.hasDeleteMarkers { return "the server's own delete markers are among them" }
    guard let heardAt, let lastAt = stream.lastAt,
      lastAt.seconds - heardAt.seconds > Self.silence
    else { return nil }
    return """
      the last came \(lastAt.seconds - heardAt.seconds) s after the bridge was last heard of, so somebody \
      else publishes to this exclusive stream
      """
  }

  private static let forgotten =
    "only their ids showed which events they are of, and the server may have forgotten those"

  /// Whether the server still knows the ids of everything that was stored since the checkpoint, gone or not.
  static func idsTell(
    _ stream: StreamObservation, _ checkpoint: Checkpoint?, _ time: CheckpointTime?
  ) -> Bool {
    // On a shared stream, ids are looked up before anything is published.
    let known = stream.exclusive ? stream.idsProveFor : stream.duplicateWindow
    guard let known, let time, let since = firstUnsaved(stream, checkpoint, time) else {
      return false
    }
    return time.age(since: since) < known * 3 / 4
  }

  /// Whether an event may have two of a stream's removed messages. An earlier leader, or epoch, asked the server for ids
  /// and stored something: the ids of what is gone don't survive a server's restart, so it may have been the same events
  /// once more. Then their number is not that of the events.
  private static func mayHoldTwice(
    _ stream: StreamObservation, _ gone: Unseen, _ checkpoint: Checkpoint?
  ) -> Bool {
    guard let inherited = checkpoint?.inherited(in: stream), inherited.byIDs else { return false }
    return gone.after < inherited.through && stream.lastSequence > inherited.through
  }

  /// Since when what the checkpoint lacks was stored, by the servers' clock; nil: unknown.
  private static func firstUnsaved(
    _ stream: StreamObservation, _ checkpoint: Checkpoint?, _ time: CheckpointTime?
  ) -> ServerTime? {
    guard let time else { return nil }
    guard let inherited = checkpoint?.inherited(in: stream) else { return time.written }
    return inherited.since
  }

  /// Within a process, the number of messages that may have been stored without an ack is known. If more are
  /// gone, some were another producer's, and the two can't be distinguished.
  ///
  /// Those whose ids were to tell came from before the process, and their number isn't known.
  mutating func bound(
    _ unanswered: [String: Int], _ streams: [StreamObservation], _ checkpoint: Checkpoint?,
    _ time: CheckpointTime?
  ) {
    for stream in streams {
      guard let gone = unseen[stream.name] else { continue }
      if gone.isInDoubt {
        unseen[stream.name] = nil
        uncounted[stream.name] = gone.after + gone.count
        guard !Self.idsTell(stream, checkpoint, time) else {
          toldByIDs.insert(stream.name)
          inDoubt.insert(stream.name)
          continue
        }
        doubts.append(
          """
          stream \(stream.name): \(gone.count) messages behind sequence \(gone.after) are gone, and \
          \(Self.forgotten): their events are published again, and may be doubled
          """)
        continue
      }
      var most = UInt64(unanswered[stream.name] ?? 0)
      if let inherited = checkpoint?.inherited(in: stream), inherited.byIDs {
        let mayHoldTwice = Self.mayHoldTwice(stream, gone, checkpoint)
        let idsTell = Self.idsTell(stream, checkpoint, time)
        if mayHoldTwice || idsTell { unseen[stream.name] = nil }
        if mayHoldTwice {
          uncounted[stream.name] = gone.after + gone.count
          guard !idsTell else {
            toldByIDs.insert(stream.name)
            inDoubt.insert(stream.name)
            continue
          }
          doubts.append(
            """
            stream \(stream.name): \(gone.count) messages behind sequence \(gone.after) are gone, and some may be \
            there twice, as the server was asked for ids that it forgets when it restarts: their events are \
            published again, and may be doubled
            """)
          continue
        }
        if idsTell {
          toldByIDs.insert(stream.name)
          continue
        }
        most += inherited.through - min(inherited.through, gone.after)
      }
      guard gone.count > most || gone.isPartlyMet else { continue }
      unseen[stream.name] = nil
      if gone.isPartlyMet {
        uncounted[stream.name] = gone.after + gone.count
        doubts.append(
          """
          stream \(stream.name): \(gone.count) messages behind sequence \(gone.after) are gone, and some of \
          their events are looked at again: they may be doubled
          """)
        continue
      }
      doubts.append(
        """
        stream \(stream.name) is exclusive, but somebody else published to it: \(gone.count) messages \
        behind sequence \(gone.after) are gone, and \(most) of the bridge's can be among them. \
        Those are published again\(most > 0 ? ", and may be doubled" : "")
        """)
    }
  }

  /// Notes for the checkpoints of this epoch, and for whoever reads them next, which messages are older.
  mutating func noteInherited(
    _ streams: [StreamObservation], _ checkpoint: Checkpoint?, _ time: CheckpointTime?,
    newest: OplogPosition
  ) {
    for stream in streams where unseen[stream.name] != nil || toldByIDs.contains(stream.name) {
      // What was stored behind those whose ids were asked for may be the same events once more (`mayHoldTwice`).
      let mayHoldTwice =
        checkpoint?.inherited(in: stream).map {
          $0.isInDoubt || ($0.byIDs && stream.lastSequence > $0.through)
        } ?? false
      inherited[stream.name] = InheritedMessages(
        through: stream.lastSequence, until: newest,
        since: Self.firstUnsaved(stream, checkpoint, time),
        byIDs: toldByIDs.contains(stream.name),
        isInDoubt: inDoubt.contains(stream.name) || mayHoldTwice)
    }
  }
}
