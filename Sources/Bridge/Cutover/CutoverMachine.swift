import DeliberateErrors
package import Oplog

/// What an operator asks for.
package enum CutoverRequest: Sendable, Equatable {
  /// Producers may publish from now on.
  case dual
  /// Ends by itself after so long.
  case commit(within: Duration)
  /// What is up to the fence has been verified.
  case confirm
  /// The commit can't be completed. Unlike `cancel`, nothing where it is over already.
  case abort
  /// Back to the phase before.
  case cancel
  /// Back to `dual`: events behind the position are decided once more.
  case rollback(to: OplogPosition)
  case finalize
}

/// What the leader reports.
package enum CutoverReport: Sendable, Equatable {
  /// Everything up to the entry is acknowledged, and nothing behind it was sent; reading continues at `resume`.
  case boundary(OplogPosition, resume: OplogPosition)
  case fence(OplogPosition)
  /// Everything up to the fence is settled.
  case drained
  /// A commit can't be completed in time, or at all.
  case failed
}

/// Why a request is refused. Nothing was changed.
package struct CutoverRefusal: Error, Sendable, Equatable, CustomStringConvertible {
  package var code: String
  package var description: String
}

/// How a group's record changes. Pure: every caller writes the result by compare-and-set, so whoever is late begins
/// again with what is there by then.
///
/// Requests are idempotent: one that is fulfilled already changes nothing.
extension CutoverRecord {
  /// So often may a group be given back and forth.
  static let mostRanges = 64

  /// The record after a request; nil: it is fulfilled already.
  ///
  /// - Parameter now: milliseconds since 1970.
  package func asked(
    _ request: CutoverRequest, by: String, reason: String, now: Int64
  ) throws(CutoverRefusal) -> CutoverRecord? {
    switch (request, phase) {
    case (.dual, .bridge): return try enterDual(by, reason, now)
    case (.dual, .dual): return nil
    case (.commit(let limit), .dual):
      guard ranges.last?.from != nil else {
        throw CutoverRefusal(
          code: "no_boundary",
          description: "the bridge has not gone over to dual yet: is it running?")
      }
      var next = entering(.committing, by, reason, now)
      next.limit = limit
      next.fence = nil
      next.isDrained = false
      return next
    case (.commit, .committing), (.commit, .committed), (.commit, .finalized): return nil
    case (.confirm, .committing):
      guard isDrained || DeliberateError.isOn(.phaseBeforeDrain), fence != nil else {
        throw CutoverRefusal(
          code: "not_drained", description: "not everything up to the fence is settled yet")
      }
      var next = entering(.committed, by, reason, now)
      next.limit = nil
      next.generation += 1
      next.rewind = nil
      return next
    case (.confirm, .committed), (.confirm, .finalized): return nil
    case (.abort, .committing): return returnToDual(by, reason, now)
    case (.abort, _): return nil
    case (.cancel, .committing): return returnToDual(by, reason, now)
    case (.cancel, .dual):
      var next = entering(.bridge, by, reason, now)
      // The pipeline never stopped publishing.
      if next.ranges.last?.from == nil { _ = next.ranges.popLast() }
      return next
    case (.cancel, .bridge): return nil
    case (.rollback(let place), .committed):
      var next = entering(.dual, by, reason, now)
      next.fence = nil
      next.isDrained = false
      next.generation += 1
      next.rewind = max(place, ranges.last?.from ?? place)
      next.rewindGeneration = next.generation
      if DeliberateError.isOn(.rollbackWithoutOverlap) { next.rewind = nil }
      return next
    case (.rollback, .dual) where change.from == .committed: return nil
    case (.finalize, .committed): return entering(.finalized, by, reason, now)
    case (.finalize, .finalized): return nil
    default: throw refusal(of: request)
    }
  }

  /// The record after what the leader found; nil: it changes nothing (any more).
  package func told(_ report: CutoverReport, by: String, reason: String, now: Int64)
    -> CutoverRecord?
  {
    var next = self
    switch report {
    case .boundary(let place, let resume):
      guard needsBoundary, let last = ranges.indices.last else { return nil }
      if ranges[last].from == nil {
        next.ranges[last].from = place
        next.ranges[last].resume = resume
      } else if let from = ranges[last].from {
        // A leader that reads again from before its predecessor's boundary gives nothing back there.
        next.ranges[last].until = max(place, from)
        next.contract = nil
      }
      return next
    case .fence(let place):
      guard phase == .committing, fence == nil else { return nil }
      next.fence = place
      return next
    case .drained:
      guard phase == .committing, fence != nil, !isDrained else { return nil }
      next.isDrained = true
      return next
    case .failed:
      guard phase == .committing else { return nil }
      return returnToDual(by, reason, now)
    }
  }

  private func entering(
    _ phase: CutoverPhase, _ by: String, _ reason: String, _ now: Int64
  ) -> CutoverRecord {
    var next = self
    next.phase = phase
    next.number += 1
    next.change = CutoverChange(from: self.phase, to: phase, at: now, by: by, reason: reason)
    return next
  }

  private func enterDual(_ by: String, _ reason: String, _ now: Int64)
    throws(CutoverRefusal) -> CutoverRecord
  {
    var next = entering(.dual, by, reason, now)
    next.generation += 1
    next.fence = nil
    next.limit = nil
    next.isDrained = false
    // One that was to be given back, and wasn't yet, continues.
    if ranges.last.map({ $0.until != nil }) ?? true {
      guard ranges.count < Self.mostRanges else {
        throw CutoverRefusal(
          code: "too_many_ranges",
          description:
            "the group has been in dual \(ranges.count) times; no more are kept")
      }
      next.ranges.append(HandedRange())
    }
    return next
  }

  private func returnToDual(_ by: String, _ reason: String, _ now: Int64) -> CutoverRecord {
    var next = entering(.dual, by, reason, now)
    next.fence = nil
    next.limit = nil
    next.isDrained = false
    return next
  }

  private func refusal(of request: CutoverRequest) -> CutoverRefusal {
    let (name, remedy) =
      switch request {
      case .dual:
        (
          "dual",
          phase == .committed
            ? "rollback leads from committed to dual" : "cancel leads from committing to dual"
        )
      case .commit: ("commit", "it follows dual")
      case .abort: ("abort", "")
      case .confirm: ("commit", "the commit was cancelled, or its time is over")
      case .cancel: ("cancel", phase == .committed ? "use rollback" : "it can't be undone")
      case .rollback: ("rollback", "it leads from committed to dual")
      case .finalize: ("finalize", "it follows committed")
      }
    return CutoverRefusal(
      code: "wrong_phase",
      description: "group \(group) is in phase \(phase.rawValue): \(name) does not apply; \(remedy)"
    )
  }
}
