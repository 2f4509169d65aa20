import BSON

/// The entries of one transaction that were read so far, in order.
///
/// `prevOpTime` links each to the one before. Where the first one held is linked too, reading began
/// in the middle of the chain, and what came before is missing.
///
/// Safety invariant: `entries` are allocations of this object's own. They are freed when it goes, or
/// when it moves them into a file; the views that `next` hands out are used no longer than that.
final class TransactionChain {
  let first: OpTime
  /// The entry before the first one held; nil if there is none, and all are held.
  let missing: OplogPosition?
  /// The entry held last.
  private(set) var last: OplogPosition
  /// All operations are there, and a later entry tells whether they count.
  private(set) var isPrepared = false

  /// Session and number; the server's batched writes have none.
  private let lsid: [UInt8]?
  private let number: Int64

  private var entries: [UnsafeMutableRawBufferPointer] = []
  private(set) var heldBytes = 0
  private var file: SpillFile?
  /// Where `next` is: an index into `entries`, or an offset in the file.
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

  /// Whether an entry linked to the one at `previous` continues this chain.
  func goesOn(from previous: OplogPosition) -> Bool { last == previous && !isPrepared }

  func isSuperseded(by name: TransactionName?, term: Int64) -> Bool {
    if isPrepared { return false }
    if hasNoName { return term > first.term }
    guard let name else { return false }
    return name.number > number && isOf(name.lsid)
  }

  // MARK: Writing

  /// Bytes that an entry takes in memory, with what it costs to keep it.
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

  /// Moves the entries into a file, where later ones go too. If that fails, all stays as it was.
  func spill(to directory: String?) throws(OplogError) {
    let file = try SpillFile(in: directory)
    for entry in entries { try file.append(UnsafeRawBufferPointer(entry)) }
    self.file = file
    freeEntries()
  }

  // MARK: Reading

  /// The next entry, from the first to the last; nil behind it. Valid until the next call.
  func next() throws(OplogError) -> BSONView? {
    guard let file else {
      guard cursor < entries.count else { return nil }
      defer { cursor += 1 }
      return try BSONView(written: UnsafeRawBufferPointer(entries[cursor]))
    }
    guard cursor < file.size else { return nil }
    // An entry begins with its length.
    let length = Int(try file.bytes(at: cursor, count: 4).readInt32(at: 0))
    let entry = try BSONView(written: try file.bytes(at: cursor, count: length))
    cursor += length
    return entry
  }
}
