import BSON
import Oplog

/// A replica set of three members in virtual time: who has which oplog entries, and which of them can be lost.
///
/// Pure: it reads no clock and decides nothing by chance. The caller sets `now`, writes, lets members replicate,
/// elects, and breaks things. Entries have the form of MongoDB 6.0. What a majority has in the primary's term is
/// never lost, which is checked.
public final class SimulatedReplicaSet {
  /// Nanoseconds since 1970.
  public var now: Int64
  public internal(set) var members: [SimulatedMember]
  /// The primary of the newest term; nil: there is none.
  public internal(set) var primary: Int?
  /// All entries that ever became committed, in order, with those that no oplog holds any more.
  public internal(set) var committed: [CommittedEntry] = []
  /// Entries that members have removed because another history was committed.
  public internal(set) var rolledBackEntries = 0
  public internal(set) var elections = 0

  /// Every entry that was ever written, by its number.
  var entries: [SimulatedEntry] = []
  /// The entries' bytes.
  var arena = ByteWriter(capacity: 1 << 16)
  var scratch = ByteWriter(capacity: 1 << 12)
  var collections: [CollectionState] = []
  var sessions: [SessionState] = []
  var transactions: [TransactionState] = []
  var lastTransaction = 0
  var lastCursor: Int64 = 0
  /// `links[a][b]`: a and b can talk to each other.
  var links = [[Bool]](repeating: [Bool](repeating: true, count: 3), count: 3)
  private var random: UInt64

  /// A set that was initiated, with the first member as primary, and all members alike.
  ///
  /// - Parameter seed: of what has to be unique: ids of collections and sessions.
  public init(seed: UInt64, now: Int64) {
    self.now = now
    random = seed
    members = [SimulatedMember](repeating: SimulatedMember(), count: 3)
    let first = append(to: 0, term: -1) { writer in
      EntryForm.noop(&writer, "initiating set")
    }
    for other in 1..<3 { members[other].log.append(first) }
    elect(0)
    for other in 1..<3 { replicate(other, count: 1) }
    updateMajority()
    for other in 1..<3 { replicate(other, count: 0) }
  }

  // MARK: Entries

  public func entry(_ number: Int) -> SimulatedEntry { entries[number] }

  /// The BSON of an entry; valid within `body`.
  public func withBytes<R>(of number: Int, _ body: (UnsafeRawBufferPointer) throws -> R) rethrows
    -> R
  {
    let entry = entries[number]
    return try body(
      UnsafeRawBufferPointer(rebasing: arena.bytes[entry.start..<entry.start + entry.length]))
  }

  public func bytes(of number: Int) -> [UInt8] { withBytes(of: number) { [UInt8]($0) } }

  /// Writes an entry to a member's oplog: its fields by `body`, then what all entries have.
  ///
  /// - Parameters:
  ///   - slots: how many timestamps it takes; it has the last one.
  ///   - statement: the number of a retryable write's statement.
  ///   - previous: what it is linked to; nil: it has no link.
  @discardableResult
  func append(
    to member: Int, term: Int64, slots: UInt32 = 1, statement: Int32? = nil,
    previous: OpTime? = nil, _ body: (inout ByteWriter) -> Void
  ) -> Int {
    let clock = now + members[member].clockOffset
    let position = nextPosition(on: member, clock: clock, slots: slots)
    let wallTime = clock / 1_000_000
    let start = arena.count
    let document = arena.beginDocument()
    body(&arena)
    if let statement { arena.append(key: "stmtId", int32: statement) }
    arena.append(key: "ts", timestamp: position.seconds, increment: position.increment)
    if term >= 0 { arena.append(key: "t", int64: term) }
    arena.append(key: "v", int64: 2)
    arena.append(key: "wall", date: wallTime)
    if let previous { EntryForm.link(&arena, to: previous) }
    arena.endDocument(document)
    return add(
      SimulatedEntry(
        position: position, term: term, index: members[member].log.end,
        previous: previous?.position ?? OplogPosition(seconds: 0, increment: 0),
        wallTime: wallTime, start: start, length: arena.count - start),
      to: member)
  }

  func add(_ entry: SimulatedEntry, to member: Int) -> Int {
    let number = entries.count
    entries.append(entry)
    members[member].log.append(number)
    return number
  }

  /// Above all that the member has, even if its clock is behind.
  private func nextPosition(on member: Int, clock: Int64, slots: UInt32) -> OplogPosition {
    let seconds = UInt32(clamping: clock / 1_000_000_000)
    let log = members[member].log
    guard !log.isEmpty else { return OplogPosition(seconds: seconds, increment: slots) }
    let last = entries[log[log.end - 1]].position
    return seconds > last.seconds
      ? OplogPosition(seconds: seconds, increment: slots)
      : OplogPosition(seconds: last.seconds, increment: last.increment + slots)
  }

  /// SplitMix64.
  func nextRandom() -> UInt64 {
    random &+= 0x9E37_79B9_7F4A_7C15
    var mixed = random
    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return mixed ^ mixed >> 31
  }

  /// A random UUID, version 4.
  func nextUUID() -> [UInt8] {
    var bytes: [UInt8] = []
    for _ in 0..<2 {
      let part = nextRandom()
      for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: part >> (UInt64(shift) * 8))) }
    }
    bytes[6] = bytes[6] & 0x0F | 0x40
    bytes[8] = bytes[8] & 0x3F | 0x80
    return bytes
  }
}
