import BSON

/// The effect of a command entry (`op: "c"`) other than `applyOps` and `commitTransaction`. Its names point
/// into the entry's bytes.
struct Command {
  enum Effect {
    /// Known and without an event: it changes neither documents nor collections.
    case none
    /// Drops the database.
    case database
    /// Changes the collection with this name.
    case collection(OperationType, name: UnsafeRawBufferPointer)
    case rename(Rename)
  }

  struct Rename {
    var from: Namespace
    var to: Namespace
    var dropsTarget = false
    var droppedUUID: UnsafeRawBufferPointer?
  }

  let database: UnsafeRawBufferPointer
  let effect: Effect

  /// The first key of `o` is the command's name. Unknown names are errors, among them `emptycapped`,
  /// `convertToCapped` and `importCollection`, which change documents that the entry doesn't contain.
  init(of operation: Operation) throws(OplogError) {
    let object = try operation.requireObject()
    var walk = object.elements()
    guard let first = try walk.nextElement() else { throw OplogError(.unknownCommand("")) }
    guard let name = operation.namespace else { throw OplogError(.missingField("ns")) }
    let namespace = try Namespace(name)
    database = UnsafeRawBufferPointer(rebasing: name[..<namespace.databaseLength])

    let key = first.key
    if key.equals("create") {
      effect = .collection(.create, name: try Self.collection(first))
    } else if key.equals("drop") {
      effect = .collection(.drop, name: try Self.collection(first))
    } else if key.equals("dropDatabase") {
      effect = .database
    } else if key.equals("renameCollection") {
      effect = .rename(try Self.rename(first, walk))
    } else if key.equals("createIndexes") || key.equals("commitIndexBuild") {
      effect = .collection(.createIndexes, name: try Self.collection(first))
    } else if key.equals("dropIndexes") || key.equals("deleteIndexes") || key.equals("dropIndex")
      || key.equals("deleteIndex")
    {
      effect = .collection(.dropIndexes, name: try Self.collection(first))
    } else if key.equals("collMod") {
      effect = .collection(.modify, name: try Self.collection(first))
    } else if Self.hasNoEffect(key) {
      effect = .none
    } else if key.equals("truncateRange") {
      // Removes documents from system collections, e.g. pre-images.
      let truncated = try Namespace(try first.requireString("o.truncateRange"))
      guard truncated.scope == .server else { throw Self.unknown(key) }
      effect = .none
    } else if key.equals("commitTransaction") {
      // Inside a list of operations; an entry's own is handled before.
      throw OplogError(.unsupportedTransaction(.contradictory))
    } else {
      throw Self.unknown(key)
    }
  }

  /// An aborted transaction was never visible (a named one is handled before), index builds have their
  /// event when they commit, `dbCheck` compares members, and database metadata (8.0 and later) belongs
  /// to the sharding catalog.
  private static func hasNoEffect(_ key: UnsafeRawBufferPointer) -> Bool {
    key.equals("startIndexBuild") || key.equals("abortIndexBuild")
      || key.equals("abortTransaction") || key.equals("dbCheck")
      || key.equals("createDatabaseMetadata") || key.equals("dropDatabaseMetadata")
  }

  private static func unknown(_ key: UnsafeRawBufferPointer) -> OplogError {
    OplogError(.unknownCommand(String(decoding: key, as: UTF8.self)))
  }

  /// The command's value: a collection name without the database.
  private static func collection(
    _ element: BSONElement
  ) throws(OplogError) -> UnsafeRawBufferPointer {
    guard element.type == .string, let name = element.string else {
      let command = String(decoding: element.key, as: UTF8.self)
      throw OplogError(.wrongType(field: "o.\(command)", found: element.type))
    }
    return name
  }

  /// `{renameCollection: <from>, to: <to>, dropTarget: <UUID or bool, if the target existed>}`,
  /// both names with the database.
  private static func rename(
    _ first: BSONElement, _ rest: BSONElements
  ) throws(OplogError) -> Rename {
    let from = try Namespace(try collection(first))
    var to: Namespace?
    var dropsTarget = false
    var droppedUUID: UnsafeRawBufferPointer?
    var walk = rest
    while let element = try walk.nextElement() {
      if element.key.equals("to") {
        to = try Namespace(try element.requireString("o.to"))
      } else if element.key.equals("dropTarget") {
        if let flag = element.bool {
          dropsTarget = flag
        } else {
          dropsTarget = true
          droppedUUID = try element.requireUUID("o.dropTarget")
        }
      }
    }
    guard let to else { throw OplogError(.missingField("o.to")) }
    return Rename(from: from, to: to, dropsTarget: dropsTarget, droppedUUID: droppedUUID)
  }
}
