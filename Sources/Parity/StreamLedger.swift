public import Oplog

/// Holds what one stream should have against what it has, in memory that does not grow with either:
/// expected messages, in oplog order, and stored ones, in the stream's, are summed up in buckets of
/// neighbouring positions. Buckets whose sums agree are forgotten; of the others their range is kept,
/// to be looked into message by message (`RunJoin`). A pure value.
public struct StreamLedger: Sendable {
  /// Positions after `after` (nil: from the beginning) up to `last`, which is in it.
  public struct Range: Sendable, Equatable {
    public var after: EventPosition?
    public var last: EventPosition

    public init(after: EventPosition?, last: EventPosition) {
      self.after = after
      self.last = last
    }

    public func contains(_ position: EventPosition) -> Bool {
      position <= last && (after.map { position > $0 } ?? true)
    }
  }

  /// A bucket whose sums differ.
  public struct Suspect: Sendable, Equatable {
    public var range: Range
    public var expected: UInt64
    /// Where its messages stand, as far as they stand together.
    public var sequences: ClosedRange<UInt64>?
    /// Messages of its positions that stand elsewhere.
    public var strays: [UInt64] = []

    public init(
      range: Range, expected: UInt64, sequences: ClosedRange<UInt64>?, strays: [UInt64] = []
    ) {
      self.range = range
      self.expected = expected
      self.sequences = sequences
      self.strays = strays
    }
  }

  /// Sequences that hold nothing: messages that were there once and were removed.
  public struct Hole: Sendable, Equatable {
    public var sequences: ClosedRange<UInt64>
    /// Positions of the bridge's messages around it.
    public var before: EventPosition?
    public var after: EventPosition?

    public init(
      sequences: ClosedRange<UInt64>, before: EventPosition?, after: EventPosition?
    ) {
      self.sequences = sequences
      self.before = before
      self.after = after
    }
  }

  private struct Bucket {
    var after: EventPosition?
    var last: EventPosition
    var expected = BucketSum()
    /// Positions at which there may be a message, or not.
    var covered: UInt64 = 0
    var observed = BucketSum()
    var sequences: ClosedRange<UInt64>?
  }

  private let bucketSize: UInt64
  /// Only positions in here are judged.
  private let lower: EventPosition
  /// What is before the range and not before this was judged before.
  private let earliest: EventPosition?
  private var upper: EventPosition

  /// Those not judged yet; the first is the one that the stream has come to.
  private var open: [Bucket] = []
  private var expectedEnded = false
  private var hasEnded = false
  /// Ends of all buckets, judged ones included.
  private var ends: [EventPosition] = []
  /// Of those judged: how many messages were expected, and where they stand.
  private var places: [(expected: UInt64, sequences: ClosedRange<UInt64>?)] = []
  private var suspects: [Int: Suspect] = [:]
  /// A message ahead of what its bucket still lacks: it counts once the next one is there too.
  private var held: ObservedRecord?
  private var ahead: [ObservedRecord] = []

  public private(set) var expectedCount: UInt64 = 0
  /// The last position that was expected.
  public private(set) var lastExpected: EventPosition?
  public private(set) var observedCount: UInt64 = 0
  public private(set) var foreignCount: UInt64 = 0
  public private(set) var snapshotCount: UInt64 = 0
  public private(set) var replayedCount: UInt64 = 0
  public private(set) var holes: [Hole] = []
  /// Messages of the bridge from before the range, and behind it, of which nothing is to be said.
  public private(set) var outside: UInt64 = 0
  /// Messages of earlier ranges that stand among this one's: doubled, late, or nothing's.
  public private(set) var late: [ObservedRecord] = []
  /// Messages from behind the range.
  public private(set) var beyond: UInt64 = 0
  private var firstBeyond: UInt64?
  /// Where the next range's messages may begin. What is gone before its first one may have been one of
  /// them, so they begin behind the last message that was seen before that.
  public private(set) var nextSequence: UInt64
  /// Sequences of messages that were taken although others from behind the range stand before them.
  public private(set) var takenBehind: Set<UInt64> = []
  /// Sequences of messages without a position that can be read, though they say they are the bridge's.
  public private(set) var unreadable: [UInt64] = []
  public private(set) var lastSequence: UInt64 = 0
  public private(set) var lastPosition: EventPosition?

  /// Holes that are kept; of more nothing is known.
  public static let mostHoles = 100_000

  /// - Parameters:
  ///   - range: both ends are in it.
  ///   - firstSequence: where the stream's reading begins: what is missing before it is no hole.
  ///   - earliest: ranges before this one have been judged from there on.
  public init(
    _ range: ClosedRange<EventPosition>, firstSequence: UInt64 = 1,
    earliest: EventPosition? = nil, bucketSize: Int = 4096
  ) {
    self.earliest = earliest
    lower = range.lowerBound
    upper = range.upperBound
    lastSequence = firstSequence - min(1, firstSequence)
    nextSequence = lastSequence &+ 1
    self.bucketSize = UInt64(bucketSize)
  }

