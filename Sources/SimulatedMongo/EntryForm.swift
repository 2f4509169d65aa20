import BSON
import Oplog

/// A collection of a `SimulatedReplicaSet`.
public struct CollectionID: Hashable, Sendable {
  var number: Int
}

struct CollectionState {
  var database: String
  var name: String
  /// The elements `ns` and `ui`, as operations have them.
  var place: [UInt8]
  var uuid: [UInt8]

  init(_ database: String, _ name: String, uuid: [UInt8]) {
    self.database = database
    self.name = name
    self.uuid = uuid
    place = EntryForm.place("\(database).\(name)", uuid)
  }
}

/// A client's session, which numbers its transactions and retryable writes.
public struct SessionID: Hashable, Sendable {
  var number: Int
}

struct SessionState {
  /// The element `lsid`.
  var lsid: [UInt8]
  var transactionNumber: Int64 = 0
}

/// A document's `_id`.
public enum DocumentKey: Hashable, Sendable {
  case int32(Int32)
  case int64(Int64)
  case string(String)
}

/// A change of one document.
public struct DocumentChange: Sendable {
  public enum Kind: UInt8, Sendable, CaseIterable {
    case insert
    /// Sets `n`.
    case update
    case replace
    case delete
  }

  public var kind: Kind
  public var collection: CollectionID
  public var key: DocumentKey
  /// The document's field `n`.
  public var value: Int64
  /// Its field `s` has so many letters; 0: there is none.
  public var padding: Int
  /// Elements of BSON that follow in the document, or that the update inserts.
  public var more: [UInt8]

  public init(
    _ kind: Kind, _ collection: CollectionID, _ key: DocumentKey, value: Int64 = 0,
    padding: Int = 0,
    more: [UInt8] = []
  ) {
    self.kind = kind
    self.collection = collection
    self.key = key
    self.value = value
    self.padding = padding
    self.more = more
  }
}

/// The parts of entries, in the form and order of MongoDB 6.0.
enum EntryForm {
  static func noop(_ writer: inout ByteWriter, _ message: StaticString) {
    writer.append(key: "op", string: "n")
    writer.append(key: "ns", string: "")
    let object = writer.beginDocument(key: "o")
    writer.append(key: "msg", string: message)
    writer.endDocument(object)
  }

  static func change(_ writer: inout ByteWriter, _ change: DocumentChange, in place: [UInt8]) {
    switch change.kind {
    case .insert: writer.append(key: "op", string: "i")
    case .update, .replace: writer.append(key: "op", string: "u")
    case .delete: writer.append(key: "op", string: "d")
    }
    writer.append(place)
    let object = writer.beginDocument(key: "o")
    switch change.kind {
    case .insert, .replace:
      key(&writer, change.key)
      value(&writer, change)
      writer.append(change.more)
    case .update:
      writer.append(key: "$v", int32: 2)
      let diff = writer.beginDocument(key: "diff")
      let set = writer.beginDocument(key: "u")
      value(&writer, change)
      writer.endDocument(set)
      if !change.more.isEmpty {
        let new = writer.beginDocument(key: "i")
        writer.append(change.more)
        writer.endDocument(new)
      }
      writer.endDocument(diff)
    case .delete: key(&writer, change.key)
    }
    writer.endDocument(object)
    guard change.kind != .delete else { return }
    let documentKey = writer.beginDocument(key: "o2")
    key(&writer, change.key)
    writer.endDocument(documentKey)
  }

  private static func key(_ writer: inout ByteWriter, _ key: DocumentKey) {
    switch key {
    case .int32(let value): writer.append(key: "_id", int32: value)
    case .int64(let value): writer.append(key: "_id", int64: value)
    case .string(var text): text.withUTF8 { writer.append(key: "_id", string: .init($0)) }
    }
  }

  private static func value(_ writer: inout ByteWriter, _ change: DocumentChange) {
    writer.append(key: "n", int64: change.value)
    guard change.padding > 0 else { return }
    writer.appendHeader(.string, key: StaticString("s").utf8)
    writer.append(littleEndian: Int32(change.padding + 1))
    _ = writer.appendPlaceholder(change.padding, fill: UInt8(ascii: "x"))
    writer.append(0 as UInt8)
  }

  /// `lsid` and `txnNumber`.
  static func session(_ writer: inout ByteWriter, _ lsid: [UInt8], _ number: Int64) {
    writer.append(lsid)
    writer.append(key: "txnNumber", int64: number)
  }

  static func link(_ writer: inout ByteWriter, to previous: OpTime) {
    let link = writer.beginDocument(key: "prevOpTime")
    writer.append(
      key: "ts", timestamp: previous.position.seconds, increment: previous.position.increment)
    writer.append(key: "t", int64: previous.term)
    writer.endDocument(link)
  }

  /// What the first entry of a transaction is linked to.
  static let noLink = OpTime(position: OplogPosition(seconds: 0, increment: 0), term: -1)

  // MARK: Encoded once

  static func place(_ namespace: String, _ uuid: [UInt8]) -> [UInt8] {
    elements { writer in
      var namespace = namespace
      namespace.withUTF8 { writer.append(key: "ns", string: .init($0)) }
      binary(&writer, "ui", subtype: 4, uuid)
    }
  }

  static func lsid(_ uuid: [UInt8], user: [UInt8]) -> [UInt8] {
    elements { writer in
      let session = writer.beginDocument(key: "lsid")
      binary(&writer, "id", subtype: 4, uuid)
      binary(&writer, "uid", subtype: 0, user)
      writer.endDocument(session)
    }
  }

  private static func elements(_ body: (inout ByteWriter) -> Void) -> [UInt8] {
    var writer = ByteWriter(capacity: 128)
    body(&writer)
    return [UInt8](writer.bytes)
  }

  private static func binary(
    _ writer: inout ByteWriter, _ key: StaticString, subtype: UInt8, _ bytes: [UInt8]
  ) {
    writer.appendHeader(.binary, key: key.utf8)
    writer.append(littleEndian: Int32(bytes.count))
    writer.append(subtype)
    writer.append(bytes)
  }

  static func command(
    _ writer: inout ByteWriter, _ collection: CollectionState,
    _ object: (inout ByteWriter) -> Void
  ) {
    writer.append(key: "op", string: "c")
    writer.append(place("\(collection.database).$cmd", collection.uuid))
    let mark = writer.beginDocument(key: "o")
    object(&writer)
    writer.endDocument(mark)
  }
}
