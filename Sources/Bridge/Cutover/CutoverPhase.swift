package import Oplog

/// A group's phase on its way from the bridge to its new producers.
public enum CutoverPhase: String, Sendable, CaseIterable {
  /// Only the bridge publishes.
  case bridge
  /// Producers publish too; the bridge compares, and publishes what is missing after the grace.
  case dual
  /// The bridge settles everything up to the fence, and publishes nothing of the group behind it.
  case committing
  /// Only producers publish; the bridge derives, and counts what they miss.
  case committed
  /// Only producers publish; the bridge doesn't derive the group's messages any more.
  case finalized
}

/// A part of the oplog whose events of a group aren't published by the pipeline, but decided one by one by their
/// ids: everything behind `from`, up to and including `until`.
package struct HandedRange: Sendable, Equatable {
  /// Everything of the group up to this entry is acknowledged, published by the pipeline. Nil: the range is asked
  /// for, and begins at the next boundary.
  package var from: OplogPosition?
  /// Where reading has to begin for the range's first events: before `from` if transactions were open there.
  package var resume: OplogPosition?
  /// The pipeline publishes again behind this entry. Nil: not so far.
  package var until: OplogPosition?
  /// The group is finalized: nobody decides about its events. Not stored.
  package var isFinal = false

  package init(
    from: OplogPosition? = nil, resume: OplogPosition? = nil, until: OplogPosition? = nil
  ) {
    self.from = from
    self.resume = resume
    self.until = until
  }

  package func contains(_ position: EventPosition) -> Bool {
    guard let from, position.entry > from else { return false }
    return until.map { position.entry <= $0 } ?? true
  }
}
