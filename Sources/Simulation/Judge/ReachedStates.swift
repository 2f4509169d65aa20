import Bridge
import JetStream

extension EpochDecision {
  /// What is special about it, for the tally of states reached.
  var states: [String] {
    guard case .tail(let plan) = mode else { return ["begin: snapshot"] }
    var states: [String] = []
    func add(_ name: String, _ isSo: Bool) { if isSo { states.append("begin: \(name)") } }
    add("first", plan.isFresh)
    add("checkpoint lost", plan.foundAgainAt != nil)
    add("losses", !plan.losses.isEmpty)
    add("refilling", !plan.refilling.isEmpty)
    add("halted stream", !plan.halted.isEmpty)
    add("removed messages", !plan.unseen.isEmpty)
    add("messages behind a gap", !plan.held.isEmpty)
    add("late messages", !plan.lacksUpTo.isEmpty)
    if states.isEmpty { states.append("begin: checkpoint") }
    return states
  }
}

extension EpochEnd {
  /// For the tally of states reached.
  var kind: String {
    switch self {
    case .finished: "finished"
    case .settled: "settled"
    case .publishFailed(_, let error):
      "publish failed, \(error.code == 0 ? "no answer" : String(error.code))"
    case .blocked: "blocked"
    case .acksRefused: "acks refused"
    case .halted: "halted"
    case .connectionLost: "connection lost"
    case .sourceFailed: "source failed"
    case .snapshotFinished: "snapshot finished"
    case .needsEarlier: "needs earlier"
    case .abandoned: "abandoned"
    case .leaseLapsed: "lease lapsed"
    }
  }
}
