import BSON

/// One document of a change stream, read in one pass. The views point into the document's bytes.
struct ChangeStreamEvent {
  enum Kind {
    case change(OperationType)
    /// A known kind without an event: sharding of a collection, incomplete index builds, the end of a
    /// stream or of a transaction.
    case none
  }

  var kind = Kind.none
  var position: OplogPosition?
  var wallTime: Int64?
  var namespace: Name?
  /// Of a rename.
  var to: Name?
  var documentKey: BSONView?
  var fullDocument: BSONView?
  var updateDescription: BSONView?
  /// Details of a command, and the collection's previous options; from 6.0 on.
  var operationDescription: BSONView?
  var stateBeforeChange: BSONView?
  var collectionUUID: UnsafeRawBufferPointer?
  var lsid: BSONView?
  var txnNumber: Int64?
  /// The operation's index in its transaction, from the resume token.
  var operationIndex: UInt32?

  /// `{db, coll}`, or `{db}` for a whole database.
  struct Name {
    var database: UnsafeRawBufferPointer
    var collection: UnsafeRawBufferPointer?
  }

  init() {}

  /// Fields read before an error are kept: the error needs the position.
  mutating func read(_ document: BSONView) throws(OplogError) {
    var type: UnsafeRawBufferPointer?
    var walk = document.elements()
    while let element = try walk.nextElement() {
      let key = element.key
      switch key.count {
      case 2:
        if key.equals("ns") {
          namespace = try Self.name(element, "ns")
        } else if key.equals("to") {
          to = try Self.name(element, "to")
        }
      case 3:
        if key.equals("_id") { operationIndex = try Self.operationIndex(element) }
      case 4:
        if key.equals("lsid") { lsid = try element.requireDocument("lsid") }
      case 8:
        if key.equals("wallTime") {
          guard let date = element.date else { throw element.wrongType("wallTime") }
          wallTime = date
        }
      case 9:
        if key.equals("txnNumber") { txnNumber = try element.requireInteger("txnNumber") }
      case 11:
        if key.equals("clusterTime") {
          position = try element.requirePosition("clusterTime")
        } else if key.equals("documentKey") {
          documentKey = try element.requireDocument("documentKey")
        }
      case 12:
        if key.equals("fullDocument") {
          fullDocument = try element.requireDocument("fullDocument")
        }
      case 13:
        if key.equals("operationType") { type = try element.requireString("operationType") }
      case 14:
        if key.equals("collectionUUID") {
          collectionUUID = try element.requireUUID("collectionUUID")
        }
      case 17:
        if key.equals("updateDescription") {
          updateDescription = try element.requireDocument("updateDescription")
        } else if key.equals("stateBeforeChange") {
          stateBeforeChange = try element.requireDocument("stateBeforeChange")
        }
      case 20:
        if key.equals("operationDescription") {
          operationDescription = try element.requireDocument("operationDescription")
        }
      default: break
      }
    }
    guard let type else { throw OplogError(.missingField("operationType")) }
    kind = try Self.kind(type)
  }

  private static func kind(_ type: UnsafeRawBufferPointer) throws(OplogError) -> Kind {
    if type.equals("insert") { return .change(.insert) }
    if type.equals("update") { return .change(.update) }
    if type.equals("delete") { return .change(.delete) }
    if type.equals("replace") { return .change(.replace) }
    if type.equals("drop") { return .change(.drop) }
    if type.equals("rename") { return .change(.rename) }
    if type.equals("dropDatabase") { return .change(.dropDatabase) }
    if type.equals("create") { return .change(.create) }
    if type.equals("createIndexes") { return .change(.createIndexes) }
    if type.equals("dropIndexes") { return .change(.dropIndexes) }
    if type.equals("modify") { return .change(.modify) }
    // The end of a database's stream, after its database was dropped. The reader opens another one.
    if type.equals("invalidate") { return .none }
    // Noops in the oplog, which `OplogDecoder` skips too.
    if type.equals("shardCollection") || type.equals("reshardCollection")
      || type.equals("refineCollectionShardKey") || type.equals("startIndexBuild")
      || type.equals("abortIndexBuild") || type.equals("endOfTransaction")
    {
      return .none
    }
    throw OplogError(.unknownOperation(String(decoding: type, as: UTF8.self)))
  }

  private static func operationIndex(_ id: BSONElement) throws(OplogError) -> UInt32? {
    guard let token = id.document, let data = try token.element("_data")?.string else { return nil }
    return ChangeStreamToken(data)?.operationIndex
  }

  private static func name(
    _ element: BSONElement, _ field: StaticString
  ) throws(OplogError) -> Name {
    var database: UnsafeRawBufferPointer?
    var collection: UnsafeRawBufferPointer?
    var walk = try element.requireDocument(field).elements()
    while let part = try walk.nextElement() {
      if part.key.equals("db") {
        database = try part.requireString(field)
      } else if part.key.equals("coll") {
        collection = try part.requireString(field)
      }
    }
    guard let database else { throw OplogError(.missingField("\(field).db")) }
    return Name(database: database, collection: collection)
  }
}
