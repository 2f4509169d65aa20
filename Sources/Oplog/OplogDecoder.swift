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
/// What an event shows stays valid as `ChangeEvent` says; the caller keeps the entry's bytes alive
/// until it has taken the last event. Not thread-safe. Scratch memory is reused, so a steady stream
/// of entries allocates nothing.
public struct OplogDecoder: ~Copyable {
  /// Servers refuse `applyOps` nested more than ten deep.
  static var maximumNesting: Int { 16 }

  /// Operations on time-series buckets, which were passed over: neither the oplog nor change
  /// streams tell of single measurements.
  public private(set) var unsupportedTimeSeries: UInt64 = 0

  /// The operation whose event is asked for next, if `isPending`; read in place, since it is large.
  private var operation = Operation()
  private var isPending = false
  /// The lists of operations that are being walked: an `applyOps`, and those within it.
  private var lists: [BSONElements] = []
  /// The second event of an operation that has two.
  private var followUp: ChangeEvent?
  private var failure: OplogError?

  // What all events of the entry share.
  private var position = OplogPosition(seconds: 0, increment: 0)
  private var wallTime: Int64?
  private var lsid: BSONView?
  private var txnNumber: Int64?
  /// How many events the entry has had so far.
  private var index: UInt32 = 0

  private var updates = UpdateDescription()
  /// Holds what an event needs and the entry has only in pieces: a document key or a namespace.
  private var scratch = ByteWriter(capacity: 1024)

  public init() {
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
      if let list = try applyOps() {
        if operation.multiOpType == 0, let id = operation.lsid, let number = operation.txnNumber {
          lsid = id
          txnNumber = number
        }
        lists.append(list)
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
      throw fail(error, at: position)
    }
  }

  private mutating func reset() {
    isPending = false
    if followUp != nil { followUp = nil }
    if failure != nil { failure = nil }
    lsid = nil
    txnNumber = nil
    index = 0
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
    while !lists.isEmpty {
      guard let element = try lists[lists.count &- 1].nextElement() else {
        lists.removeLast()
        continue
      }
      operation = Operation()
      try operation.read(try element.requireDocument("applyOps"))
      guard let list = try applyOps() else { return true }
      guard lists.count < Self.maximumNesting else {
        throw OplogError(.unsupportedTransaction(.tooDeep))
      }
      lists.append(list)
    }
    return false
  }

  /// The current operation's own list, if it is an `applyOps` that counts.
  private func applyOps() throws(OplogError) -> BSONElements? {
    guard operation.kind == .command, !operation.fromMigrate,
      let command = try ApplyOps(operation.requireObject())
    else { return nil }
    try command.checkComplete(in: operation)
    return command.operations
  }

  // MARK: One operation

  /// The current operation's event (it is not an `applyOps`); nil if it has none.
  private mutating func event() throws(OplogError) -> ChangeEvent? {
    if operation.fromMigrate { return nil }
    switch operation.kind {
    case .noop, .internalChange: return nil
    case .command: return try commandEvent()
    case .insert, .update, .delete: break
    }
    guard let name = operation.namespace else { throw OplogError(.missingField("ns")) }
    let namespace = try Namespace(name)
    switch namespace.scope {
    case .user: return try documentEvent(in: namespace)
    case .views: return try viewEvent()
    case .timeSeries:
      unsupportedTimeSeries &+= 1
      return nil
    case .server: return nil
    }
  }

  private mutating func documentEvent(in namespace: Namespace) throws(OplogError) -> ChangeEvent {
    let object = try operation.requireObject()
    switch operation.kind {
    case .insert:
      let key = if let given = operation.object2 { given } else { try documentKey(of: object) }
      return makeEvent(.insert, namespace, documentKey: key, fullDocument: object)
    case .delete:
      return makeEvent(.delete, namespace, documentKey: object)
    default:
      guard let key = operation.object2 else { throw OplogError(.missingField("o2")) }
      guard let description = try updates.decode(object) else {
        return makeEvent(.replace, namespace, documentKey: key, fullDocument: object)
      }
      return makeEvent(.update, namespace, documentKey: key, updateDescription: description)
    }
  }

  /// `{_id}`, for entries before 6.0: an insert's oplog entry named no key then. (In a sharded
  /// collection the shard key is missing from it; those servers did not log it.)
  private mutating func documentKey(of object: BSONView) throws(OplogError) -> BSONView {
    guard let id = try object.element("_id") else { throw OplogError(.missingField("o._id")) }
    scratch.removeAll()
    let mark = scratch.beginDocument()
    scratch.append(element: id)
    scratch.endDocument(mark)
    return try BSONView(written: scratch.bytes)
  }

  private mutating func commandEvent() throws(OplogError) -> ChangeEvent? {
    let command = try Command(of: operation)
    switch command.effect {
    case .none: return nil
    case .database:
      let namespace = Namespace(database: command.database)
      return namespace.scope == .user ? makeEvent(.dropDatabase, namespace) : nil
    case .collection(let type, let name):
      scratch.removeAll()
      scratch.append(command.database)
      scratch.append(UInt8(ascii: "."))
      scratch.append(name)
      let namespace = try Namespace(scratch.bytes)
      return namespace.scope == .user ? makeEvent(type, namespace) : nil
    case .rename(let rename):
      guard rename.from.scope == .user || rename.to.scope == .user else { return nil }
      // The target that a rename overwrites is gone before the new one takes its name; change
      // streams leave that to be inferred.
      var dropped: ChangeEvent?
      if rename.dropsTarget, rename.to.scope == .user {
        dropped = makeEvent(.drop, rename.to)
        dropped?.collectionUUID = rename.droppedUUID
      }
      var renamed = makeEvent(.rename, rename.from)
      renamed.to = rename.to.bytes
      guard let dropped else { return renamed }
      followUp = renamed
      return dropped
    }
  }

  /// A view is created, changed and dropped by writing to `system.views`; its name is the `_id`.
  private mutating func viewEvent() throws(OplogError) -> ChangeEvent? {
    let type: OperationType
    let holder: BSONView?
    switch operation.kind {
    case .insert: (type, holder) = (.create, operation.object)
    case .delete: (type, holder) = (.drop, operation.object)
    default: (type, holder) = (.modify, operation.object2)
    }
    guard let id = try holder?.element("_id") else { throw OplogError(.missingField("_id")) }
    let namespace = try Namespace(try id.requireString("_id"))
    guard namespace.scope == .user else { return nil }
    var event = makeEvent(type, namespace)
    event.collectionUUID = nil  // that of system.views
    return event
  }

  @inline(__always)
  private mutating func makeEvent(
    _ type: OperationType, _ namespace: Namespace, documentKey: BSONView? = nil,
    fullDocument: BSONView? = nil, updateDescription: BSONView? = nil
  ) -> ChangeEvent {
    let at = EventPosition(entry: position, index: index)
    index &+= 1
    return ChangeEvent(
      operation: type, position: at, namespace: namespace.bytes,
      databaseLength: namespace.databaseLength, documentKey: documentKey,
      fullDocument: fullDocument, updateDescription: updateDescription, wallTime: wallTime,
      txnNumber: txnNumber, lsid: lsid, collectionUUID: operation.collectionUUID)
  }
}

extension BSONView {
  /// A document that this module wrote itself.
  init(written bytes: UnsafeRawBufferPointer) throws(OplogError) {
    do { try self.init(bytes) } catch { throw OplogError(.corrupt(error)) }
  }
}
