import BSON

/// The details of a command, as in change streams of 6.0 and later with `showExpandedEvents`
/// (`operationDescription` and `stateBeforeChange`).
struct OperationDescription: ~Copyable {
  /// A larger buffer is released after use: a validator may be large.
  private static var keptSize: Int { 1 << 20 }
  private static var initialSize: Int { 512 }

  private var writer = ByteWriter(capacity: initialSize)

  init() {}

  /// The views are valid until the next call.
  mutating func describe(
    _ operation: Operation
  ) throws(OplogError) -> (description: BSONView?, stateBefore: BSONView?) {
    let object = try operation.requireObject()
    var walk = object.elements()
    guard let command = try walk.nextElement() else { return (nil, nil) }
    let name = command.key
    start()
    if name.equals("createIndexes") {
      try writeIndexes(walk)
    } else if name.equals("commitIndexBuild") {
      guard let indexes = try object.element("indexes") else { return (nil, nil) }
      let whole = writer.beginDocument()
      writer.append(element: indexes)
      writer.endDocument(whole)
    } else if name.equals("renameCollection") {
      try writeRename(walk)
    } else if name.equals("create") {
      try writeRest(walk)
    } else if name.equals("collMod") {
      try writeRest(walk)
      return try withState(operation.object2)
    } else if name.equals("drop") {
      return (nil, nil)
    } else {
      // `dropIndexes` under any of its names: `o2` is the dropped index.
      guard let index = operation.object2 else { return (nil, nil) }
      try writeIndexes(index.elements())
    }
    return (try BSONView(written: writer.bytes), nil)
  }

  /// A view's definition, or nil if `object` has only its changes. Valid until the next call.
  mutating func describe(view object: BSONView) throws(OplogError) -> BSONView? {
    guard try object.element("_id") != nil else { return nil }
    start()
    let whole = writer.beginDocument()
    var walk = object.elements()
    while let element = try walk.nextElement() {
      if !element.key.equals("_id") { writer.append(element: element) }
    }
    writer.endDocument(whole)
    return try BSONView(written: writer.bytes)
  }

  private mutating func start() {
    if writer.count > Self.keptSize { writer = ByteWriter(capacity: Self.initialSize) }
    writer.removeAll()
  }

  /// Everything after the command's name.
  private mutating func writeRest(_ rest: BSONElements) throws(OplogError) {
    let whole = writer.beginDocument()
    var walk = rest
    while let element = try walk.nextElement() { writer.append(element: element) }
    writer.endDocument(whole)
  }

  /// `{indexes: [<one index>]}`
  private mutating func writeIndexes(_ index: BSONElements) throws(OplogError) {
    let whole = writer.beginDocument()
    let list = writer.beginArray(key: "indexes")
    let item = writer.beginDocument(index: 0)
    var walk = index
    while let element = try walk.nextElement() { writer.append(element: element) }
    writer.endDocument(item)
    writer.endDocument(list)
    writer.endDocument(whole)
  }

  /// `{to: {db, coll}, dropTarget}` without `stayTemp`, which is internal to the server.
  private mutating func writeRename(_ rest: BSONElements) throws(OplogError) {
    let whole = writer.beginDocument()
    var walk = rest
    while let element = try walk.nextElement() {
      if element.key.equals("to") {
        let to = try Namespace(try element.requireString("o.to"))
        let target = writer.beginDocument(key: "to")
        writer.append(
          key: "db", string: UnsafeRawBufferPointer(rebasing: to.bytes[..<to.databaseLength]))
        writer.append(
          key: "coll",
          string: UnsafeRawBufferPointer(rebasing: to.bytes[(to.databaseLength + 1)...]))
        writer.endDocument(target)
      } else if !element.key.equals("stayTemp") {
        writer.append(element: element)
      }
    }
    writer.endDocument(whole)
  }

  /// The description written so far, and `{collectionOptions, indexOptions}` of `old`, a `collMod`'s `o2`.
  private mutating func withState(
    _ old: BSONView?
  ) throws(OplogError) -> (description: BSONView?, stateBefore: BSONView?) {
    guard let old else { return (try BSONView(written: writer.bytes), nil) }
    let start = writer.count
    let whole = writer.beginDocument()
    if let options = try old.element("collectionOptions_old") {
      writer.append(element: options, key: "collectionOptions")
    }
    if let options = try old.element("indexOptions_old") {
      writer.append(element: options, key: "indexOptions")
    }
    writer.endDocument(whole)
    let bytes = writer.bytes
    return (
      try BSONView(written: bytes),
      try BSONView(written: UnsafeRawBufferPointer(rebasing: bytes[start...]))
    )
  }
}
