public import BSON

/// Turns the documents of a server's change stream (MongoDB 4.4 and later) into change events, the
/// same that `OplogDecoder` makes of the oplog, as far as the stream tells.
///
///     let header = try decoder.begin(document, generation: batch.generation)
///     while let event = try decoder.next() { … }
///
/// The events of one transaction come as one document each, all with the transaction's cluster
/// time. An event's index is its operation's place in the transaction, which its resume token tells,
/// so that it doesn't matter which of them the stream leaves out. Where a token doesn't tell, or
/// where shards have written at the same time, the index is the least that no event of that time
/// had: so a stream must begin with the first event of a cluster time, as one does that starts at a
/// time.
///
/// From 6.0 on a rename that replaced a collection says so; then, as from the oplog, the drop of
/// that one comes first. Documents that are known to have no event have none; what the decoder does
/// not know is an error and never skipped. After an error every call throws it again, until `begin`.
///
/// What an event shows is valid as `ChangeEvent` says, with this decoder in `OplogDecoder`'s place.
/// Not thread-safe; a steady stream of documents allocates nothing.
public struct ChangeStreamDecoder: ~Copyable {
  /// Whether `updateDescription` keeps the `disambiguatedPaths` that servers from 6.1 on add, as
  /// `OplogDecoder.disambiguatesPaths`. (Older ones give none.)
  public var disambiguatesPaths = false

  private var event = ChangeStreamEvent()
  private var isPending = false
  /// The second event of a document that has two.
  private var followUp: ChangeEvent?
  private var failure: OplogError?

  /// Where the stream is: the cluster time of the latest document, and the next index there.
  private var generation: UInt64?
  private var position = OplogPosition(seconds: 0, increment: 0)
  private var nextIndex: UInt32 = 0

  /// Names with their databases, which the documents have in two parts.
  private var names = ByteWriter(capacity: 1024)
  /// An update description without what only change streams add to it.
  private var description = ByteWriter(capacity: 1024)
  /// More than this is given back after use.
  private static var keptSize: Int { 1 << 20 }

  public init() {}

  /// Reads a document's head and prepares its events. Throws: the caller halts.
  ///
  /// - Parameter generation: of the reader's batch, since each begins with a cluster time's first
  ///   event.
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

  /// The document's next event, or nil when it has no more.
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

  /// Where the operation of the event handed out last stands, as `OplogDecoder.operationPlace`. Nil
  /// in a transaction: that may have several entries, and a change stream shows the last one's place
  /// alone.
  public var operationPlace: (entry: OplogPosition, operation: Int64)? {
    event.txnNumber == nil ? (position, 0) : nil
  }

  private mutating func reset() {
    isPending = false
    if followUp != nil { followUp = nil }
    if failure != nil { failure = nil }
  }

  /// Remembers the error, so that it cannot be passed over.
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

  /// `db.collection`, or `db`; the length of what was written.
  private mutating func append(_ name: ChangeStreamEvent.Name) -> Int {
    let start = names.count
    names.append(name.database)
    if let collection = name.collection {
      names.append(UInt8(ascii: "."))
      names.append(collection)
    }
    return names.count &- start
  }

  /// The collection that was written first into `names`; nil if it isn't one of the users'.
  private func userNamespace(_ length: Int) throws(OplogError) -> Namespace? {
    let namespace = try Namespace(UnsafeRawBufferPointer(rebasing: names.bytes[..<length]))
    return namespace.scope == .user ? namespace : nil
  }

  /// The target that a rename overwrites is gone before the new one takes its name.
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

  /// `{updatedFields, removedFields, truncatedArrays}`, and `disambiguatedPaths` if asked for.
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

  /// An event at the next index of the present cluster time.
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
