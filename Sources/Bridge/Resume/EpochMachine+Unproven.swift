import Oplog

extension EpochMachine {
  /// Where a stream's end does not prove what comes before it, takes its messages one by one.
  ///
  /// Sequences of an exclusive stream that hold nothing any more were messages of the bridge, unless something
  /// speaks for somebody else's: one that is still seen, a refusal in this process, or that the server can say
  /// of each id whether it has it. On a shared stream that alone helps.
  func lookUpUnproven(
    _ plan: inout ResumePlan, _ streams: [StreamObservation], _ facts: EpochFacts
  ) throws(Undecided) -> [EpochRemark] {
    var remarks: [EpochRemark] = []
    for stream in streams where plan.halted[stream.name] == nil {
      guard let tail = stream.unproven, stream.patchwork == nil else { continue }
      // Of a process before this one, `ResumePlan.trust` judges what is gone.
      guard !tail.own.isEmpty || memory.unanswered != nil else { continue }
      let wasIntruded =
        stream.exclusive && (tail.others > 0 || memory.intruded.contains(stream.name))
      let idsTell = tail.gone > 0 ? try idsTell(stream, facts) : false
      guard tail.gone == 0 || wasIntruded || idsTell else { continue }
      plan.lookUp(stream, tail)
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

  /// Whether the server knows of each id whether it has it, whatever happened to the message.
  private func idsTell(_ stream: StreamObservation, _ facts: EpochFacts) throws(Undecided) -> Bool {
    // On a shared stream, who has an id is looked up before anything is published.
    let known = stream.exclusive ? stream.idsProveFor : stream.duplicateWindow
    guard let window = known, let age = try facts.checkpointAge() else { return false }
    return age < window * 3 / 4
  }
}
