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
  private var holes: Holes
  private var vanished = Holes([])
  /// Where replayed dead letters stand that nothing else was said of, by id.
  private var replayed: [[UInt8]: UInt64] = [:]

  public init(holes: [StreamLedger.Hole]) { self.holes = Holes(holes) }

  /// Messages that were seen before, and are gone now. Those given earlier are forgotten.
  public mutating func note(vanished: [StreamLedger.Hole]) { self.vanished = Holes(vanished) }

  public mutating func rule(missing: [Missing], surplus: [RunJoin.Surplus]) -> [Ruling] {
    // An id may be that of several events.
    var byID: [[UInt8]: [Int]] = [:]
    for (index, one) in missing.enumerated() { byID[Array(one.id.utf8), default: []].append(index) }
    var found: Set<Int> = []
    var rulings: [Ruling] = []
    for one in surplus {
      let message = one.observed
      if !message.id.isEmpty,
        let index = Self.counterpart(
          of: one, among: byID[Array(message.id.utf8)] ?? [], missing, found)
      {
        found.insert(index)
        let isSame = missing[index].digests == message.digests
        if message.kind == .replayed { replayed[Array(message.id.utf8)] = message.sequence }
        // A replayed dead letter stands behind the rest by design.
        if isSame, message.kind == .replayed { continue }
        rulings.append(isSame ? .reordered(message) : .differs(message, from: index))
      } else if message.kind == .replayed {
        // Once it explains itself: the letter may be what is expected.
        let id = Array(message.id.utf8)
        if let first = one.repeats ?? replayed[id] {
          // Runs may overlap.
          if first == message.sequence { continue }
          rulings.append(.duplicate(message, of: first))
        } else if !id.isEmpty {
          replayed[id] = message.sequence
        }
      } else {
        rulings.append(one.repeats.map { .duplicate(message, of: $0) } ?? .extra(message))
      }
    }
    for (index, one) in missing.enumerated() where !found.contains(index) {
      if let hole = takeHole(at: one.position) {
        rulings.append(.gap(index, hole))
      } else {
        rulings.append(one.isSettled ? .missing(index) : .pending(index))
      }
    }
    return rulings
  }

  /// The missing message that this one is, in whatever form.
  private static func counterpart(
    of surplus: RunJoin.Surplus, among indices: [Int], _ missing: [Missing], _ found: Set<Int>
  ) -> Int? {
    let free = indices.filter { !found.contains($0) }
    let message = surplus.observed
    if let same = free.first(where: { missing[$0].position == message.position }) { return same }
    // A second copy of what is there: what it repeats is another event's.
    if surplus.repeats != nil, message.position != nil, message.kind == .own { return nil }
    return free.first { missing[$0].digests == message.digests } ?? free.first
  }

  /// Whether a message of that position can have been removed.
  public func hasHole(at position: EventPosition) -> Bool {
    holes.index(of: position) != nil || vanished.index(of: position) != nil
  }

  /// The hole in which a message of that position can have stood; it explains one less from now on.
  public mutating func takeHole(at position: EventPosition) -> StreamLedger.Hole? {
    holes.take(position) ?? vanished.take(position)
  }
}

/// Holes in a stream's order.
private struct Holes: Sendable {
  private var holes: [(hole: StreamLedger.Hole, left: UInt64)]

  init(_ holes: [StreamLedger.Hole]) {
    self.holes = holes.map {
      (
        $0,
        $0.sequences.upperBound - $0.sequences.lowerBound + ($0.sequences.lowerBound > 0 ? 1 : 0)
      )
    }
  }

  /// The hole in which a message of that position can have stood.
  mutating func take(_ position: EventPosition) -> StreamLedger.Hole? {
    guard let index = index(of: position) else { return nil }
    holes[index].left -= 1
    return holes[index].hole
  }

  func index(of position: EventPosition) -> Int? {
    // Holes stand in the stream's order, which is that of positions but for a few.
    var index = holes.partitioningIndex { $0.hole.after.map { position <= $0 } ?? true }
    while index < holes.count, holes[index].left == 0 { index += 1 }
    guard index < holes.count, holes[index].hole.before.map({ $0 <= position }) ?? true,
      holes[index].hole.after.map({ position <= $0 }) ?? true
    else { return nil }
    return index
  }
}
