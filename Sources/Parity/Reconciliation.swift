public import Oplog

/// Matches the missing and the surplus messages of a stream: a missing message may be stored elsewhere. A
/// pure value.
public struct Reconciliation: Sendable {
  /// An expected message that is not at its position.
  public struct Missing: Sendable {
    public var id: String
    public var position: EventPosition
    public var digests: PartDigests
    /// It must be stored: later ones are, or the bridge's publish was acknowledged.
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
    /// It is stored elsewhere with different content; with the index of the missing one.
    case differs(RunJoin.Observed, from: Int)
    case duplicate(RunJoin.Observed, of: UInt64)
    case extra(RunJoin.Observed)
    /// The index of the missing one, and the hole it was in.
    case gap(Int, StreamLedger.Hole)
    case missing(Int)
    case pending(Int)
  }

  /// The holes, each with the number of messages that it can still explain.
  private var holes: Holes
  private var vanished = Holes([])
  /// The sequences of replayed dead letters without a ruling, by id.
  private var replayed: [[UInt8]: UInt64] = [:]

  public init(holes: [StreamLedger.Hole]) { self.holes = Holes(holes) }

  /// Sets the messages that were seen before and have vanished, replacing earlier ones.
  public mutating func note(vanished: [StreamLedger.Hole]) { self.vanished = Holes(vanished) }

  public mutating func rule(missing: [Missing], surplus: [RunJoin.Surplus]) -> [Ruling] {
    // Several events may share an id.
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
        // A replayed dead letter is expected to be out of order.
        if isSame, message.kind == .replayed { continue }
        rulings.append(isSame ? .reordered(message) : .differs(message, from: index))
      } else if message.kind == .replayed {
        // The first one needs no explanation: the dead letter itself may be what is expected.
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

  /// The missing message that matches this surplus one, even with different content.
  private static func counterpart(
    of surplus: RunJoin.Surplus, among indices: [Int], _ missing: [Missing], _ found: Set<Int>
  ) -> Int? {
    let free = indices.filter { !found.contains($0) }
    let message = surplus.observed
    if let same = free.first(where: { missing[$0].position == message.position }) { return same }
    // A duplicate of another event's message.
    if surplus.repeats != nil, message.position != nil, message.kind == .own { return nil }
    return free.first { missing[$0].digests == message.digests } ?? free.first
  }

  /// Whether a message at that position may have been removed.
  public func hasHole(at position: EventPosition) -> Bool {
    holes.index(of: position) != nil || vanished.index(of: position) != nil
  }

  /// Takes the hole that a message at that position may have been in; it then explains one message less.
  public mutating func takeHole(at position: EventPosition) -> StreamLedger.Hole? {
    holes.take(position) ?? vanished.take(position)
  }
}

/// Holes by the last position that they can have held. They overlap where messages are not in order.
private struct Holes: Sendable {
  private var holes: [(hole: StreamLedger.Hole, left: UInt64)]
  /// Of each and all that follow it: the first position that one can have held.
  private var firstFrom: [EventPosition]

  private static let first = EventPosition(
    entry: OplogPosition(seconds: 0, increment: 0), index: 0)
  private static let last = EventPosition(
    entry: OplogPosition(seconds: .max, increment: .max), index: .max)

  init(_ holes: [StreamLedger.Hole]) {
    self.holes = holes.map {
      (
        $0,
        $0.sequences.upperBound - $0.sequences.lowerBound + ($0.sequences.lowerBound > 0 ? 1 : 0)
      )
    }
    // Almost sorted as they are, and of two with one end the order of the stream says more.
    var order = self.holes.indices.map { (end: holes[$0].after ?? Self.last, index: $0) }
    if zip(order, order.dropFirst()).contains(where: { $0.end > $1.end }) {
      order.sort { ($0.end, $0.index) < ($1.end, $1.index) }
      self.holes = order.map { [unsorted = self.holes] in unsorted[$0.index] }
    }
    firstFrom = [EventPosition](repeating: Self.last, count: holes.count)
    var first = Self.last
    for index in self.holes.indices.reversed() {
      first = min(first, self.holes[index].hole.before ?? Self.first)
      firstFrom[index] = first
    }
  }

  /// The hole that a message at that position may have been in.
  mutating func take(_ position: EventPosition) -> StreamLedger.Hole? {
    guard let index = index(of: position) else { return nil }
    holes[index].left -= 1
    return holes[index].hole
  }

  func index(of position: EventPosition) -> Int? {
    var index = holes.partitioningIndex { $0.hole.after.map { position <= $0 } ?? true }
    while index < holes.count, firstFrom[index] <= position {
      if holes[index].left > 0, holes[index].hole.before.map({ $0 <= position }) ?? true {
        return index
      }
      index += 1
    }
    return nil
  }
}