  /// Buckets that wait for the stream.
  public var openBuckets: Int { open.count }

  // MARK: Expected

  /// The next message that the stream should have; positions never fall.
  public mutating func expect(_ position: EventPosition, _ digest: MessageDigest) {
    expectedCount &+= 1
    lastExpected = position
    extend(to: position)
    open[open.count - 1].expected.add(digest)
  }

  /// A position at which there may rightly be messages, and may not: if there are, they are looked into.
  public mutating func cover(_ position: EventPosition) {
    extend(to: position)
    open[open.count - 1].covered &+= 1
  }

  /// Makes the last bucket one that the position is of.
  private mutating func extend(to position: EventPosition) {
    if let last = open.last,
      last.expected.count &+ last.covered < bucketSize || position == last.last
    {
      open[open.count - 1].last = position
    } else {
      if let last = open.last { ends.append(last.last) }
      open.append(Bucket(after: open.last?.last ?? ends.last, last: position))
    }
  }

  /// Nothing more is expected within the range.
  public mutating func endExpected() {
    guard !expectedEnded else { return }
    expectedEnded = true
    if let last = open.last { ends.append(last.last) }
  }

  // MARK: Observed

  /// The stream's next message. False: not taken yet, more has to be expected first.
  public mutating func observe(_ record: ObservedRecord) -> Bool {
    switch record.kind {
    case .foreign:
      foreignCount &+= 1
      note(record.sequence, nil)
      return true
    case .conflict:
      note(record.sequence, nil)
      return true
    case .snapshot:
      snapshotCount &+= 1
      note(record.sequence, nil)
      return true
    case .replayed, .own: break
    }
    guard let position = record.position else {
      unreadable.append(record.sequence)
      note(record.sequence, nil)
      return true
    }
    guard position >= lower, position <= upper else {
      takeOutside(record, position)
      return true
    }
    if firstBeyond != nil { takenBehind.insert(record.sequence) }
    if record.kind == .replayed {
      replayedCount &+= 1
      note(record.sequence, nil)
      ahead.append(record)
      return true
    }
    return takeOwn(record, position)
  }

  private mutating func takeOutside(_ record: ObservedRecord, _ position: EventPosition) {
    if position > upper {
      beyond &+= 1
      firstBeyond = firstBeyond ?? record.sequence
      note(record.sequence, record.kind == .own ? position : nil)
      return
    }
    if let earliest, position >= earliest, record.kind == .own {
      if firstBeyond != nil { takenBehind.insert(record.sequence) }
      late.append(record)
    } else {
      outside &+= 1
    }
    note(record.sequence, nil)
  }

  private mutating func takeOwn(_ record: ObservedRecord, _ position: EventPosition) -> Bool {
    guard !isAhead(position) || expectedEnded else { return false }
    if let first = open.first, first.after.map({ position > $0 }) ?? true {
      if position > first.last, first.observed.count < first.expected.count || jumpsOver(position) {
        if let before = held {
          held = nil
          observedCount &+= 1
          // What jumped further than its successor jumped alone.
          if before.position.map({ $0 > position }) ?? true {
            ahead.append(before)
          } else {
            note(before.sequence, before.position)
            place(before)
          }
        } else {
          held = record
          note(record.sequence, nil)
          return true
        }
      } else if let before = held {
        held = nil
        observedCount &+= 1
        ahead.append(before)
      }
    }
    note(record.sequence, position)
    observedCount &+= 1
    place(record)
    return true
  }

  /// Beyond everything that is expected so far.
  private func isAhead(_ position: EventPosition) -> Bool {
    // The last bucket may still grow.
    guard let last = open.last else { return true }
    return position >= last.last
  }

  /// Over the present bucket's end and all of the next one.
  private func jumpsOver(_ position: EventPosition) -> Bool {
    open.count < 2
      ? expectedEnded && position > (open.first?.last ?? upper) : position > open[1].last
  }

  /// Adds it to its bucket, which the stream may thereby have come to.
  private mutating func place(_ record: ObservedRecord) {
    guard let position = record.position else { return }
    while let first = open.first, position > first.last, open.count > 1 || expectedEnded {
      judgeFirst()
    }
    guard let first = open.first, first.after.map({ position > $0 }) ?? true else {
      ahead.append(record)
      return
    }
    open[0].observed.add(record.digest)
    let known = open[0].sequences
    open[0].sequences =
      min(
        known?.lowerBound ?? record.sequence, record.sequence)...max(
        known?.upperBound ?? 0, record.sequence)
  }

