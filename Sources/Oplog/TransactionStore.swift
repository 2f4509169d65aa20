import BSON

/// Identifies a transaction. `lsid` points into the entry it was read from.
struct TransactionName {
  var lsid: BSONView
  var number: Int64
}

/// The open transactions: copies of their entries, in memory up to a budget, then in temporary files.
///
/// A `TransactionChain` is found by its session and number; the server's batched writes have neither
/// and are found by the link between entries.
struct TransactionStore {
  /// Maximum bytes of entries in memory, for all chains.
  let budget: Int
  /// The directory for the files; nil: `TMPDIR`, or /tmp.
  let directory: String?

  private var chains: [TransactionChain] = []
  /// The number of chains without a name.
  private var unnamed = 0
  /// Bytes of entries in memory.
  private(set) var heldBytes = 0

  init(budget: Int, directory: String?) {
    self.budget = budget
    self.directory = directory
  }

  var count: Int { chains.count }

  var spilledBytes: Int { chains.reduce(0) { $0 + $1.spilledBytes } }

  /// The first entry of the oldest chain.
  var oldest: OpTime? { chains.min { $0.first.position < $1.first.position }?.first }

  /// Adds an entry whose transaction continues after it.
  mutating func hold(
    _ entry: BSONView, at opTime: OpTime, after previous: OplogPosition?, of name: TransactionName?,
    isPrepared: Bool
  ) throws(OplogError) {
    let chain: TransactionChain
    if let previous, let at = index(of: name, endingAt: previous),
      chains[at].continues(from: previous)
    {
      chain = chains[at]
    } else {
      // Stored entries of this transaction, if any, don't link to this one.
      if let name { discard(name) }
      chain = TransactionChain(name, first: opTime, missing: previous)
      chains.append(chain)
      if chain.hasNoName { unnamed += 1 }
    }
    do throws(OplogError) {
      try append(entry, to: chain)
    } catch {
      remove(chain)
      throw error
    }
    chain.extend(to: opTime.position, isPrepared: isPrepared)
  }

  /// Removes and returns a transaction that ends now. Nil if no stored transaction's last entry is at
  /// `previous`.
  mutating func take(
    _ name: TransactionName?, endingAt previous: OplogPosition
  ) -> TransactionChain? {
    guard let at = index(of: name, endingAt: previous) else { return nil }
    let chain = chains[at]
    remove(chain)
    return chain.last == previous ? chain : nil
  }

  /// Discards a transaction, if it is stored.
  mutating func discard(_ name: TransactionName) {
    if let chain = chains.first(where: { $0.belongs(to: name) }) { remove(chain) }
  }

  /// Discards transactions that can no longer commit after an entry of `name` and `term`: in a session, a
  /// higher number supersedes unprepared transactions; and batched writes, whose failure isn't logged,
  /// are written within one term. True if anything was discarded.
  mutating func supersede(by name: TransactionName?, term: Int64) -> Bool {
    guard name != nil || unnamed > 0 else { return false }
    let before = chains.count
    for chain in chains where chain.isSuperseded(by: name, term: term) { remove(chain) }
    return chains.count < before
  }

  mutating func removeAll() {
    chains.removeAll()
    unnamed = 0
    heldBytes = 0
  }

  private func index(of name: TransactionName?, endingAt previous: OplogPosition) -> Int? {
    if let name { return chains.firstIndex { $0.belongs(to: name) } }
    return chains.firstIndex { $0.hasNoName && $0.last == previous }
  }

  private mutating func remove(_ chain: TransactionChain) {
    heldBytes -= chain.heldBytes
    if chain.hasNoName { unnamed -= 1 }
    chains.removeAll { $0 === chain }
  }

  private mutating func append(
    _ entry: BSONView, to chain: TransactionChain
  ) throws(OplogError) {
    let size = TransactionChain.heldSize(entry)
    while !chain.isSpilled, heldBytes + size > budget {
      // The largest chain frees the most memory per file.
      var largest = chain
      for other in chains where other.heldBytes > largest.heldBytes + (largest === chain ? size : 0)
      {
        largest = other
      }
      let freed = largest.heldBytes
      try largest.spill(to: directory)
      heldBytes -= freed
    }
    try chain.append(entry)
    if !chain.isSpilled { heldBytes += size }
  }
}
