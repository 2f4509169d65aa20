public import Oplog

/// What was found missing and what was found too many on one stream, set off against each other: what
/// is missing in one place may stand in another. A pure value.
public struct Reconciliation: Sendable {
  /// An expected message that is not where it should be.
  public struct Missing: Sendable {
    public var id: String
    public var position: EventPosition
    public var digests: PartDigests
    /// It should be there by now: later ones are, or the bridge has had it acknowledged.
    public var isSettled: Bool

    public init(id: String, position: EventPosition, digests: PartDigests, isSettled: Bool) {
      self.id = id
      self.position = position
      self.digests = digests
      self.isSettled = isSettled
    }
  }

  public enum Ruling: Sendable {
    case reordered(RunJoin.Observed)
    /// It stands elsewhere, and is not what it should be; the number of the missing one.
    case differs(RunJoin.Observed, from: Int)
    case duplicate(RunJoin.Observed, of: UInt64)
    case extra(RunJoin.Observed)
    /// The number of the missing one, and where it was.
    case gap(Int, StreamLedger.Hole)
    case missing(Int)
    case pending(Int)
  }

  /// How many messages each hole can still explain.
  private var holes: [(hole: StreamLedger.Hole, left: UInt64)]

  public init(holes: [StreamLedger.Hole]) {
    self.holes = holes.map { ($0, UInt64($0.sequences.count)) }
  }

  public mutating func rule(missing: [Missing], surplus: [RunJoin.Surplus]) -> [Ruling] {
    var byID: [String: Int] = [:]
    for (index, one) in missing.enumerated() { byID[one.id] = index }
    var found: Set<Int> = []
    var rulings: [Ruling] = []
    for one in surplus {
      let message = one.observed
      if let index = byID[message.id], !message.id.isEmpty, found.insert(index).inserted {
        let isSame = missing[index].digests == message.digests
        // A replayed dead letter stands behind the rest by design.
        if isSame, message.kind == .replayed { continue }
        rulings.append(isSame ? .reordered(message) : .differs(message, from: index))
      } else if message.kind != .replayed {
        rulings.append(one.repeats.map { .duplicate(message, of: $0) } ?? .extra(message))
      }
    }
    for (index, one) in missing.enumerated() where !found.contains(index) {
      if let hole = takeHole(one.position) {
        rulings.append(.gap(index, hole))
      } else {
        rulings.append(one.isSettled ? .missing(index) : .pending(index))
      }
    }
    return rulings
  }

  /// The hole in which a message of that position can have stood.
  private mutating func takeHole(_ position: EventPosition) -> StreamLedger.Hole? {
    // Holes stand in the stream's order, which is that of positions but for a few.
    var index = holes.partitioningIndex { $0.hole.after.map { position <= $0 } ?? true }
    while index < holes.count, holes[index].left == 0 { index += 1 }
    guard index < holes.count, holes[index].hole.before.map({ $0 <= position }) ?? true,
      holes[index].hole.after.map({ position <= $0 }) ?? true
    else { return nil }
    holes[index].left -= 1
    return holes[index].hole
  }
}
