public import BSON

/// An oplog entry's metadata.
public struct OplogEntryHeader: Sendable {
  public var position: OplogPosition
  /// The election term; -1 if absent, as in the entry that initiates a replica set.
  public var term: Int64
  /// Milliseconds since 1970, by the primary's clock.
  public var wallTime: Int64?
  /// The entry changes nothing (`op: "n"`); a reader may move its position past it.
  public var isNoop: Bool

  public init(position: OplogPosition, term: Int64, wallTime: Int64?, isNoop: Bool) {
    self.position = position
    self.term = term
    self.wallTime = wallTime
    self.isNoop = isNoop
  }
}

/// Decodes oplog entries (MongoDB 4.4 and later) to change events, one entry at a time.
///
///     let header = try decoder.begin(entry)
///     while let event = try decoder.next() { … }
///
/// Entries without events are noops, system namespaces (`admin`, `config`, `local`, `system.*`), writes
/// marked `fromMigrate`, started and aborted index builds, and time-series buckets, which are counted.
/// Anything unknown is an error, never skipped. After an error, every call throws it again until the
/// next `begin`.
///
/// A transaction with several entries has its events at the position of the entry that commits it.
/// Until then its entries are stored, in memory or in temporary files, and `oldestOpenTransaction` is
/// the position from which they would have to be read again. A reader that goes back must call
/// `forgetTransactions`.
///
/// Safety invariant: `operation`, `lists`, `followUp` and `lsid` are views over the entry (or over an entry
/// that `Emission` holds), which the caller keeps alive until it has taken the last event; `begin` replaces
/// all of them. For the lifetime of an event see `ChangeEvent`. Not thread-safe. Scratch memory is reused, so
/// it allocates nothing in steady state.
public struct OplogDecoder: ~Copyable {
  /// Maximum size of an update description; an event with a larger one is `isOversized`. (The server's
  /// limit for change streams is 16 MiB.)
  public static var maximumUpdate: Int { 64 << 20 }
  /// Maximum size if the update isn't wanted.
  static var unwantedUpdate: Int { 1 << 20 }
  /// Whether updates in a namespace are wanted. Called only for large descriptions. Nil: all are wanted.
  public var isUpdateWanted: (@Sendable (UnsafeRawBufferPointer) -> Bool)?

  /// Reads only changes of documents marked `fromMigrate`, and nothing else.
  public var readsMigrated = false

  /// Servers reject `applyOps` nested more than ten deep.
  static var maximumNesting: Int { 16 }

  /// Whether `updateDescription` has `disambiguatedPaths`, as in change streams of 6.1 and later with
  /// `showExpandedEvents`: they distinguish dots and numbers in field names from separators and array
  /// indexes. Only for updates in the format `$v: 2`; 4.4's format lacks the information.
  public var disambiguatesPaths: Bool {
    get { updates.disambiguatesPaths }
    set { updates.disambiguatesPaths = newValue }
  }

  /// The current operation. If `isPending`, its event is next. Read in place, since it is large.
  var operation = Operation()
  private var isPending = false
  /// The lists of operations being read: an `applyOps` and those nested in it.
  var lists: [BSONElements] = []
  /// The second event of an operation that has two.
  var followUp: ChangeEvent?
  private var failure: OplogError?

  // Common to all events of the entry.
  var position = OplogPosition(seconds: 0, increment: 0)
  var wallTime: Int64?
  var lsid: BSONView?
  var txnNumber: Int64?
  /// The number of events of the entry so far.
  var index: UInt32 = 0
  /// The current operation's index in its entry's `applyOps`.
  var operationNumber: Int64 = -1

  // Transactions over several entries; see OplogDecoder+Transactions.swift.
  var transactions: TransactionStore
  var emission: Emission?
  /// The first entry of the oldest open transaction. A reader's checkpoint must not pass it.
  public internal(set) var oldestOpenTransaction: OpTime?
  /// The first entry of the transaction that the current entry ended, if it had several: a checkpoint must
  /// not pass it until all its events are acknowledged.
  public internal(set) var transactionStart: OpTime?

