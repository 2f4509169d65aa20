public import BSON

/// What an oplog entry says about itself, apart from the change it describes.
public struct OplogEntryHeader: Sendable {
  public var position: OplogPosition
  /// The election term; -1 if absent, as in the entry that initiates a replica set.
  public var term: Int64
  /// Milliseconds since 1970, the primary's clock.
  public var wallTime: Int64?
  /// The entry changes nothing (`op: "n"`), but a reader may move its position past it.
  public var isNoop: Bool

  public init(position: OplogPosition, term: Int64, wallTime: Int64?, isNoop: Bool) {
    self.position = position
    self.term = term
    self.wallTime = wallTime
    self.isNoop = isNoop
  }
}

/// Turns oplog entries (MongoDB 4.4 and later) into change events, one entry after the other.
///
///     let header = try decoder.begin(entry)
///     while let event = try decoder.next() { … }
///
/// Entries without events are: noops, the server's own namespaces (`admin`, `config`, `local`,
/// `system.*`), writes marked `fromMigrate`, index builds that start or are aborted, and
/// time-series buckets, which are counted. Anything the decoder does not know is an error and
/// never skipped; after an error every call throws it again, until `begin` starts another entry.
///
/// A transaction over several entries has its events where it commits, at that entry's position.
/// Until then its entries are kept, in memory or in temporary files, and `oldestOpenTransaction`
/// says from where they would have to be read again. A reader that goes back calls
/// `forgetTransactions`.
///
/// What an event shows stays valid as `ChangeEvent` says; the caller keeps the entry's bytes alive
/// until it has taken the last event. Not thread-safe. Scratch memory is reused, so a steady stream
/// of entries allocates nothing.
public struct OplogDecoder: ~Copyable {
  /// The most bytes an update's description may have; an event that would have more is `isOversized`.
  /// (The server's own limit, for change streams, is 16 MiB.)
  public static var maximumUpdate: Int { 64 << 20 }
  /// … and what is made of it where nobody wants it.
  static var unwantedUpdate: Int { 1 << 20 }
  /// Whether anybody wants the updates in a namespace. Asked only of those that have large descriptions;
  /// nil: all are wanted.
  public var isUpdateWanted: (@Sendable (UnsafeRawBufferPointer) -> Bool)?

  /// Hands out the changes of documents that are marked `fromMigrate`, and nothing else.
  public var readsMigrated = false

  /// Servers refuse `applyOps` nested more than ten deep.
  static var maximumNesting: Int { 16 }

  /// Whether `updateDescription` has `disambiguatedPaths`, as change streams of 6.1 and later show
  /// with `showExpandedEvents`: which of the dots in a path are within a field's name, and which of
  /// the numbers are. Only for updates of `$v: 2`; those of 4.4 don't tell.
  public var disambiguatesPaths: Bool {
    get { updates.disambiguatesPaths }
    set { updates.disambiguatesPaths = newValue }
  }

  /// The operation whose event is asked for next, if `isPending`; read in place, since it is large.
  var operation = Operation()
  private var isPending = false
  /// The lists of operations that are being walked: an `applyOps`, and those within it.
  var lists: [BSONElements] = []
  /// The second event of an operation that has two.
  var followUp: ChangeEvent?
  private var failure: OplogError?

  // What all events of the entry share.
  var position = OplogPosition(seconds: 0, increment: 0)
  var wallTime: Int64?
  var lsid: BSONView?
  var txnNumber: Int64?
  /// How many events the entry has had so far.
  var index: UInt32 = 0
  /// Of the current operation, among those of its entry's `applyOps`.
  var operationNumber: Int64 = -1

  // Transactions over several entries; see OplogDecoder+Transactions.swift.
  var transactions: TransactionStore
  var emission: Emission?
  /// The first entry of the transaction, not ended yet, that began first. As long as it is needed,
  /// a reader's checkpoint must not pass it.
  public internal(set) var oldestOpenTransaction: OpTime?
  /// The first entry of the transaction that the entry just begun ended, if it had several: needed
  /// until all its events are acknowledged.
  public internal(set) var transactionStart: OpTime?

  var timeSeries = TimeSeriesCounts()
  var updates = UpdateDescription()
  var descriptions = OperationDescription()
  /// Holds what an event needs and the entry has only in pieces: a document key or a namespace.
  var scratch = ByteWriter(capacity: 1024)

  /// - Parameters:
  ///   - transactionMemory: how many bytes of open transactions' entries may be in memory; what
  ///     exceeds it goes to a temporary file for each transaction.
  ///   - temporaryDirectory: where those files go; nil: where `TMPDIR` says, or in /tmp.
  public init(transactionMemory: Int = 8 << 20, temporaryDirectory: String? = nil) {
    transactions = TransactionStore(budget: transactionMemory, directory: temporaryDirectory)
    lists.reserveCapacity(Self.maximumNesting)
  }

  /// Reads the entry's head and prepares its events. Throws: the caller halts.
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

  /// The entry's next event, or nil when it has no more. Pull-based so that the caller may stop
  /// between two events of a transaction.
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

  /// Where the operation of the event handed out last stands: its entry, which of a transaction need
  /// not be the one that commits, and its place in that entry's `applyOps` (0 outside of one). So
  /// the server names pre-images.
  public var operationPlace: (entry: OplogPosition, operation: Int64) {
    (emission?.part ?? position, max(operationNumber, 0))
  }

  /// Forgets the entry, its events, and all open transactions: for a reader that goes on at an
  /// earlier position, or after a gap.
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

  /// Remembers the error, so that it cannot be passed over.
  private mutating func fail(_ error: OplogError, at position: OplogPosition?) -> OplogError {
    var error = error
    error.position = position
    reset()
    failure = error
    return error
  }

  /// Makes the next operation the current one; false at the end.
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

  /// The current operation's own list, if it is an `applyOps` that counts.
  private func nestedApplyOps() throws(OplogError) -> BSONElements? {
    guard operation.kind == .command, !operation.fromMigrate,
      let command = try ApplyOps(operation.requireObject())
    else { return nil }
    try command.checkWhole()
    return command.operations
  }
}
