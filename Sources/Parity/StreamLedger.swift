public import Oplog

/// Compares the expected and the stored messages of a stream in bounded memory: expected messages in oplog
/// order and stored ones in stream order are summed in buckets of adjacent positions. Buckets with equal
/// sums are discarded; the others become suspects, to compare message by message (`RunJoin`). A pure value.
public struct StreamLedger: Sendable {
  /// Positions after `after` (nil: from the start) up to and including `last`.
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

  /// A bucket with different sums.
  public struct Suspect: Sendable, Equatable {
    public var range: Range
    public var expected: UInt64
    /// The sequences of its messages, except `strays`.
    public var sequences: ClosedRange<UInt64>?
    /// Sequences of its messages stored elsewhere.
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

  /// Sequences of removed messages.
  public struct Hole: Sendable, Equatable {
    public var sequences: ClosedRange<UInt64>
    /// The positions of the bridge's messages before and after it.
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
    /// The number of positions that may or may not have messages.
    var covered: UInt64 = 0
    var observed = BucketSum()
    var sequences: ClosedRange<UInt64>?
  }

  private let bucketSize: UInt64
  /// The first position of the range.
  private let lower: EventPosition
  /// Positions from here to `lower` were compared by earlier ranges.
  private let earliest: EventPosition?
  /// The last position of the range.
  private var upper: EventPosition

  /// Buckets not compared yet; the stream is at the first one.
  private var open: [Bucket] = []
  private var expectedEnded = false
  private var hasEnded = false
  /// The last positions of all buckets, including compared ones.
  private var ends: [EventPosition] = []
  /// Of compared buckets: the number of expected messages, and the sequences.
  private var places: [(expected: UInt64, sequences: ClosedRange<UInt64>?)] = []
  private var suspects: [Int: Suspect] = [:]
  /// A message that is ahead while its bucket is incomplete; the next message decides whether it is out of
  /// order.
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
  /// From here on, no message has come behind the holes.
  private var firstOpen = 0
  /// Holes behind which an earlier message came than before them; the next one beyond all bounds them.
  private var unbounded: [Int] = []
  private var highest: EventPosition?
  /// Messages of the bridge from before the range that no range compares.
  public private(set) var outside: UInt64 = 0
  /// Messages of earlier ranges among this one's: duplicates, late or extra ones.
  public private(set) var late: [ObservedRecord] = []
  /// The number of messages after the range.
  public private(set) var beyond: UInt64 = 0
  private var firstBeyond: UInt64?
  /// The first sequence that may belong to the next range: after the last message before the first one of
  /// that range, since removed messages in between may belong to either.
  public private(set) var nextSequence: UInt64
  /// Sequences of this range's messages that follow messages of the next range.
  public private(set) var takenBehind: Set<UInt64> = []
  /// Sequences of the bridge's messages without a readable position.
  public private(set) var unreadable: [UInt64] = []
  public private(set) var lastSequence: UInt64 = 0
  public private(set) var lastPosition: EventPosition?

  /// Holes that are kept; of more nothing is known.
  public static let mostHoles = 100_000

  /// - Parameters:
  ///   - range: the positions to compare.
  ///   - firstSequence: the first sequence read; sequences missing before it are not holes.
  ///   - earliest: earlier ranges have compared the positions from here on.
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

  /// The number of buckets not compared yet.
  public var openBuckets: Int { open.count }

  // MARK: Expected

  /// The next expected message; positions must not decrease.
  public mutating func expect(_ position: EventPosition, _ digest: MessageDigest) {
    expectedCount &+= 1
    lastExpected = position
    extend(to: position)
    open[open.count - 1].expected.add(digest)
  }

  /// A position that may or may not have messages; if it has, they are examined.
  public mutating func cover(_ position: EventPosition) {
    extend(to: position)
    open[open.count - 1].covered &+= 1
  }

  /// Extends the last bucket to the position, or starts another one.
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

  /// No more messages are expected in the range.
  public mutating func endExpected() {
    guard !expectedEnded else { return }
    expectedEnded = true
    if let last = open.last { ends.append(last.last) }
  }

  // MARK: Observed

  /// Takes the stream's next message. False if more messages must be expected first.
  public mutating func observe(_ record: ObservedRecord) -> Bool {
    switch record.kind {
    case .foreign:
      foreignCount &+= 1
      note(record.sequence, nil)
      return true
    case .serverLetter:
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
          // The held message was ahead of its successor, so it is out of order.
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

  /// After everything expected so far.
  private func isAhead(_ position: EventPosition) -> Bool {
    // The last bucket may still be extended.
    guard let last = open.last else { return true }
    return position >= last.last
  }

  /// Past the current bucket and all of the next one.
  private func jumpsOver(_ position: EventPosition) -> Bool {
    open.count < 2
      ? expectedEnded && position > (open.first?.last ?? upper) : position > open[1].last
  }

  /// Adds the message to its bucket, after comparing the buckets before it.
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
    while firstOpen < holes.count, holes[firstOpen].sequences.upperBound < sequence {
      // Behind the hole an earlier event comes again: what it held followed the one before it, up to nobody knows where.
      if let before = holes[firstOpen].before, before > position {
        holes[firstOpen].before = position
        unbounded.append(firstOpen)
      } else {
        holes[firstOpen].after = position
      }
      firstOpen += 1
    }
    // Of a message that was held back until the next one decided about it, or the end.
    for index in firstOpen..<holes.count { holes[index].before = position }
    guard highest.map({ position > $0 }) ?? true else { return }
    highest = position
    for index in unbounded { holes[index].after = position }
    unbounded.removeAll(keepingCapacity: true)
  }

  /// A message that is compared elsewhere. `isBeyond`: it belongs to the next range, which must see it too.
  public mutating func pass(_ sequence: UInt64, isBeyond: Bool = false) {
    if isBeyond {
      beyond &+= 1
      firstBeyond = firstBeyond ?? sequence
    }
    note(sequence, nil)
  }

  // MARK: The end

  /// The stream ends at this sequence: sequences in between are holes.
  public mutating func endOfStream(at sequence: UInt64) {
    hasEnded = true
    note(sequence == .max ? sequence : sequence + 1, nil)
  }

  /// Whether all buckets so far are equal, including incomplete ones.
  public var agrees: Bool {
    suspects.isEmpty && held == nil && ahead.isEmpty && unreadable.isEmpty
      && open.allSatisfy { $0.expected == $0.observed }
  }

  /// The suspects in the order of positions, and the sequences of messages whose positions no bucket
  /// covers. Call it when everything is expected and read.
  public mutating func finish() -> (suspects: [Suspect], extra: [UInt64]) {
    endExpected()
    if let before = held {
      // No later message shows it to be out of order.
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

  /// The suspect for a bucket that was equal, but has a stray message.
  private func whole(_ index: Int) -> Suspect {
    let after = index > 0 ? ends[index - 1] : nil
    guard index < places.count else { return suspect(open[index - places.count]) }
    return Suspect(
      range: Range(after: after, last: ends[index]), expected: places[index].expected,
      sequences: places[index].sequences)
  }
}

extension StreamLedger {
  /// Adjacent suspects, examined together.
  public struct Run: Sendable {
    public var suspects: ArraySlice<Suspect>

    public init(suspects: ArraySlice<Suspect>) { self.suspects = suspects }

    /// Strays outside the sequences of the run's other messages. (Strays among them are found by their
    /// order.)
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

  /// Groups adjacent suspects, at most `most` per run.
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
  /// The first index at which `predicate` holds, by binary search; `count` if there is none.
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
