import BSON
import CLibMongoC
import Foundation
import Oplog
import Testing

/// BSON that libbson built from Extended JSON, independent of the code under test. `view` points into
/// libbson's memory at `pointer`, which lives as long as this object.
final class Document {
  private let pointer: OpaquePointer
  private let view: BSONView

  struct NotJSON: Error { var text: String }

  init(_ json: String) throws {
    var json = json
    let parsed = json.withUTF8 { bson_new_from_json($0.baseAddress, $0.count, nil) }
    guard let parsed, let data = bson_get_data(parsed) else { throw NotJSON(text: json) }
    pointer = parsed
    // The first four bytes are the length.
    let head = UnsafeRawBufferPointer(start: data, count: 4)
    view = try BSONView(UnsafeRawBufferPointer(start: data, count: Int(head.readInt32(at: 0))))
  }

  deinit { bson_destroy(pointer) }

  /// The view is valid only within `body`: a `let` would not keep the document until its scope ends.
  func use<R>(_ body: (BSONView) throws -> R) rethrows -> R {
    try withExtendedLifetime(self) { try body(view) }
  }

  var bytes: [UInt8] { use { Array($0.bytes) } }
}

/// Canonical Extended JSON by libbson.
func canonicalJSON(_ bytes: [UInt8]) -> String {
  let copy = bytes.withUnsafeBufferPointer { bson_new_from_data($0.baseAddress, $0.count) }
  guard let copy else { return "not BSON: \(bytes)" }
  defer { bson_destroy(copy) }
  guard let text = bson_as_canonical_extended_json(copy, nil) else { return "not BSON: \(bytes)" }
  defer { bson_free(text) }
  return String(cString: text)
}

/// Reads the lines of a file of captured data: canonical Extended JSON, one object per line.
func fixture(_ name: String, _ body: (BSONView) throws -> Void) throws {
  let url = try #require(
    Bundle.module.url(forResource: name, withExtension: "jsonl", subdirectory: "Fixtures"))
  for line in try String(contentsOf: url, encoding: .utf8).split(separator: "\n") {
    try Document(String(line)).use(body)
  }
}

extension BSONView {
  /// All elements; throws on invalid BSON.
  func list() throws -> [BSONElement] {
    var result: [BSONElement] = []
    var walk = elements()
    while let element = try walk.next() { result.append(element) }
    return result
  }

  func text(_ key: StaticString) throws -> String? {
    try first(key)?.string.map { String(decoding: $0, as: UTF8.self) }
  }

  func documents(in key: StaticString) throws -> [BSONView] {
    try first(key)?.document?.list().compactMap(\.document) ?? []
  }
}

/// A change event copied from its views, to keep and compare.
struct Event: Equatable, CustomStringConvertible {
  var operation = ""
  var namespace = ""
  var to: String?
  var documentKey: [UInt8]?
  var fullDocument: [UInt8]?
  var updateDescription: [UInt8]?
  var operationDescription: [UInt8]?
  var stateBeforeChange: [UInt8]?
  var position = EventPosition(entry: OplogPosition(seconds: 0, increment: 0), index: 0)
  var wallTime: Int64?
  var lsid: [UInt8]?
  var txnNumber: Int64?
  var collectionUUID: [UInt8]?
  var isOversized = false

  init(_ event: ChangeEvent) {
    isOversized = event.isOversized
    operation = event.operation.name.description
    namespace = String(decoding: event.database, as: UTF8.self)
    if !event.collection.isEmpty {
      namespace += "." + String(decoding: event.collection, as: UTF8.self)
    }
    to = event.to.map { String(decoding: $0, as: UTF8.self) }
    documentKey = event.documentKey.map { Array($0.bytes) }
    fullDocument = event.fullDocument.map { Array($0.bytes) }
    updateDescription = event.updateDescription.map { Array($0.bytes) }
    operationDescription = event.operationDescription.map { Array($0.bytes) }
    stateBeforeChange = event.stateBeforeChange.map { Array($0.bytes) }
    position = event.position
    wallTime = event.wallTime
    lsid = event.lsid.map { Array($0.bytes) }
    txnNumber = event.txnNumber
    collectionUUID = event.collectionUUID.map { Array($0) }
  }

  /// A server's change event.
  init(server event: BSONView) throws {
    operation = try #require(try event.text("operationType"))
    namespace = try Self.name(event, "ns") ?? ""
    to = try Self.name(event, "to")
    documentKey = try event.first("documentKey")?.document.map { Array($0.bytes) }
    fullDocument = try event.first("fullDocument")?.document.map { Array($0.bytes) }
    updateDescription = try event.first("updateDescription")?.document.map { Array($0.bytes) }
    operationDescription = try event.first("operationDescription")?.document.map {
      Array($0.bytes)
    }
    stateBeforeChange = try event.first("stateBeforeChange")?.document.map { Array($0.bytes) }
    let time = try #require(try event.first("clusterTime")?.timestamp)
    position.entry = OplogPosition(seconds: time.seconds, increment: time.increment)
    wallTime = try event.first("wallTime")?.date
    lsid = try event.first("lsid")?.document.map { Array($0.bytes) }
    txnNumber = try event.first("txnNumber")?.integer
    collectionUUID = try event.first("collectionUUID")?.binary.map { Array($0.bytes) }
  }

  private static func name(_ event: BSONView, _ key: StaticString) throws -> String? {
    guard let name = try event.first(key)?.document else { return nil }
    let database = try #require(try name.text("db"))
    return try name.text("coll").map { "\(database).\($0)" } ?? database
  }

