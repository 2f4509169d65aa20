import BSON

/// The entries of one transaction read so far, in order.
///
/// `prevOpTime` links each to the previous one. If the first stored entry has a link, reading started in
/// the middle of the chain, and earlier entries are missing.
///
/// Safety invariant: this object owns the allocations in `entries` and frees them in `deinit`, or when
/// it moves them to a file, which happens only before the commit. `next` is called only after it, by an
/// `Emission` that holds the chain, and its views aren't used after the next call.
final class TransactionChain {
  let first: OpTime
  /// The entry before the first stored one; nil if none is missing.
  let missing: OplogPosition?
  /// The last stored entry.
  private(set) var last: OplogPosition
  /// All operations are stored, and a later entry commits or aborts them.
  private(set) var isPrepared = false

  /// Session and number; nil for the server's batched writes.
  private let lsid: [UInt8]?
  private let number: Int64

  private var entries: [UnsafeMutableRawBufferPointer] = []
  private(set) var heldBytes = 0
  private var file: SpillFile?
  /// The position of `next`: an index into `entries`, or an offset in the file.
  private var cursor = 0

  init(_ name: TransactionName?, first: OpTime, missing: OplogPosition?) {
    lsid = name.map { Array($0.lsid.bytes) }
    number = name?.number ?? 0
    self.first = first
    self.missing = missing
    last = first.position
  }

  deinit { freeEntries() }

  private func freeEntries() {
    for entry in entries { entry.deallocate() }
    entries = []
    heldBytes = 0
  }

  // MARK: Identity

  var hasNoName: Bool { lsid == nil }

  func belongs(to name: TransactionName) -> Bool {
    number == name.number && isOf(name.lsid)
  }

  private func isOf(_ session: BSONView) -> Bool {
    guard let lsid else { return false }
    return lsid.withUnsafeBytes { $0.equals(session.bytes) }
  }

  /// Whether an entry whose `prevOpTime` is `previous` continues this chain.
  func continues(from previous: OplogPosition) -> Bool { last == previous && !isPrepared }

  func isSuperseded(by name: TransactionName?, term: Int64) -> Bool {
    if isPrepared { return false }
    if hasNoName { return term > first.term }
    guard let name else { return false }
    return name.number > number && isOf(name.lsid)
  }

  // MARK: Writing

  /// An entry's size in memory, with overhead.
  static func heldSize(_ entry: BSONView) -> Int { entry.bytes.count + 32 }

  var isSpilled: Bool { file != nil }
  var spilledBytes: Int { file?.size ?? 0 }

  func append(_ entry: BSONView) throws(OplogError) {
    if let file { return try file.append(entry.bytes) }
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: entry.bytes.count, alignment: 8)
    copy.copyMemory(from: entry.bytes)
    entries.append(copy)
    heldBytes += Self.heldSize(entry)
  }

  func extend(to position: OplogPosition, isPrepared: Bool) {
    last = position
    self.isPrepared = isPrepared
  }

  /// Moves the entries to a file, which also takes later ones. If that fails, nothing changes.
  func spill(to directory: String?) throws(OplogError) {
    let file = try SpillFile(in: directory)
    for entry in entries { try file.append(UnsafeRawBufferPointer(entry)) }
    self.file = file
    freeEntries()
  }

  // MARK: Reading

  /// The next entry; nil after the last one. Valid until the next call.
  func next() throws(OplogError) -> BSONView? {
    guard let file else {
      guard cursor < entries.count else { return nil }
      defer { cursor += 1 }
      return try BSONView(written: UnsafeRawBufferPointer(entries[cursor]))
    }
    guard cursor < file.size else { return nil }
    // An entry starts with its length.
    let length = Int(try file.bytes(at: cursor, count: 4).readInt32(at: 0))
    let entry = try BSONView(written: try file.bytes(at: cursor, count: length))
    cursor += length
    return entry
  }
}