  var timeSeries = TimeSeriesCounts()
  var updates = UpdateDescription()
  var descriptions = OperationDescription()
  /// A document key or namespace that the entry has only in parts.
  var scratch = ByteWriter(capacity: 1024)

  /// - Parameters:
  ///   - transactionMemory: maximum bytes of open transactions in memory. Beyond it, the largest ones are
  ///     moved to temporary files.
  ///   - temporaryDirectory: the directory for these files; nil: `TMPDIR`, or /tmp.
  public init(transactionMemory: Int = 8 << 20, temporaryDirectory: String? = nil) {
    transactions = TransactionStore(budget: transactionMemory, directory: temporaryDirectory)
    lists.reserveCapacity(Self.maximumNesting)
  }

  /// Reads the entry's header and prepares its events. On an error the caller must halt.
  public mutating func begin(_ entry: BSONView) throws(OplogError) -> OplogEntryHeader {
    reset()
    operation = Operation()
    do throws(OplogError) {
      try operation.read(entry)
      guard let position = operation.position else { throw OplogError(.missingField("ts")) }
      self.position = position
      wallTime = operation.wallTime
      if oldestOpenTransaction != nil { supersede() }
      if operation.kind == .command {
        isPending = try !beginTransaction(entry)
      } else {
        isPending = true
      }
      return OplogEntryHeader(
        position: position, term: operation.term, wallTime: operation.wallTime,
        isNoop: operation.kind == .noop)
    } catch {
      throw fail(error, at: operation.position)
    }
  }

  /// The entry's next event, if any. The caller may pause between two events of a transaction.
  public mutating func next() throws(OplogError) -> ChangeEvent? {
    if let failure { throw failure }
    do throws(OplogError) {
      if let event = followUp {
        followUp = nil
        return event
      }
      while try advance() {
        if let event = try event() { return event }
      }
      return nil
    } catch {
      throw fail(error, at: emission?.part ?? position)
    }
  }

  /// The last returned event's operation: its entry (in a transaction not necessarily the one that
  /// commits) and its index in that entry's `applyOps` (0 without one). This is the key of its pre-image.
  public var operationPlace: (entry: OplogPosition, operation: Int64) {
    (emission?.part ?? position, max(operationNumber, 0))
  }

  /// Discards the entry, its events and all open transactions, for a reader that continues at an earlier
  /// position or after a gap.
  public mutating func forgetTransactions() {
    reset()
    transactions.removeAll()
    oldestOpenTransaction = nil
  }

  private mutating func reset() {
    isPending = false
    if followUp != nil { followUp = nil }
    if failure != nil { failure = nil }
    if emission != nil { emission = nil }
    transactionStart = nil
    lsid = nil
    txnNumber = nil
    index = 0
    operationNumber = -1
    if !lists.isEmpty { lists.removeAll(keepingCapacity: true) }
  }

  /// Stores the error, so that it can't be skipped.
  private mutating func fail(_ error: OplogError, at position: OplogPosition?) -> OplogError {
    var error = error
    error.position = position
    reset()
    failure = error
    return error
  }

  /// Advances to the next operation; false at the end.
  private mutating func advance() throws(OplogError) -> Bool {
    if isPending {
      isPending = false
      return true
    }
    repeat {
      while !lists.isEmpty {
        guard let element = try lists[lists.count &- 1].nextElement() else {
          lists.removeLast()
          continue
        }
        if lists.count == 1 { operationNumber &+= 1 }
        operation = Operation()
        try operation.read(try element.requireDocument("applyOps"))
        guard let list = try nestedApplyOps() else { return true }
        guard lists.count < Self.maximumNesting else {
          throw OplogError(.unsupportedTransaction(.tooDeep))
        }
        lists.append(list)
      }
    } while try nextPart()
    return false
  }

  /// The current operation's list, if it is an `applyOps` and not skipped.
  private func nestedApplyOps() throws(OplogError) -> BSONElements? {
    guard operation.kind == .command, !operation.fromMigrate,
      let command = try ApplyOps(operation.requireObject())
    else { return nil }
    try command.checkWhole()
    return command.operations
  }
}
