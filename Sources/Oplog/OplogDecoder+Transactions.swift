import BSON

/// A committed transaction with several entries whose events are being returned: first those of the
/// stored entries, then those of the last entry.
///
/// `lists` and `operation` point into the entry that `chain` returned last. They are used up before the
/// next one is read, which may unmap it.
struct Emission {
  let chain: TransactionChain
  /// The last entry's own operations, if any.
  var lastOperations: BSONElements?
  /// The stored entry being read, for errors; nil: the last one.
  var part: OplogPosition?
}

extension OplogDecoder {
  // MARK: Open transactions

  /// The number of transactions that have not ended yet.
  public var openTransactions: Int { transactions.count }

  /// Bytes of transaction entries in memory, including the transaction whose events are being returned.
  public var transactionBytesHeld: Int {
    transactions.heldBytes + (emission?.chain.heldBytes ?? 0)
  }

  /// The same for temporary files.
  public var transactionBytesSpilled: Int {
    transactions.spilledBytes + (emission?.chain.spilledBytes ?? 0)
  }

  // MARK: Entries

  /// Discards transactions that can no longer commit after the current entry. Called only while
  /// transactions are open.
  @inline(never)
  mutating func supersede() {
    guard transactions.supersede(by: operation.transaction, term: operation.term) else { return }
    oldestOpenTransaction = transactions.oldest
  }

  /// Handles the current command entry if it is an `applyOps` or ends a transaction; false for another
  /// command.
  mutating func beginTransaction(_ entry: BSONView) throws(OplogError) -> Bool {
    let object = try operation.requireObject()
    if let command = try ApplyOps(object) {
      switch try command.role(in: operation) {
      case .whole:
        if operation.fromMigrate { break }
        if operation.multiOpType == 0 { setSession() }
        lists.append(command.operations)
      case .part: try hold(entry, isPrepared: false)
      case .prepare: try hold(entry, isPrepared: true)
      case .last: try commit(isPrepared: false, lastOperations: command.operations)
      }
      return true
    }
    if try object.startsWith("commitTransaction") {
      try commit(isPrepared: true, lastOperations: nil)
      return true
    }
    if try object.startsWith("abortTransaction"), let name = operation.transaction {
      transactions.discard(name)
      oldestOpenTransaction = transactions.oldest
      return true
    }
    return false
  }

  private mutating func setSession() {
    guard let name = operation.transaction else { return }
    lsid = name.lsid
    txnNumber = name.number
  }

  private mutating func hold(_ entry: BSONView, isPrepared: Bool) throws(OplogError) {
    let name = operation.transaction
    // A prepared transaction is committed by name.
    if isPrepared, name == nil { throw OplogError(.unsupportedTransaction(.unnamed)) }
    defer { oldestOpenTransaction = transactions.oldest }
    try transactions.hold(
      entry, at: OpTime(position: position, term: operation.term), after: operation.previous,
      of: name, isPrepared: isPrepared)
  }

  /// The current entry commits a transaction that started in earlier ones.
  private mutating func commit(
    isPrepared: Bool, lastOperations: BSONElements?
  ) throws(OplogError) {
    let name = operation.transaction
    if isPrepared, name == nil { throw OplogError(.unsupportedTransaction(.unnamed)) }
    guard let previous = operation.previous else { throw OplogError(.missingField("prevOpTime")) }
    defer { oldestOpenTransaction = transactions.oldest }
    let chain = transactions.take(name, endingAt: previous)
    if operation.fromMigrate { return }
    guard let chain, chain.missing == nil else {
      throw OplogError(.missingEarlierEntries(previous: chain?.missing ?? previous))
    }
    guard chain.isPrepared == isPrepared else {
      throw OplogError(.unsupportedTransaction(.contradictory))
    }
    setSession()
    transactionStart = chain.first
    emission = Emission(chain: chain, lastOperations: lastOperations)
  }

  // MARK: Events

  /// Advances to the next entry of the transaction whose events are being returned; false at the end, or
  /// if there is none.
  @inline(__always)
  mutating func nextPart() throws(OplogError) -> Bool {
    guard let chain = emission?.chain else { return false }
    return try nextPart(of: chain)
  }

  @inline(never)
  private mutating func nextPart(of chain: TransactionChain) throws(OplogError) -> Bool {
    emission?.part = nil
    guard let entry = try chain.next() else {
      let last = emission?.lastOperations
      emission = nil
      operationNumber = -1
      if let last { lists.append(last) }
      return last != nil
    }
    operation = Operation()
    try operation.read(entry)
    emission?.part = operation.position
    operationNumber = -1
    // Checked before it was stored.
    guard let command = try ApplyOps(operation.requireObject()) else {
      throw OplogError(.missingField("o.applyOps"))
    }
    lists.append(command.operations)
    return true
  }
}

extension BSONView {
  /// Whether this is the first key, the command's name.
  fileprivate func startsWith(_ key: StaticString) throws(OplogError) -> Bool {
    var walk = elements()
    return try walk.nextElement()?.key.equals(key) == true
  }
}
