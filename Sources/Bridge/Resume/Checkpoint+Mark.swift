import MongoSource
import Oplog

extension Checkpoint {
  /// What it is with a low-water mark of the pipeline.
  package func applying(_ mark: PipelineMark) -> Checkpoint {
    var next = self
    next.resume = mark.resume
    next.term = mark.term
    if let token = mark.token { next.resumeToken = token.bytes }
    if let snapshot = mark.snapshot { next.snapshot = snapshot }
    if let settled = mark.settled {
      next.settled = max(next.settled ?? settled, settled)
      if let to = next.earlierRulesTo, to <= settled { next.earlierRulesTo = nil }
      for (name, state) in next.states where state.refillTo.map({ $0 <= settled }) ?? false {
        next.states[name]?.refillTo = nil
        next.states[name]?.hasLater = false
      }
    }
    for lane in mark.lanes {
      guard let acked = lane.acked else { continue }
      if let known = next.streams[lane.name], known.sequence == acked.sequence,
        known.position == acked.position
      {
        continue
      }
      next.streams[lane.name] = Checkpoint.Stream(
        sequence: acked.sequence, id: "", position: acked.position, rule: acked.rule,
        created: lane.created)
      next.states[lane.name]?.forgetHad()
    }
    for (name, met) in mark.had { next.states[name]?.note(met) }
    for (name, state) in next.states {
      let acked = next.streams[name]?.sequence
      if state.inherited?.areMet(acked: acked, settled: mark.settled) ?? false {
        next.states[name]?.inherited = nil
      }
    }
    return next
  }

  /// Messages up to these sequences that are behind our last ones came from elsewhere: nothing of ours is on its way.
  /// Not where some of an earlier process are still to be met.
  package mutating func note(others ends: [String: UInt64]) {
    for (name, end) in ends {
      guard let state = states[name], state.inherited == nil else { continue }
      let known = max(streams[name]?.sequence ?? state.base ?? 0, state.uncounted ?? 0)
      if end > known { states[name]?.uncounted = end }
    }
  }

  /// Whether nothing behind what is acknowledged is the bridge's, besides what `inherited` says: not where streams hold
  /// messages of events that were not read again yet.
  package func canBeFinal(_ mark: PipelineMark?) -> Bool { mark?.isIdle ?? true }
}
