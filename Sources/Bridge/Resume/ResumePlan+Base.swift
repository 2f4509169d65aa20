import Oplog

/// A stream as an epoch that is about to publish finds it.
package struct StreamEnd: Sendable {
  package var name: String
  package var created: String
  /// Its last sequence.
  package var last: UInt64
  package var isExclusive: Bool
  /// Its protocol can leave gaps.
  package var mayLeaveGaps: Bool

  package init(
    name: String, created: String, last: UInt64, isExclusive: Bool, mayLeaveGaps: Bool
  ) {
    self.name = name
    self.created = created
    self.last = last
    self.isExclusive = isExclusive
    self.mayLeaveGaps = mayLeaveGaps
  }
}

/// The checkpoint that an epoch begins with. Pure.
extension ResumePlan {
  /// What a stream lost can't stay in the checkpoint as acknowledged, and what it holds is in it as
  /// it was found. A halted stream keeps what is known of it.
  package func surviving(_ checkpoint: Checkpoint?) -> [String: Checkpoint.Stream] {
    if isFresh { return found }
    var streams = checkpoint?.streams ?? [:]
    for loss in losses where halted[loss.stream] == nil { streams[loss.stream] = nil }
    return streams.merging(found) { _, found in found }
  }

  /// What is known of each stream besides its last message.
  package func states(
    _ checkpoint: Checkpoint?, _ streams: [StreamEnd]
  ) -> [String: Checkpoint.StreamState] {
    var states = isFresh ? [:] : checkpoint?.states ?? [:]
    // Nobody meets messages of a stream that is not published to any more.
    for name in states.keys where !streams.contains(where: { $0.name == name }) {
      states[name]?.inherited = nil
    }
    for stream in streams {
      let name = stream.name
      var state = states[name] ?? Checkpoint.StreamState(created: stream.created)
      if state.created != stream.created {
        state = Checkpoint.StreamState(created: stream.created)
      }
      if state.base == nil,
        isFresh || checkpoint?.streams[name] == nil || refilling[name] != nil,
        found[name] == nil, unseen[name] == nil
      {
        state.base = stream.last
      }
      // Of ours that are looked up, some lie there.
      state.searched =
        stream.isExclusive || lacksUpTo[name] != nil ? nil : stream.last
      if let uncounted = uncounted[name] { state.uncounted = uncounted }
      state.refillTo = refilling[name]
      state.hasLater = refilling[name] != nil && !(held[name]?.isEmpty ?? true)
      // What an earlier protocol may have left out is in question until something later is acknowledged.
      state.mayLeaveGaps = stream.mayLeaveGaps || lacksUpTo[name] != nil
      state.halted = halted[name]
      if rereads(name, state) { state.forgetHad() }
      // What was met by its ids is as old as before, and something late may follow.
      if let noted = inherited[name] {
        state.inherited = noted
      } else if state.had == nil, !(state.inherited?.wereSent ?? false) {
        state.inherited = nil
      }
      states[name] = state
    }
    return states
  }
}
