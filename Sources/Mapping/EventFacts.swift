import BSON
import Oplog

/// The facts of a change event that `exclude` may leave out.
struct EventFacts: OptionSet {
  var rawValue: UInt8
  static let clusterTime = EventFacts(rawValue: 1)
  static let wallTime = EventFacts(rawValue: 2)
  static let namespace = EventFacts(rawValue: 4)
  static let txnNumber = EventFacts(rawValue: 8)
  static let lsid = EventFacts(rawValue: 16)
  static let collectionUUID = EventFacts(rawValue: 32)
  static let all = EventFacts(rawValue: 63)

  init(rawValue: UInt8) { self.rawValue = rawValue }

  init?(path: String) {
    switch path {
    case "clusterTime": self = .clusterTime
    case "wallTime": self = .wallTime
    case "ns": self = .namespace
    case "txnNumber": self = .txnNumber
    case "lsid": self = .lsid
    case "collectionUUID": self = .collectionUUID
    default: return nil
    }
  }
}

// Facts as JSON members.
extension ByteWriter {
  /// From the opening brace to `ns` (and `to`, of a rename).
  mutating func append(
    factsBefore event: borrowing ChangeEvent, _ facts: EventFacts, style: JSONStyle
  ) throws(BSONError) {
    append("{\"operationType\":\"")
    append(event.operation.name)
    append(UInt8(ascii: "\""))
    if facts.contains(.clusterTime) {
      append(",\"clusterTime\":")
      let value = Int64(bitPattern: event.position.entry.value)
      try append(json: .timestamp, value, style: style)
    }
    if facts.contains(.wallTime), let wallTime = event.wallTime {
      append(",\"wallTime\":")
      try append(json: .date, wallTime, style: style)
    }
    if facts.contains(.namespace) {
      append(",\"ns\":{\"db\":")
      try appendJSONString(event.database)
      if !event.collection.isEmpty {
        append(",\"coll\":")
        try appendJSONString(event.collection)
      }
      append(UInt8(ascii: "}"))
      if let to = event.to { try append(renamedTo: to) }
    }
  }

  /// Of a rename, the new name in the form of `ns`.
  private mutating func append(renamedTo name: UnsafeRawBufferPointer) throws(BSONError) {
    let dot = name.firstIndex(of: UInt8(ascii: ".")) ?? name.count
    append(",\"to\":{\"db\":")
    try appendJSONString(UnsafeRawBufferPointer(rebasing: name[..<dot]))
    if dot < name.count {
      append(",\"coll\":")
      try appendJSONString(UnsafeRawBufferPointer(rebasing: name[(dot + 1)...]))
    }
    append(UInt8(ascii: "}"))
  }

  /// From behind the documents to before the closing brace.
  mutating func append(
    factsAfter event: borrowing ChangeEvent, _ facts: EventFacts, style: JSONStyle
  ) throws(BSONError) {
    if facts.contains(.txnNumber), let txnNumber = event.txnNumber {
      append(",\"txnNumber\":")
      try append(json: .int64, txnNumber, style: style)
    }
    if facts.contains(.lsid), let lsid = event.lsid {
      append(",\"lsid\":")
      try appendJSON(lsid, style: style)
    }
    if facts.contains(.collectionUUID), let uuid = event.collectionUUID, uuid.count == 16 {
      append(",\"collectionUUID\":")
      try append(jsonUUID: uuid, style: style)
    }
  }

  /// A value of eight bytes that the event has decoded, written by the same writer as all others.
  private mutating func append(
    json type: BSONType, _ value: Int64, style: JSONStyle
  ) throws(BSONError) {
    var storage = value.littleEndian
    try withUnsafeBytes(of: &storage) { (bytes) throws(BSONError) in
      try appendJSON(
        value: BSONElement(type: type, key: rawBytes(""), value: bytes), style: style)
    }
  }

  private mutating func append(
    jsonUUID uuid: UnsafeRawBufferPointer, style: JSONStyle
  ) throws(BSONError) {
    // A BSON binary: length, subtype 4 (UUID), bytes.
    var storage: (UInt64, UInt64, UInt64) = (0, 0, 0)
    try withUnsafeMutableBytes(of: &storage) { (bytes) throws(BSONError) in
      bytes.storeBytes(of: Int32(16).littleEndian, as: Int32.self)
      bytes[4] = 4
      for n in 0..<16 { bytes[5 + n] = uuid[n] }
      let value = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[..<21])
      try appendJSON(
        value: BSONElement(type: .binary, key: rawBytes(""), value: value), style: style)
    }
  }
}

/// The literal's bytes, which live as long as the program.
@inline(__always)
func rawBytes(_ literal: StaticString) -> UnsafeRawBufferPointer {
  UnsafeRawBufferPointer(start: literal.utf8Start, count: literal.utf8CodeUnitCount)
}
