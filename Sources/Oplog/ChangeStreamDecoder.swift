public import BSON

/// Decodes the documents of a change stream (MongoDB 4.4 and later) to the same change events that
/// `OplogDecoder` derives from the oplog, as far as the stream contains them.
///
///     let header = try decoder.begin(document, generation: batch.generation)
///     while let event = try decoder.next() { … }
///
/// Each event of a transaction is a document of its own with the transaction's cluster time. Its index
/// is the operation's index in the transaction, from its resume token, so operations that the stream
/// omits don't shift it. If a token has no index, or several shards wrote at the same time, the event
/// gets the next index that is free at that time: so a stream must start with the first event of a
/// cluster time, which it does if it is opened at a time.
///
/// From 6.0 on, a rename reports a collection that it replaced; then the drop of that collection comes
/// first, as from the oplog. Known kinds of documents without an event are skipped; an unknown kind is
/// an error. After an error, every call throws it again until the next `begin`.
///
/// Safety invariant: `event` and `followUp` are views over the document, which the caller keeps alive until
/// it has taken the last event. For the lifetime of an event see `ChangeEvent`. Not thread-safe. Allocates
/// nothing in steady state.
public struct ChangeStreamDecoder: ~Copyable {
  /// Whether `updateDescription` keeps the `disambiguatedPaths` of servers from 6.1 on. See
  /// `OplogDecoder.disambiguatesPaths`.
  public var disambiguatesPaths = false

  private var event = ChangeStreamEvent()
  private var isPending = false
  /// The second event of a document that has two.
  private var followUp: ChangeEvent?
  private var failure: OplogError?

  /// The cluster time of the latest document, and the next index at that time.
  private var generation: UInt64?
  private var position = OplogPosition(seconds: 0, increment: 0)
  private var nextIndex: UInt32 = 0

  /// Namespaces, which the documents have in two parts.
  private var names = ByteWriter(capacity: 1024)
  /// An update description without `disambiguatedPaths`.
  private var description = ByteWriter(capacity: 1024)
  /// Larger scratch buffers are released after use.
  private static var keptSize: Int { 1 << 20 }

  public init() {}

  /// Reads a document's header and prepares its events. On an error the caller must halt.
  ///
  /// - Parameter generation: of the reader's batch. Each generation starts with the first event of a
  ///   cluster time.
  public mutating func begin(
    _ document: BSONView, generation: UInt64
  ) throws(OplogError) -> OplogEntryHeader {
    reset()
    event = ChangeStreamEvent()
    do throws(OplogError) {
      try event.read(document)
      guard let position = event.position else { throw OplogError(.missingField("clusterTime")) }
      if position != self.position || generation != self.generation {
        self.position = position
        self.generation = generation
        nextIndex = 0
      }
      if case .change = event.kind { isPending = true }
      return OplogEntryHeader(
        position: position, term: -1, wallTime: event.wallTime, isNoop: !isPending)
    } catch {
      throw fail(error, at: event.position)
    }
  }

  /// The document's next event, if any.
  public mutating func next() throws(OplogError) -> ChangeEvent? {
    if let failure { throw failure }
    if let event = followUp {
      followUp = nil
      return event
    }
    guard isPending, case .change(let operation) = event.kind else { return nil }
    isPending = false
    do throws(OplogError) {
      return try makeEvent(operation)
    } catch {
      throw fail(error, at: position)
    }
  }

  /// The last returned event's operation, as in `OplogDecoder.operationPlace`. Nil in a transaction: it
  /// may have several entries, and a change stream has only the position of the last one.
  public var operationPlace: (entry: OplogPosition, operation: Int64)? {
    event.txnNumber == nil ? (position, 0) : nil
  }

  private mutating func reset() {
    isPending = false
    if followUp != nil { followUp = nil }
    if failure != nil { failure = nil }
  }

  /// Stores the error, so that it can't be skipped.
  private mutating func fail(_ error: OplogError, at position: OplogPosition?) -> OplogError {
    var error = error
    error.position = position
    reset()
    failure = error
    return error
  }

  // MARK: One document

