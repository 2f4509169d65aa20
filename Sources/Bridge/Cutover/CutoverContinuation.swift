package import Oplog

extension CutoverProgress {
  /// Where a follower continues; nil: no position of the group is known.
  ///
  /// - Parameters:
  ///   - stored: what was written down last; nil: nothing was.
  ///   - epoch: of the leader that continues.
  package init?(continuing stored: CutoverProgress?, _ record: CutoverRecord, epoch: UInt64) {
    guard var progress = stored else {
      let first = record.ranges.first { $0.from != nil }
      guard let from = record.rewind ?? first?.from else { return nil }
      self.init(
        generation: record.generation, epoch: epoch,
        position: EventPosition(entry: from, index: .max),
        resume: record.rewind ?? first?.resume ?? from)
      return
    }
    // A later range begins where the pipeline ended, whatever was decided of an earlier one.
    let next = record.ranges.first { range in
      range.from != nil && range.until.map { $0 > progress.position.entry } ?? true
    }
    if let from = next?.from, progress.position.entry < from {
      progress.position = EventPosition(entry: from, index: .max)
      progress.resume = next?.resume ?? from
      progress.streams = [:]
    }
    if progress.generation != record.generation {
      let before = progress.generation
      progress.begin(record.generation)
      if let rewind = record.rewind, before < record.rewindGeneration {
        progress.position = EventPosition(entry: rewind, index: .max)
        progress.resume = rewind
        progress.streams = [:]
      }
    }
    self = progress
  }
}

extension CutoverRecord {
  /// What a newer record means for an attempt to follow its group.
  package enum Continuation: Sendable, Equatable {
    case same
    /// Counting begins again.
    case counting(UInt64)
    /// What is written down has to be read again.
    case again
    /// There is nothing left to do.
    case over
  }

  package func continuation(of before: CutoverRecord) -> Continuation {
    guard isFollowed else { return .over }
    // From the boundary on, which reading may have passed.
    guard hasRanges(of: before) else { return .again }
    guard generation != before.generation else { return .same }
    return rewind == nil ? .counting(generation) : .again
  }

  /// Where the pipeline hands the group over, or gives it back: the boundary that is asked for.
  ///
  /// A group is handed over where the pipeline has settled. It is given back where the oplog ends: producers, and the
  /// follower, may have published everything up to there, however far behind the pipeline is.
  ///
  /// - Parameters:
  ///   - settled: what the pipeline has come to, with nothing behind it sent.
  ///   - newest: what a majority has; asked for only where `isGivenBack`.
  ///   - taken: the newest entry that the follower has read; nil: unknown.
  package func boundary(
    settled: OplogPosition, newest: OplogPosition?, taken: OplogPosition?
  ) -> OplogPosition {
    isGivenBack ? max(settled, newest ?? settled, taken ?? settled) : settled
  }

  /// The boundary that is asked for ends a range.
  package var isGivenBack: Bool { ranges.last?.from != nil }
}