  var description: String {
    var parts = ["\(position) \(operation) \(namespace)"]
    if let to { parts.append("to \(to)") }
    for (name, bytes) in [
      ("key", documentKey), ("full", fullDocument), ("update", updateDescription),
      ("operation", operationDescription), ("before", stateBeforeChange), ("lsid", lsid),
    ] {
      if let bytes { parts.append("\(name) \(canonicalJSON(bytes))") }
    }
    if let txnNumber { parts.append("txn \(txnNumber)") }
    return parts.joined(separator: ", ")
  }
}

extension OplogDecoder {
  /// All events of an entry.
  mutating func events(of entry: BSONView) throws(OplogError) -> [Event] {
    _ = try begin(entry)
    var events: [Event] = []
    while let event = try next() { events.append(Event(event)) }
    return events
  }

  mutating func events(_ json: String) throws -> [Event] {
    try Document(json).use { try events(of: $0) }
  }
}

/// The positions of the tests' entries, which differ by whole seconds.
func place(_ seconds: UInt32) -> OplogPosition { OplogPosition(seconds: seconds, increment: 1) }

/// The entries of one transaction, as JSON. `at` is an entry's position, `after` that of the entry it is
/// linked to (0: none), and each operation inserts a document with one of the `ids`.
struct Transaction {
  var session = "s"
  var number = 1
  var term = 1

  func entry(_ at: Int, after: Int, _ o: String) -> String {
    head(at) + #""lsid":\#(lsid),"txnNumber":{"$numberLong":"\#(number)"},"#
      + #""prevOpTime":\#(Self.link(after)),"o":\#(o)}"#
  }

  func head(_ at: Int) -> String {
    #"{"ts":{"$timestamp":{"t":\#(at),"i":1}},"t":{"$numberLong":"\#(term)"},"#
      + #""wall":{"$date":{"$numberLong":"\#(at)000"}},"op":"c","ns":"admin.$cmd","#
  }

  var lsid: String { #"{"id":"\#(session)"}"# }

  static func link(_ after: Int) -> String {
    #"{"ts":{"$timestamp":{"t":\#(after),"i":\#(after == 0 ? 0 : 1)}},"#
      + #""t":{"$numberLong":"\#(after == 0 ? -1 : 1)"}}"#
  }

  static func operations(_ ids: [Int]) -> String {
    let operations = ids.map {
      #"{"op":"i","ns":"a.b","o":{"_id":\#($0)},"o2":{"_id":\#($0)}}"#
    }
    return #""applyOps":[\#(operations.joined(separator: ","))]"#
  }

  func part(_ at: Int, after: Int = 0, _ ids: Int...) -> String {
    entry(at, after: after, #"{\#(Self.operations(ids)),"partialTxn":true}"#)
  }

  func prepare(_ at: Int, after: Int = 0, _ ids: Int...) -> String {
    entry(at, after: after, #"{\#(Self.operations(ids)),"prepare":true}"#)
  }

  func last(_ at: Int, after: Int, _ ids: Int...) -> String {
    entry(at, after: after, #"{\#(Self.operations(ids)),"count":{"$numberLong":"\#(ids.count)"}}"#)
  }

  func whole(_ at: Int, _ ids: Int...) -> String {
    entry(at, after: 0, "{\(Self.operations(ids))}")
  }

  func commit(_ at: Int, after: Int) -> String {
    let time = #"{"$timestamp":{"t":\#(after),"i":1}}"#
    return entry(at, after: after, #"{"commitTransaction":1,"commitTimestamp":\#(time)}"#)
  }

  func abort(_ at: Int, after: Int) -> String {
    entry(at, after: after, #"{"abortTransaction":1}"#)
  }

  /// A retryable write in the same session, with the same number.
  func write(_ at: Int, _ id: Int) -> String {
    #"{"ts":{"$timestamp":{"t":\#(at),"i":1}},"t":{"$numberLong":"\#(term)"},"op":"d","ns":"a.b","#
      + #""o":{"_id":\#(id)},"lsid":\#(lsid),"txnNumber":{"$numberLong":"\#(number)"},"stmtId":0,"#
      + #""prevOpTime":\#(Self.link(0))}"#
  }
}

/// The events of a JSON entry, by a new decoder.
func events(_ json: String) throws -> [Event] {
  var decoder = OplogDecoder()
  return try decoder.events(json)
}

/// The common fields of all test entries.
let head = #""ts":{"$timestamp":{"t":7,"i":3}},"t":{"$numberLong":"1"},"v":{"$numberLong":"2"}"#

/// The error of an entry, by a new decoder.
func reason(_ json: String) -> OplogError.Reason? {
  var decoder = OplogDecoder()
  return reason(json, &decoder)
}

func reason(_ json: String, _ decoder: inout OplogDecoder) -> OplogError.Reason? {
  do {
    let all = try decoder.events(json)
    Issue.record("no error, but \(all)")
    return nil
  } catch let error as OplogError {
    #expect(error.position != nil)
    return error.reason
  } catch {
    Issue.record(error)
    return nil
  }
}

/// The keys of documents that `Transaction` inserts.
func keys(_ ids: Int...) throws -> [[UInt8]?] {
  try ids.map { try Document(#"{"_id":\#($0)}"#).bytes }
}

func keys(of events: [Event]) -> [[UInt8]?] { events.map(\.documentKey) }