  private mutating func makeEvent(_ operation: OperationType) throws(OplogError) -> ChangeEvent? {
    guard let name = event.namespace else { throw OplogError(.missingField("ns")) }
    names.removeAll()
    let length = append(name)
    switch operation {
    case .insert, .replace:
      guard event.fullDocument != nil else { throw OplogError(.missingField("fullDocument")) }
      fallthrough
    case .update, .delete:
      guard event.documentKey != nil else { throw OplogError(.missingField("documentKey")) }
      guard let namespace = try userNamespace(length) else { return nil }
      var change = takeEvent(operation, namespace)
      change.documentKey = event.documentKey
      if operation == .update {
        change.updateDescription = try updateDescription()
      } else if operation != .delete {
        change.fullDocument = event.fullDocument
      }
      return change
    case .dropDatabase:
      let namespace = Namespace(database: names.bytes)
      return namespace.scope == .user ? takeEvent(operation, namespace) : nil
    case .drop, .create, .createIndexes, .dropIndexes, .modify:
      return try userNamespace(length).map { takeEvent(operation, $0) }
    case .rename: return try rename(length)
    }
  }

  /// Writes `db.collection` or `db` and returns its length.
  private mutating func append(_ name: ChangeStreamEvent.Name) -> Int {
    let start = names.count
    names.append(name.database)
    if let collection = name.collection {
      names.append(UInt8(ascii: "."))
      names.append(collection)
    }
    return names.count &- start
  }

  /// The first namespace in `names`; nil if it isn't a user collection.
  private func userNamespace(_ length: Int) throws(OplogError) -> Namespace? {
    let namespace = try Namespace(UnsafeRawBufferPointer(rebasing: names.bytes[..<length]))
    return namespace.scope == .user ? namespace : nil
  }

  /// A rename over an existing collection is reported as a drop of that collection, then the rename.
  private mutating func rename(_ length: Int) throws(OplogError) -> ChangeEvent? {
    guard let to = event.to else { throw OplogError(.missingField("to")) }
    _ = append(to)
    let from = try Namespace(UnsafeRawBufferPointer(rebasing: names.bytes[..<length]))
    let target = try Namespace(UnsafeRawBufferPointer(rebasing: names.bytes[length...]))
    guard from.scope == .user || target.scope == .user else { return nil }
    var dropped: ChangeEvent?
    if target.scope == .user, let replaced = try event.operationDescription?.element("dropTarget"),
      replaced.bool != false
    {
      dropped = takeEvent(.drop, target)
      dropped?.collectionUUID =
        replaced.type == .bool ? nil : try replaced.requireUUID("operationDescription.dropTarget")
    }
    var renamed = takeEvent(.rename, from)
    renamed.to = target.bytes
    guard let dropped else { return renamed }
    followUp = renamed
    return dropped
  }

  /// `{updatedFields, removedFields, truncatedArrays}`, and `disambiguatedPaths` if requested.
  private mutating func updateDescription() throws(OplogError) -> BSONView {
    guard let given = event.updateDescription else {
      throw OplogError(.missingField("updateDescription"))
    }
    if disambiguatesPaths { return given }
    guard try given.element("disambiguatedPaths") != nil else { return given }
    if description.count > Self.keptSize { description = ByteWriter(capacity: 1024) }
    description.removeAll()
    let document = description.beginDocument()
    var walk = given.elements()
    while let element = try walk.nextElement() {
      if !element.key.equals("disambiguatedPaths") { description.append(element: element) }
    }
    description.endDocument(document)
    return try BSONView(written: description.bytes)
  }

  /// An event at the next index of the current cluster time.
  private mutating func takeEvent(_ type: OperationType, _ namespace: Namespace) -> ChangeEvent {
    let index = max(nextIndex, event.operationIndex ?? 0)
    nextIndex = index &+ 1
    var change = ChangeEvent(
      operation: type, position: EventPosition(entry: position, index: index),
      namespace: namespace.bytes, databaseLength: namespace.databaseLength,
      wallTime: event.wallTime, txnNumber: event.txnNumber, lsid: event.lsid,
      collectionUUID: event.collectionUUID)
    if type != .drop {
      change.operationDescription = event.operationDescription
      change.stateBeforeChange = event.stateBeforeChange
    }
    return change
  }
}
