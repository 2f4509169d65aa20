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
  /// 2. The checkpoint is younger than the stream's duplicate window, and ids are positional: events are
  ///    published again, and the server answers for each whether it has it, gone or not.
  /// 3. The server adds messages of its own (`subject_delete_marker_ttl`): they can't be told apart, so
  ///    events are published again, perhaps twice, rather than lost. That is reported.
  /// 4. The last one came when the bridge had been silent for `silence`: foreign messages are among them. As 3.
  /// 5. They are counted: only the bridge publishes to an exclusive stream.
  ///
  /// - Parameters:
  ///   - age: the checkpoint's age, by the servers' clock; nil: unknown.
  ///   - heardAt: when the process before this one last renewed its key, by the same clock.
  package mutating func trust(
    _ streams: [StreamObservation], _ checkpoint: Checkpoint?, checkpointAge age: Duration?,
    heardAt: ServerTime?
  ) {
    for stream in streams {
      guard let gone = unseen[stream.name] else { continue }
      let what =
        "stream \(stream.name): \(gone.count) messages behind sequence \(gone.after) are gone"
      if checkpoint?.isFinal ?? false {
        remarks.append(
          "\(what). None is this bridge's, which had everything acknowledged when it stopped")
      } else if let age, let window = stream.idsProveFor, age < window * 3 / 4 {
        remarks.append("\(what). Which of them are events is looked up by their ids")
      } else if stream.hasDeleteMarkers {
        doubts.append(
          """
          \(what), and the server's own delete markers are among them: how many were the bridge's can't \
          be told. What was published since the last checkpoint is published again, and may be doubled
          """)
      } else if let heardAt, let lastAt = stream.lastAt,
        lastAt.seconds - heardAt.seconds > Self.silence
      {
        doubts.append(
          """
          \(what), and the last came \(lastAt.seconds - heardAt.seconds) s after the bridge was last heard \
          of: somebody else publishes to this exclusive stream, and how many were the bridge's can't be \
          told. What was published since the last checkpoint is published again, and may be doubled
          """)
      } else {
        continue
      }
      unseen[stream.name] = nil
      uncounted[stream.name] = gone.after + gone.count
    }
  }
}
