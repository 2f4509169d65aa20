import BSON

extension OplogDecoder {
  /// Skipped operations on time-series buckets: neither the oplog nor change streams have single
  /// measurements.
  public var unsupportedTimeSeries: UInt64 { timeSeries.total }

  /// The same by collection: the first `TimeSeriesCounts.maximumNames` ones, then all others in one.
  public var unsupportedTimeSeriesByCollection: [TimeSeriesCount] { timeSeries.byCollection }

  /// The event of the current operation, which is not an `applyOps`; nil if it has none.
  mutating func event() throws(OplogError) -> ChangeEvent? {
    if operation.fromMigrate != readsMigrated { return nil }
    switch operation.kind {
    case .noop, .internalChange: return nil
    case .command: return readsMigrated ? nil : try commandEvent()
    case .insert, .update, .delete: break
    }
    guard let name = operation.namespace else { throw OplogError(.missingField("ns")) }
    let namespace = try Namespace(name)
    switch namespace.scope {
    case .user: return try documentEvent(in: namespace)
    case .views: return try viewEvent()
    case .timeSeries:
      timeSeries.count(namespace)
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
      switch try update(object, in: namespace) {
      case .replacement:
        return makeEvent(.replace, namespace, documentKey: key, fullDocument: object)
      case .description(let description):
        return makeEvent(.update, namespace, documentKey: key, updateDescription: description)
      case .tooLarge:
        var event = makeEvent(.update, namespace, documentKey: key)
        event.isOversized = true
        return event
      }
    }
  }

  private enum Update {
    case replacement
    case description(BSONView)
    case tooLarge
  }

  /// Paths are repeated for every field, so a small entry can have a large description. A large one is
  /// completed only if `isUpdateWanted`.
  private mutating func update(
    _ object: BSONView, in namespace: Namespace
  ) throws(OplogError) -> Update {
    do throws(OplogError) {
      updates.limit = isUpdateWanted == nil ? Self.maximumUpdate : Self.unwantedUpdate
      return try updates.decode(object).map { .description($0) } ?? .replacement
    } catch {
      guard case .updateTooLarge = error.reason else { throw error }
    }
    guard let isUpdateWanted, isUpdateWanted(namespace.bytes) else { return .tooLarge }
    do throws(OplogError) {
      updates.limit = Self.maximumUpdate
      return try updates.decode(object).map { .description($0) } ?? .replacement
    } catch {
      guard case .updateTooLarge = error.reason else { throw error }
      return .tooLarge
    }
  }

  /// `{_id}`, for inserts before 6.0, whose entries have no document key. (Without the shard key of a
  /// sharded collection, which those servers don't log.)
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
      guard namespace.scope == .user else { return nil }
      var event = makeEvent(type, namespace)
      try describe(&event)
      return event
    case .rename(let rename):
      guard rename.from.scope == .user || rename.to.scope == .user else { return nil }
      // A rename over an existing collection is reported as a drop of that collection, then the rename.
      var dropped: ChangeEvent?
      if rename.dropsTarget, rename.to.scope == .user {
        dropped = makeEvent(.drop, rename.to)
        dropped?.collectionUUID = rename.droppedUUID
      }
      var renamed = makeEvent(.rename, rename.from)
      renamed.to = rename.to.bytes
      try describe(&renamed)
      guard let dropped else { return renamed }
      followUp = renamed
      return dropped
    }
  }

  /// Adds the details of a command event.
  private mutating func describe(_ event: inout ChangeEvent) throws(OplogError) {
    (event.operationDescription, event.stateBeforeChange) = try descriptions.describe(operation)
  }

  /// Views are created, changed and dropped by writes to `system.views`; the name is the `_id`.
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
    if type != .drop {
      event.operationDescription = try descriptions.describe(view: operation.requireObject())
    }
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
  /// A document written by this module.
  init(written bytes: UnsafeRawBufferPointer) throws(OplogError) {
    do { try self.init(bytes) } catch { throw OplogError(.corrupt(error)) }
  }
}
