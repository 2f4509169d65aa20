internal import BSON
internal import Oplog

/// One page of a collection, and the command that requests it.
struct SnapshotPage {
  var page: MongoConnection.Page
  var count = 0
  var byteCount = 0
  /// `_id` of the last document.
  var last: [UInt8]?

  init(_ page: MongoConnection.Page) throws(BSONError) {
    self.page = page
    var walk = page.reply.documents.elements()
    var latest: BSONView?
    while let element = try walk.next() {
      guard let document = element.document else { continue }
      count += 1
      byteCount += document.bytes.count
      latest = document
    }
    last = try latest?.first("_id")?.identity
  }

  /// Continues after the last document by the index on `_id`: a comparison in a filter finds only ids of
  /// the same type. `min` includes that document if it still exists.
  static func write(
    _ state: SnapshotState, _ find: CollectionFind, into command: inout ByteWriter
  ) {
    find.write(into: &command) { command in
      let filter = command.beginDocument(key: "filter")
      if state.segment == .greatest {
        command.appendElement(type: .maxKey, key: "_id")
      } else if let last = state.lastID {
        if state.lacksIndex {
          writeComparison(last, into: &command)
        } else {
          let id = command.beginDocument(key: "_id")
          command.append(key: "$ne", identity: last)
          command.endDocument(id)
        }
      }
      command.endDocument(filter)
      let sort = command.beginDocument(key: "sort")
      command.append(key: "_id", int32: 1)
      command.endDocument(sort)
      if state.segment == .range, !state.lacksIndex {
        let hint = command.beginDocument(key: "hint")
        command.append(key: "_id", int32: 1)
        command.endDocument(hint)
        if let last = state.lastID {
          let min = command.beginDocument(key: "min")
          command.append(key: "_id", identity: last)
          command.endDocument(min)
        }
      }
      command.append(key: "limit", int64: Int64(state.limit))
    }
  }

  /// `{$expr: {$gt: ["$_id", …]}}` compares across types, but may scan all documents.
  private static func writeComparison(_ last: [UInt8], into command: inout ByteWriter) {
    let expression = command.beginDocument(key: "$expr")
    let comparison = command.beginArray(key: "$gt")
    command.append(index: 0, string: "$_id")
    let literal = command.beginDocument(index: 1)
    command.append(key: "$literal", identity: last)
    command.endDocument(literal)
    command.endDocument(comparison)
    command.endDocument(expression)
  }
}

extension ByteWriter {
  mutating func append(key: StaticString, identity: [UInt8]) {
    guard let tag = identity.first, let type = BSONType(rawValue: tag) else { return }
    appendElement(type: type, key: key)
    identity.withUnsafeBytes { append(UnsafeRawBufferPointer(rebasing: $0.dropFirst())) }
  }

  /// The type and key of an element; the caller appends its value.
  fileprivate mutating func appendElement(type: BSONType, key: StaticString) {
    appendHeader(
      type, key: UnsafeRawBufferPointer(start: key.utf8Start, count: key.utf8CodeUnitCount))
  }
}
