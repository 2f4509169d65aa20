import Oplog

extension EpochMachine {
  /// If a stream's end doesn't prove that the messages before it are stored, considers them one by one.
  ///
  /// Removed messages of an exclusive stream were the bridge's, unless there is evidence of another producer: a
  /// message that is still there, or a refusal in this process. If the server still knows all ids, they are
  /// looked up instead; on a shared stream only that helps.
  func lookUpUnproven(
    _ plan: inout ResumePlan, _ streams: [StreamObservation], _ checkpoint: Checkpoint?,
    _ facts: EpochFacts
  ) throws(Undecided) -> [EpochRemark] {
    var remarks: [EpochRemark] = []
    for stream in streams where plan.halted[stream.name] == nil {
      guard let tail = stream.unproven, stream.patchwork == nil else { continue }
      // After a restart, `ResumePlan.trust` judges removed messages.
      guard !tail.own.isEmpty || memory.unanswered != nil else { continue }
      let wasIntruded =
        stream.exclusive && (tail.others > 0 || memory.intruded.contains(stream.name))
      let idsTell = tail.gone > 0 ? try idsTell(stream, checkpoint, facts) : false
      guard tail.gone == 0 || wasIntruded || idsTell else { continue }
      plan.lookUp(stream, tail, byIDs: idsTell)
      guard stream.exclusive else { continue }
      if tail.others > 0 {
        remarks.append(
          .error(
            """
            stream \(stream.name) is exclusive, but somebody else published to it: \(tail.others) \
            messages between sequences \(tail.after) and \(tail.last). Each of them may have kept an event \
            out while later ones were stored. What is missing is sent now, behind those: out of order
            """, reason: nil))
      }
      if tail.gone > 0, !idsTell {
        plan.doubts.append(
          """
          stream \(stream.name) is exclusive, but somebody else published to it, and \(tail.gone) messages \
          behind sequence \(tail.after) are gone: which of the bridge's are among them can't be told. What \
          is not seen there is published again, and may be doubled
          """)
      }
    }
    return remarks
  }

  /// Whether the server still knows all ids, even of removed messages.
  private func idsTell(
    _ stream: StreamObservation, _ checkpoint: Checkpoint?, _ facts: EpochFacts
  ) throws(Undecided) -> Bool {
    guard (stream.exclusive ? stream.idsProveFor : stream.duplicateWindow) != nil else {
      return false
    }
    return ResumePlan.idsTell(stream, checkpoint, try facts.checkpointTime())
  }
}
