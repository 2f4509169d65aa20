public import Oplog

/// Messages of a stream that others publish to as well, under ids that they share with the bridge: who
/// of them was first with one is left open, so they are judged by id, wherever they stand.
///
/// Bounded: what waits for its counterpart, and ids that have been seen, are kept up to `most` each.
/// Beyond that the oldest are given up, which is counted.
public struct SharedIDs: Sendable {
  private struct Expected {
    var position: EventPosition
    var digest: MessageDigest
    var body: MessageDigest
  }
  private struct Seen {
    var position: EventPosition
    var sequence: UInt64
  }

  private let most: Int
  private var waiting: [MessageDigest: Expected] = [:]
  private var seen: [MessageDigest: Seen] = [:]
  private var seenOrder: [MessageDigest] = []
  private var seenFirst = 0
  /// Stored before they were expected.
  private var early: [MessageDigest: ObservedRecord] = [:]
  private var earlyOrder: [MessageDigest] = []
  private var earlyFirst = 0

  /// What has to be looked into: an expected message and where its id stands.
  public struct Suspect: Sendable, Equatable {
    public var position: EventPosition
    public var sequences: [UInt64]

    public init(position: EventPosition, sequences: [UInt64]) {
      self.position = position
      self.sequences = sequences
    }
  }
  public private(set) var suspects: [Suspect] = []
  public private(set) var expectedCount: UInt64 = 0
  /// The last position that was expected.
  public private(set) var lastExpected: EventPosition?
  public private(set) var observedCount: UInt64 = 0
  /// Others' messages that were the ones.
  public private(set) var foreignMatched: UInt64 = 0
  /// … that were there before they were expected, when nobody could know.
  public private(set) var foreignMatchedEarly: UInt64 = 0
  public private(set) var givenUp: UInt64 = 0

  public init(most: Int = 500_000) { self.most = most }

  public mutating func expect(
    _ id: MessageDigest, _ position: EventPosition, _ digest: MessageDigest, body: MessageDigest
  ) {
    expectedCount &+= 1
    lastExpected = position
    let expected = Expected(position: position, digest: digest, body: body)
    if let record = early.removeValue(forKey: id) {
      if record.kind == .foreign { foreignMatchedEarly &+= 1 }
      match(id, expected, record)
    } else if let before = seen[id] {
      // Two changes with one id: the server keeps the first alone.
      suspects.append(Suspect(position: position, sequences: [before.sequence]))
    } else {
      waiting[id] = expected
    }
  }

  /// A stored message; false: its id is not one that is expected, so far.
  public mutating func observe(_ record: ObservedRecord) -> Bool {
    guard let id = record.id else { return false }
    if let expected = waiting.removeValue(forKey: id) {
      match(id, expected, record)
      return true
    }
    if let before = seen[id] {
      observedCount &+= 1
      suspects.append(
        Suspect(position: before.position, sequences: [before.sequence, record.sequence]))
      return true
    }
    if early[id] == nil {
      earlyOrder.append(id)
      if early.count >= most { giveUpEarliest() }
    }
    early[id] = record
    return false
  }

  private mutating func match(
    _ id: MessageDigest, _ expected: Expected, _ record: ObservedRecord
  ) {
    observedCount &+= 1
    if record.kind == .foreign { foreignMatched &+= 1 }
    let isSame =
      record.kind == .foreign ? record.body == expected.body : record.digest == expected.digest
    if !isSame {
      suspects.append(Suspect(position: expected.position, sequences: [record.sequence]))
    }
    seen[id] = Seen(position: expected.position, sequence: record.sequence)
    seenOrder.append(id)
    while seenOrder.count - seenFirst > most {
      seen[seenOrder[seenFirst]] = nil
      seenFirst += 1
      givenUp &+= 1
    }
    if seenFirst > most {
      seenOrder.removeFirst(seenFirst)
      seenFirst = 0
    }
  }

  private mutating func giveUpEarliest() {
    while earlyFirst < earlyOrder.count {
      let id = earlyOrder[earlyFirst]
      earlyFirst += 1
      if early.removeValue(forKey: id) != nil {
        givenUp &+= 1
        break
      }
    }
    if earlyFirst > most {
      earlyOrder.removeFirst(earlyFirst)
      earlyFirst = 0
    }
  }

  public var waitingCount: Int { waiting.count }

  /// Whether everything expected was there, as it should be.
  public var agrees: Bool { waiting.isEmpty && suspects.isEmpty }

  /// Positions of what was expected and not found, and messages of the bridge that nobody expected.
  public func finish() -> (missing: [EventPosition], extra: [ObservedRecord]) {
    (
      waiting.values.map(\.position).sorted(),
      early.values.filter { $0.kind == .own && $0.position != nil }.sorted {
        $0.sequence < $1.sequence
      }
    )
  }
}