  private mutating func judgeFirst() {
    let bucket = open.removeFirst()
    if bucket.expected != bucket.observed { suspects[places.count] = suspect(bucket) }
    places.append((bucket.expected.count, bucket.sequences))
  }

  private func suspect(_ bucket: Bucket) -> Suspect {
    Suspect(
      range: Range(after: bucket.after, last: bucket.last), expected: bucket.expected.count,
      sequences: bucket.sequences)
  }

  private mutating func note(_ sequence: UInt64, _ position: EventPosition?) {
    if sequence > 0, sequence - 1 > lastSequence, holes.count < Self.mostHoles {
      holes.append(
        Hole(sequences: (lastSequence + 1)...(sequence - 1), before: lastPosition, after: nil))
    }
    lastSequence = max(lastSequence, sequence)
    if firstBeyond == nil, !hasEnded { nextSequence = lastSequence &+ 1 }
    guard let position else { return }
    lastPosition = position
    var index = holes.count - 1
    while index >= 0, holes[index].after == nil {
      holes[index].after = position
      // Between messages that stand in the wrong order, all that belongs between them may have stood.
      if let before = holes[index].before, before > position {
        holes[index].before = position
        holes[index].after = before
      }
      index -= 1
    }
  }

  /// A message that is judged elsewhere. `isBeyond`: it is of the next range, which has to see it too.
  public mutating func pass(_ sequence: UInt64, isBeyond: Bool = false) {
    if isBeyond {
      beyond &+= 1
      firstBeyond = firstBeyond ?? sequence
    }
    note(sequence, nil)
  }

  // MARK: The end

  /// The stream ends at this sequence: what lies between is gone.
  public mutating func endOfStream(at sequence: UInt64) {
    hasEnded = true
    note(sequence == .max ? sequence : sequence + 1, nil)
  }

  /// Whether every bucket so far agrees, those included that the stream is still at.
  public var agrees: Bool {
    suspects.isEmpty && held == nil && ahead.isEmpty && unreadable.isEmpty
      && open.allSatisfy { $0.expected == $0.observed }
  }

  /// What has to be looked into, in the order of positions, and messages whose positions no bucket
  /// covers. Call it once all is expected and read.
  public mutating func finish() -> (suspects: [Suspect], extra: [UInt64]) {
    endExpected()
    if let before = held {
      // Nothing came behind it that would show it to stand too early.
      held = nil
      observedCount &+= 1
      note(before.sequence, before.position)
      place(before)
    }
    var found = suspects
    for (offset, bucket) in open.enumerated() where bucket.expected != bucket.observed {
      found[places.count + offset] = suspect(bucket)
    }
    var extra = unreadable
    for record in ahead {
      guard let position = record.position else { continue }
      let index = ends.partitioningIndex { $0 >= position }
      guard index < ends.count else {
        extra.append(record.sequence)
        continue
      }
      if found[index] == nil { found[index] = whole(index) }
      found[index]?.strays.append(record.sequence)
    }
    return (found.sorted { $0.key < $1.key }.map(\.value), extra)
  }

  /// A bucket that agreed, until a message of its positions turned up elsewhere.
  private func whole(_ index: Int) -> Suspect {
    let after = index > 0 ? ends[index - 1] : nil
    guard index < places.count else { return suspect(open[index - places.count]) }
    return Suspect(
      range: Range(after: after, last: ends[index]), expected: places[index].expected,
      sequences: places[index].sequences)
  }
}

extension StreamLedger {
  /// Suspects that are looked into together.
  public struct Run: Sendable {
    public var suspects: ArraySlice<Suspect>

    public init(suspects: ArraySlice<Suspect>) { self.suspects = suspects }

    /// Strays beyond all the sequences that the run's messages stand at. (What strays among them, their
    /// order tells.)
    public var apart: Set<UInt64> {
      let places = suspects.compactMap(\.sequences)
      let strays = suspects.flatMap(\.strays)
      guard let low = places.map(\.lowerBound).min(), let high = places.map(\.upperBound).max()
      else { return Set(strays) }
      return Set(strays.filter { $0 < low || $0 > high })
    }

    public func contains(_ position: EventPosition) -> Bool {
      suspects.contains { $0.range.contains(position) }
    }
  }

  /// Neighbours go together, `most` at a time.
  public static func runs(of suspects: [Suspect], most: Int = 4) -> [Run] {
    var runs: [Run] = []
    var start = 0
    while start < suspects.count {
      var end = start + 1
      while end < suspects.count, end - start < most,
        suspects[end].range.after == suspects[end - 1].range.last
      {
        end += 1
      }
      runs.append(Run(suspects: suspects[start..<end]))
      start = end
    }
    return runs
  }
}

extension Array {
  /// The first index from which `predicate` holds, if it does not hold before.
  func partitioningIndex(where predicate: (Element) -> Bool) -> Int {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if predicate(self[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
