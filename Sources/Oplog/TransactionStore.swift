import BSON

/// Which transaction an entry belongs to.
struct TransactionName {
  var lsid: BSONView
  var number: Int64
}

/// The transactions that have begun in the oplog and have not ended yet: copies of their entries,
/// in memory up to a budget, beyond it in temporary files.
///
/// A pure value but for those files. A chain (see `TransactionChain`) is found by its session and
/// number; the server's batched writes have neither and are found by the link between entries.
struct TransactionStore {
  /// Bytes of entries that may be in memory, over all chains.
  let budget: Int
  /// Where the files go; nil: `TMPDIR`, or /tmp.
  let directory: String?

  private var chains: [TransactionChain] = []
  /// How many of them have no name.
  private var unnamed = 0
  /// Bytes of entries that are in memory.
  private(set) var heldBytes = 0

  init(budget: Int, directory: String?) {
    self.budget = budget
    self.directory = directory
  }

  var count: Int { chains.count }

  var spilledBytes: Int { chains.reduce(0) { $0 + $1.spilledBytes } }

  /// The first entry of the chain that began first.
  var oldest: OpTime? { chains.min { $0.first.position < $1.first.position }?.first }

  /// Adds an entry that its transaction goes on after.
  mutating func hold(
    _ entry: BSONView, at place: OpTime, after previous: OplogPosition?, of name: TransactionName?,
    isPrepared: Bool
  ) throws(OplogError) {
    let chain: TransactionChain
    if let previous, let at = index(of: name, endingAt: previous), chains[at].goesOn(from: previous)
    {
      chain = chains[at]
    } else {
      // Whatever else is there of this transaction doesn't lead here.
      if let name { discard(name) }
      chain = TransactionChain(name, first: place, missing: previous)
      chains.append(chain)
      if chain.hasNoName { unnamed += 1 }
    }
    do throws(OplogError) {
      try append(entry, to: chain)
    } catch {
      remove(chain)
      throw error
    }
    chain.extend(to: place.position, isPrepared: isPrepared)
  }

  /// Removes a transaction that ends now and hands it over. Nil if none is held whose last entry is
  /// the one at `previous`.
  mutating func take(
    _ name: TransactionName?, endingAt previous: OplogPosition
  ) -> TransactionChain? {
    guard let at = index(of: name, endingAt: previous) else { return nil }
    let chain = chains[at]
    remove(chain)
    return chain.last == previous ? chain : nil
  }

  /// Forgets a transaction, if it is known.
  mutating func discard(_ name: TransactionName) {
    if let chain = chains.first(where: { $0.belongs(to: name) }) { remove(chain) }
  }

  /// Forgets what can no longer be committed when an entry of `name` and `term` is seen: in each
  /// session a higher number ends what was before, except what has been prepared; and batched
  /// writes, of which nothing tells that they failed, are written within one term. True if there
  /// was something to forget.
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
      // The largest one makes most room for one file.
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
