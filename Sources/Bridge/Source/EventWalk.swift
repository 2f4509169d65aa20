package import Oplog

/// A walk over changes: which events of what a feed reads are handed out, and where it ends. The pipeline,
/// dry runs, verification and look-ups all read MongoDB this way. Owned by the feed's event loop.
///
/// A class, since its owner is one: a value in a class's property is copied for each call. No method calls back
/// into it, so accesses can't overlap, and go without the dynamic exclusivity check.
package final class EventWalk {
  package enum Step {
    case event(ChangeEvent)
    /// There is nothing at the moment, or the next entry must not be opened yet.
    case nothing
    /// Documents are being fetched for events that are there.
    case waiting
    /// All up to `last` has been handed out.
    case end
  }

  package let feed: EventFeed

  /// Events before it are read, for the sake of transactions that commit later, and not handed out.
  @exclusivity(unchecked) package private(set) var first = WalkRange.beginning
  /// The last event that is handed out. The walk ends with its entry, whether MongoDB has one there or
  /// not; nil: no end.
  @exclusivity(unchecked) package private(set) var last: EventPosition?

  package init(_ feed: EventFeed) { self.feed = feed }

  /// Before the feed begins to read.
  package func begin(_ range: WalkRange) {
    first = range.first
    end(after: range.last)
  }

  /// Moves the end, even during the walk.
  package func end(after last: EventPosition?) {
    self.last = last
    feed.limit = last?.entry
  }

  /// The next event in the range.
  ///
  /// - Parameters:
  ///   - mayOpen: whether another entry may be begun.
  ///   - mayOmit: whether a transaction may be passed over whose earlier entries were not read; those
  ///     before the range always are.
  /// - Throws: `PipelineFailure`; `MissingEntries` if such a transaction may not be passed over.
  package func next(
    mayOpen: () -> Bool = { true }, mayOmit: (MissingEntries) throws -> Bool
  ) throws -> Step {
    while true {
      do {
        switch try feed.next(mayOpen: { !hasEnded && mayOpen() }) {
        case .event(let event):
          if event.position < first { continue }
          if let last, event.position > last { continue }
          return .event(event)
        case .nothing: return hasEnded ? .end : .nothing
        case .waiting: return .waiting
        }
      } catch let missing as MissingEntries {
        let omits = try leavesOut(missing.entry.position) || mayOmit(missing)
        guard omits else { throw missing }
        feed.passOver(missing)
      }
    }
  }

  /// Every entry up to the end has been read.
  package var hasEnded: Bool {
    guard let last else { return false }
    return feed.hasMetLimit || feed.lastEntry.map { $0.position >= last.entry } ?? false
  }

  /// Whether the whole entry there comes before the range.
  private func leavesOut(_ entry: OplogPosition) -> Bool {
    EventPosition(entry: entry, index: .max) <= first
  }
}

/// The range of a walk.
package struct WalkRange: Sendable {
  package var first: EventPosition
  package var last: EventPosition?

  package static let beginning = EventPosition(
    entry: OplogPosition(seconds: 0, increment: 0), index: 0)
  package static let everything = WalkRange(first: beginning, last: nil)

  package init(first: EventPosition, last: EventPosition?) {
    self.first = first
    self.last = last
  }

  package init(_ range: ClosedRange<EventPosition>) {
    self.init(first: range.lowerBound, last: range.upperBound)
  }

  /// From an entry on, or from what comes behind it, to the end of another.
  package init(from entry: OplogPosition, isInclusive: Bool, through last: OplogPosition?) {
    self.init(
      first: EventPosition(entry: entry, index: isInclusive ? 0 : .max),
      last: last.map { EventPosition(entry: $0, index: .max) })
  }
}
