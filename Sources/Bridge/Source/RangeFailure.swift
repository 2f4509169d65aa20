package import MongoSource

/// Why changes of a range can't all be read.
package struct RangeFailure: Error, CustomStringConvertible {
  package enum Cause: Sendable {
    /// MongoDB no longer has all of it.
    case lost
    /// MongoDB sent nothing for too long.
    case silence
    case source(SourceFailure)
    case other
  }

  package var description: String
  package var cause = Cause.other

  package init(description: String, cause: Cause = .other) {
    self.description = description
    self.cause = cause
  }

  package init(_ failure: SourceFailure) {
    self.init(description: "\(failure)", cause: .source(failure))
  }
}

/// Ends a wait without progress.
package struct Patience {
  private let limit: Duration
  private var mark: UInt64?
  private var since = ContinuousClock.now

  package init(_ limit: Duration) { self.limit = limit }

  /// Throws if `mark` has been the same for too long, unless `excuse`: the wait is for others.
  package mutating func check(_ mark: UInt64, excuse: Bool = false, _ why: () -> String) throws {
    if mark != self.mark || excuse {
      self.mark = mark
      since = .now
    } else if ContinuousClock.now - since > limit {
      throw RangeFailure(
        description: "MongoDB sent nothing for \(limit.components.seconds) s: \(why())",
        cause: .silence)
    }
  }
}
