import BSON

/// A transaction of several entries whose events are being handed out: first those of the entries
/// that were kept, then those of the entry that ended it.
struct Emission {
  let chain: TransactionChain
  /// The ending entry's own operations, if it has any.
  var lastOperations: BSONElements?
  /// The kept entry that is being walked, for errors; nil: the ending one.
  var part: OplogPosition?
}

extension OplogDecoder {
  // MARK: What is open

  /// How many transactions have begun and not ended yet.
  public var openTransactions: Int { transactions.count }

  /// Bytes of transactions' entries in memory; those whose events are being handed out included.
  public var transactionBytesHeld: Int {
    transactions.heldBytes + (emission?.chain.heldBytes ?? 0)
  }

  /// Bytes of transactions' entries in temporary files, counted likewise.
  public var transactionBytesSpilled: Int {
    transactions.spilledBytes + (emission?.chain.spilledBytes ?? 0)
  }

  // MARK: Entries

  /// Drops what the entry just read shows to be dead. Only called while transactions are open.
  @inline(never)
  mutating func supersede() {
    guard transactions.supersede(by: operation.transaction, term: operation.term) else { return }
    oldestOpenTransaction = transactions.oldest
  }

  /// Takes the command entry just read, if it is a list of operations or ends a transaction; false:
  /// it is another command.
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
    // What is prepared is committed by name.
    if isPrepared, name == nil { throw OplogError(.unsupportedTransaction(.unnamed)) }
    defer { oldestOpenTransaction = transactions.oldest }
    try transactions.hold(
      entry, at: OpTime(position: position, term: operation.term), after: operation.previous,
      of: name, isPrepared: isPrepared)
  }

  /// The entry just read commits a transaction that began in earlier ones.
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

  /// Goes on to the next entry of the transaction whose events are being handed out; false at the
  /// end, or if there is none.
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
    // It was one when it was kept.
    guard let command = try ApplyOps(operation.requireObject()) else {
      throw OplogError(.missingField("o.applyOps"))
    }
    lists.append(command.operations)
    return true
  }
}

extension BSONView {
  /// Whether the first key is this one: it names a command.
  fileprivate func startsWith(_ key: StaticString) throws(OplogError) -> Bool {
    var walk = elements()
    return try walk.nextElement()?.key.equals(key) == true
  }
}
