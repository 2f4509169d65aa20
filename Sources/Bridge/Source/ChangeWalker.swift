package import MongoSource
import NIOCore
package import Oplog

/// A walk's part on an event loop: takes what the reader has, and gives every event to `body`.
///
/// Sendable invariant: every stored property is touched on the event loop only.
package final class ChangeWalker: @unchecked Sendable {
  package enum State: Sendable {
    case waiting(Wait)
    /// The range is over.
    case ended
    /// Nothing was handed out yet, and a transaction of the range has earlier entries than were read.
    case needsEarlier(OplogPosition)
    case failed(RangeFailure)
  }

  /// What the walk waits for.
  package struct Wait: Sendable {
    /// Changes with every progress.
    var mark: UInt64
    /// Changes with every answer of MongoDB, even that there is nothing more.
    var lastReply: UInt64
    /// The wait is for others than MongoDB.
    var isHeld = false
    /// Why nothing comes, for the error if that lasts.
    var silence: String
  }

  /// What has been read.
  package struct Extent: Sendable {
    package var entries: UInt64 = 0
    package var first: OplogPosition?
    package var last: OplogPosition?
  }

  private let reader: any ChangeReader
  private let walk: EventWalk
  private let range: WalkRange
  private let mayContinue: @Sendable () -> Bool
  private let body: @Sendable (ChangeEvent) -> Void
  /// Transactions whose earlier entries were not read are passed over, and counted here.
  private let passesOverCut: Bool
  /// How many steps are taken without asking `mayContinue`, less one; one less than a power of two.
  private let stride: Int
  /// Asks to begin further back even where something was handed out.
  private let alwaysAsks: Bool
  package private(set) var cutTransactions: UInt64 = 0
  private var emitted = false
  private var firstRead: OplogPosition?
  private let began = ContinuousClock.now

  /// - Parameters:
  ///   - passesOverCut: incomplete transactions are counted; else the walk asks to begin further back.
  ///   - stride: how many steps are taken without asking `mayContinue`, less one; one less than a power of two.
  ///   - alwaysAsks: asks for that at any time, not only before anything was handed out.
  ///   - mayContinue: while false, nothing is handed out. Asked on the event loop.
  ///   - body: called on the event loop.
  package init(
    _ reader: any ChangeReader, _ range: WalkRange, _ wishes: FeedWishes,
    passesOverCut: Bool = false, stride: Int = 255, alwaysAsks: Bool = false,
    mayContinue: @escaping @Sendable () -> Bool, _ body: @escaping @Sendable (ChangeEvent) -> Void
  ) {
    self.reader = reader
    self.range = range
    self.passesOverCut = passesOverCut
    self.stride = stride
    self.alwaysAsks = alwaysAsks
    self.mayContinue = mayContinue
    self.body = body
    walk = EventWalk(EventFeed(wishes, tellsPlaces: false))
  }

  /// Begins to read at the entry there.
  package func begin(at point: ResumePoint) {
    let generation = reader.restart(at: point, after: nil)
    walk.begin(range)
    walk.feed.begin(
      .tail(reader), generation: generation, firstIndex: SnapshotDecoder.firstIndex)
  }

  package func end() { walk.feed.end() }

  package var extent: Extent {
    Extent(
      entries: walk.feed.count, first: firstRead ?? position, last: walk.feed.lastEntry?.position)
  }

  /// The newest entry whose events were all handed out; nil: there is none yet.
  package var frontier: OplogPosition? { walk.feed.lastEntry?.position }

  /// Where reading would have to begin if everything up to the entry is settled: before it, if transactions are open
  /// there.
  package func resume(from settled: OplogPosition) -> OplogPosition {
    walk.feed.resume(from: OpTime(position: settled, term: -1)).position
  }

  /// Takes what is there.
  package func pump() -> State {
    var taken = 0
    do {
      while true {
        // Others want the loop, too.
        if taken & stride == 0, !mayContinue() { return .waiting(wait(isHeld: true)) }
        taken += 1
        let step = try walk.next(mayOmit: mayOmit)
        if firstRead == nil { firstRead = position }
        switch step {
        case .event(let event):
          emitted = true
          body(event)
        case .end: return .ended
        case .nothing:
          if let failure = reader.failure { return .failed(RangeFailure(failure)) }
          return .waiting(wait())
        case .waiting: return .waiting(wait())
        }
      }
    } catch let missing as MissingEntries {
      // Nothing was handed out yet where it comes first; else the reader would have had it.
      guard emitted, !alwaysAsks else { return .needsEarlier(missing.previous) }
      return .failed(
        RangeFailure(
          description:
            "the transaction at \(missing.entry.position) has entries that were not read"))
    } catch {
      return .failed(RangeFailure(description: "\(error)"))
    }
  }

  private func mayOmit(_ missing: MissingEntries) -> Bool {
    if passesOverCut { cutTransactions &+= 1 }
    return passesOverCut
  }

  private var position: OplogPosition? {
    walk.feed.header?.position ?? walk.feed.lastEntry?.position
  }

  private func wait(isHeld: Bool = false) -> Wait {
    let images = walk.feed.isWaiting ? walk.feed.facts.images : nil
    let status = reader.status
    let read = status.lastRead?.position.value ?? 0
    return Wait(
      mark: walk.feed.count ^ read ^ (images?.roundTrips ?? 0) << 40,
      lastReply: status.lastReplyAt.map { UInt64(max(0, ($0 - began) / .microseconds(1))) } ?? 0,
      isHeld: isHeld, silence: images?.silence ?? status.silence)
  }
}
