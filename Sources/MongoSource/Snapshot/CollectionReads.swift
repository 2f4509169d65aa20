internal import BSON
internal import CMongoC
internal import Oplog

/// The state of a collection that a read returns.
enum CollectionView {
  /// The state at exactly this cluster time: from 5.0 on, while the server keeps that history.
  case clusterTime(OplogPosition)
  /// The current state, at or after this cluster time.
  case latest(majority: Bool, notBefore: OplogPosition)

  fileprivate func write(into command: inout ByteWriter) {
    let concern = command.beginDocument(key: "readConcern")
    switch self {
    case .clusterTime(let time):
      command.append(key: "level", string: "snapshot")
      command.append(
        key: "atClusterTime", timestamp: time.seconds, increment: time.increment)
    case .latest(let majority, let time):
      command.append(key: "level", string: majority ? "majority" : "local")
      command.append(
        key: "afterClusterTime", timestamp: time.seconds, increment: time.increment)
    }
    command.endDocument(concern)
  }
}

/// A `find` on a collection.
struct CollectionFind {
  var database: String
  var name: [UInt8]
  /// 16 bytes. Servers from 6.0 on refuse (361) if the name belongs to another collection.
  var uuid: [UInt8]?
  var view: CollectionView
  /// Documents requested in the first reply.
  var batchSize: Int

  /// - Parameter rest: writes filter, sort and so on.
  func write(into command: inout ByteWriter, _ rest: (inout ByteWriter) -> Void) {
    command.removeAll()
    let document = command.beginDocument()
    name.withUnsafeBytes { command.append(key: "find", string: $0) }
    rest(&command)
    command.append(key: "batchSize", int32: Int32(clamping: batchSize))
    view.write(into: &command)
    if let uuid { command.append(key: "collectionUUID", uuid: uuid) }
    command.endDocument(document)
  }

  /// For error messages.
  var place: String { "find on \(database).\(String(decoding: name, as: UTF8.self))" }
}

extension ByteWriter {
  mutating func append(key: StaticString, uuid: [UInt8]) {
    appendHeader(
      .binary, key: UnsafeRawBufferPointer(start: key.utf8Start, count: key.utf8CodeUnitCount))
    append(littleEndian: Int32(uuid.count))
    append(4 as UInt8)
    append(uuid)
  }

  /// - Parameter identity: an `_id` as type byte and value.
  mutating func append(index: Int, identity: [UInt8]) {
    guard let tag = identity.first, let type = BSONType(rawValue: tag) else { return }
    appendHeader(type, index: index)
    identity.withUnsafeBytes { append(UnsafeRawBufferPointer(rebasing: $0.dropFirst())) }
  }
}

extension MongoConnection {
  /// Runs the BSON command in `command`.
  func run(
    _ command: borrowing ByteWriter, database: String, on server: Server, place: String
  ) throws(MongoError) -> MongoReply {
    let bytes = command.bytes
    let copy = bytes.withMemoryRebound(to: UInt8.self) { bytes in
      bytes.baseAddress.flatMap { tailrace_command_from($0, UInt32(bytes.count)) }
    }
    guard let copy else {
      throw MongoError(
        domain: .client, message: "a command of \(bytes.count) bytes can't be sent", place: place,
        isTransient: false)
    }
    return try run(copy, database: database, on: server, place: place)
  }

  /// A reply with documents, and the cursor for the rest. `reply` points into `bytes`, so its views are
  /// used only while those are alive: inside `decode`, or by code that keeps `bytes`.
  struct Page {
    var bytes: MongoReply
    var reply: CursorReply

    /// Runs `body` on the array of documents.
    func decode<T>(
      _ place: String, _ body: (BSONView) throws(BSONError) -> T
    ) throws(MongoError) -> T {
      defer { withExtendedLifetime(bytes) {} }
      return try MongoConnection.decode(place) { () throws(BSONError) in
        try body(reply.documents)
      }
    }
  }

  func page(
    _ command: borrowing ByteWriter, database: String, on server: Server, place: String
  ) throws(MongoError) -> Page {
    let bytes = try run(command, database: database, on: server, place: place)
    do {
      return Page(bytes: bytes, reply: try CursorReply(bytes.bytes))
    } catch {
      throw MongoError(
        domain: .reply, message: error.description, place: place, isTransient: true)
    }
  }

  /// The next documents of a cursor opened with `page`.
  func next(
    _ cursor: Int64, of name: [UInt8], database: String, batchSize: Int, on server: Server,
    place: String
  ) throws(MongoError) -> Page {
    var command = ByteWriter(capacity: 256)
    let document = command.beginDocument()
    command.append(key: "getMore", int64: cursor)
    name.withUnsafeBytes { command.append(key: "collection", string: $0) }
    command.append(key: "batchSize", int32: Int32(clamping: batchSize))
    command.endDocument(document)
    return try page(command, database: database, on: server, place: place)
  }

  /// Frees a cursor before its end. Best effort: the server drops an idle cursor by itself.
  func kill(_ cursor: Int64, of name: [UInt8], database: String, on server: Server) {
    var command = ByteWriter(capacity: 256)
    let document = command.beginDocument()
    name.withUnsafeBytes { command.append(key: "killCursors", string: $0) }
    let list = command.beginArray(key: "cursors")
    command.appendHeader(.int64, index: 0)
    command.append(littleEndian: cursor)
    command.endDocument(list)
    command.endDocument(document)
    _ = try? run(command, database: database, on: server, place: "killCursors")
  }

  /// The collection's current name within its database; nil if it no longer exists.
  func name(
    of uuid: [UInt8], database: String, on server: Server
  ) throws(MongoError) -> [UInt8]? {
    var command = ByteWriter(capacity: 256)
    let document = command.beginDocument()
    command.append(key: "listCollections", int32: 1)
    let filter = command.beginDocument(key: "filter")
    command.append(key: "info.uuid", uuid: uuid)
    command.endDocument(filter)
    command.endDocument(document)
    let place = "listCollections on \(database)"
    let page = try page(command, database: database, on: server, place: place)
    return try page.decode(place) { documents throws(BSONError) in
      var walk = documents.elements()
      guard let found = try walk.next() else { return nil }
      return try BSONView(found.value).first("name")?.string.map(Array.init)
    }
  }
}
