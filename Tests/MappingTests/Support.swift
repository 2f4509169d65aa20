import BSON
import Mapping
import Oplog
import TestRandom

// MARK: Values

/// A BSON value as a test writes it.
indirect enum Value: Equatable, Sendable {
  case string(String)
  case int32(Int32)
  case int64(Int64)
  case double(Double)
  case bool(Bool)
  case null
  case objectID([UInt8])
  case date(Int64)
  case timestamp(UInt32, UInt32)
  case binary(UInt8, [UInt8])
  case regex(String, String)
  case raw(BSONType, [UInt8])
  case array([Value])
  case document([Field])

  struct Field: Equatable, Sendable {
    var key: String
    var value: Value
  }

  var type: BSONType {
    switch self {
    case .string: .string
    case .int32: .int32
    case .int64: .int64
    case .double: .double
    case .bool: .bool
    case .null: .null
    case .objectID: .objectID
    case .date: .date
    case .timestamp: .timestamp
    case .binary: .binary
    case .regex: .regex
    case .raw(let type, _): type
    case .array: .array
    case .document: .document
    }
  }

  var bytes: [UInt8] {
    switch self {
    case .string(let text): bytesOf(Int32(text.utf8.count + 1)) + Array(text.utf8) + [0]
    case .int32(let value): bytesOf(value)
    case .int64(let value), .date(let value): bytesOf(value)
    case .double(let value): bytesOf(value.bitPattern)
    case .bool(let value): [value ? 1 : 0]
    case .null: []
    case .objectID(let bytes): bytes
    case .timestamp(let seconds, let increment): bytesOf(increment) + bytesOf(seconds)
    case .binary(let subtype, let bytes): bytesOf(Int32(bytes.count)) + [subtype] + bytes
    case .regex(let pattern, let options): Array(pattern.utf8) + [0] + Array(options.utf8) + [0]
    case .raw(_, let bytes): bytes
    case .array(let values):
      Value.encode(values.enumerated().map { Field(key: "\($0)", value: $1) })
    case .document(let fields): Value.encode(fields)
    }
  }

  private static func encode(_ fields: [Field]) -> [UInt8] {
    var body: [UInt8] = []
    for field in fields {
      body.append(field.value.type.rawValue)
      body += Array(field.key.utf8) + [0] + field.value.bytes
    }
    return bytesOf(Int32(body.count + 5)) + body + [0]
  }
}

private func bytesOf(_ value: some FixedWidthInteger) -> [UInt8] {
  withUnsafeBytes(of: value.littleEndian) { Array($0) }
}

extension Value: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral,
  ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
  init(stringLiteral text: String) { self = .string(text) }
  init(integerLiteral value: Int32) { self = .int32(value) }
  init(booleanLiteral value: Bool) { self = .bool(value) }
  init(arrayLiteral values: Value...) { self = .array(values) }
  init(dictionaryLiteral fields: (String, Value)...) {
    self = .document(fields.map { Field(key: $0.0, value: $0.1) })
  }
}

let someObjectID = Value.objectID([
  0x56, 0xE1, 0xFC, 0x72, 0xE0, 0xC9, 0x17, 0xE9, 0xC4, 0x71, 0x41, 0x61,
])

// MARK: Events

/// A change event as a test writes it.
struct Change: Sendable {
  var operation = OperationType.insert
  var position = EventPosition(
    entry: OplogPosition(seconds: 1_732_360_000, increment: 42), index: 0)
  var namespace = "rocketchat.rocketchat_message"
  var documentKey: Value? = ["_id": "m1"]
  var fullDocument: Value?
  var updateDescription: Value?
  var wallTime: Int64? = 1_732_360_000_123
  var txnNumber: Int64?
  var lsid: Value?
  var collectionUUID: [UInt8]?
  var isOversized = false
  var isSnapshot = false
  var fullDocumentBeforeChange: Value?
  /// Of a rename.
  var to: String?
  var image: ImageKind?

  static func insert(_ document: Value, key: Value = ["_id": "m1"]) -> Change {
    Change(documentKey: key, fullDocument: document)
  }

  static func update(_ description: Value, key: Value = ["_id": "m1"]) -> Change {
    Change(operation: .update, documentKey: key, updateDescription: description)
  }

  static func delete(key: Value = ["_id": "m1"]) -> Change {
    Change(operation: .delete, documentKey: key)
  }

  /// Lends the event to `body`; its memory lives exactly as long as the call.
  func with<R>(_ body: (ChangeEvent) throws -> R) throws -> R {
    try Self.lend(Array(namespace.utf8)) { namespaceBytes in
      try Self.view(documentKey) { key in
        try Self.view(fullDocument) { document in
          try Self.view(updateDescription) { update in
            try Self.view(lsid) { lsid in
              try Self.lend(collectionUUID ?? []) { uuid in
                let database = namespace.utf8.firstIndex(of: UInt8(ascii: "."))
                  .map { namespace.utf8.distance(from: namespace.utf8.startIndex, to: $0) }
                var event = ChangeEvent(
                  operation: operation, position: position, namespace: namespaceBytes,
                  databaseLength: database ?? namespaceBytes.count, documentKey: key,
                  fullDocument: document, updateDescription: update, wallTime: wallTime,
                  txnNumber: txnNumber, lsid: lsid,
                  collectionUUID: collectionUUID == nil ? nil : uuid)
                event.isOversized = isOversized
                event.isSnapshot = isSnapshot
                event.image = image
                return try Self.view(fullDocumentBeforeChange) { before in
                  event.fullDocumentBeforeChange = before
                  guard let to else { return try body(event) }
                  return try Self.lend(Array(to.utf8)) { name in
                    event.to = name
                    return try body(event)
                  }
                }
              }
            }
          }
        }
      }
    }
  }

  private static func lend<R>(
    _ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) throws -> R
  ) rethrows -> R {
    try bytes.withUnsafeBytes { try body($0) }
  }

  private static func view<R>(_ value: Value?, _ body: (BSONView?) throws -> R) throws -> R {
    guard let value else { return try body(nil) }
    return try lend(value.bytes) { try body(try BSONView($0)) }
  }
}

// MARK: Mapping

func rule(
  _ subject: String = "x.{documentKey._id}", name: String = "r", namespace: String = "*.*",
  operations: OperationSet = OperationSet(rawValue: .max), continues: Bool = false,
  id: String? = nil, envelope: Envelope = .cloudEvents, json: JSONStyle = .simplified,
  include: [String] = [], exclude: [String] = [], eventType: String? = nil,
  dataSchema: String? = nil
) throws -> Rule {
  Rule(
    name: name, namespace: try NamespacePattern(parsing: namespace), operations: operations,
    continues: continues, subject: try Template(subject: subject),
    id: try id.map { .template(try Template(id: $0)) } ?? .positional, envelope: envelope,
    json: json,
    filter: PayloadFilter(
      include: try include.map { try PayloadFilter.Path(include: $0) },
      exclude: try exclude.map { try PayloadFilter.Path(exclude: $0) }),
    eventType: eventType, dataSchema: dataSchema)
}

/// What a mapper writes, as text; checks on the way that errors leave the buffer as it was.
struct Written {
  let rules: [Rule]
  let source: String

  init(_ rules: Rule..., source: String = "rs0") {
    self.rules = rules
    self.source = source
  }

  func subject(_ change: Change, rule: Int = 0) throws -> String {
    try write(change) { mapper, event, out throws(MappingError) in
      try mapper.writeSubject(rule: rule, event: event, into: &out)
    }
  }

  func headers(_ change: Change, rule: Int = 0, match: Int = 0) throws -> String {
    try write(change) { mapper, event, out throws(MappingError) in
      try mapper.writeHeaders(rule: rule, event: event, match: match, into: &out)
    }
  }

  func body(_ change: Change, rule: Int = 0) throws -> String {
    try write(change) { mapper, event, out throws(MappingError) in
      try mapper.writeBody(rule: rule, event: event, match: 0, into: &out)
    }
  }

  func id(_ change: Change, rule: Int = 0, match: Int = 0) throws -> String {
    try write(change) { mapper, event, out throws(MappingError) in
      try mapper.writeID(rule: rule, event: event, match: match, into: &out)
    }
  }

  func deadLetter(
    _ change: Change, rule: Int? = 0, match: Int = 0, error: MappingError,
    subject: String = "dlq.{rule}", limit: Int = .max
  ) throws -> (subject: String, headers: String, body: String) {
    let template = try DeadLetterSubject(parsing: subject)
    return try change.with { event in
      var mapper = Mapper(rules: rules, sourceName: source)
      var subject = ByteWriter()
      var headers = ByteWriter()
      var body = ByteWriter()
      mapper.writeDeadLetterSubject(
        template, rule: rule, event: event, error: error, into: &subject)
      mapper.writeDeadLetterHeaders(
        rule: rule, event: event, match: match, error: error, into: &headers)
      mapper.writeDeadLetterBody(event: event, limit: limit, into: &body)
      return (
        String(decoding: subject.bytes, as: UTF8.self),
        String(decoding: headers.bytes, as: UTF8.self),
        String(decoding: body.bytes, as: UTF8.self)
      )
    }
  }

  /// The rules that take the event, in order, as the pipeline asks for them.
  func matches(_ changes: Change...) throws -> [[Int]] {
    var mapper = Mapper(rules: rules, sourceName: source)
    var result: [[Int]] = []
    for change in changes {
      var found: [Int] = []
      var next = try change.with { mapper.firstMatch($0) }
      while let match = next {
        found.append(match.rule)
        next = try change.with { mapper.nextMatch($0, after: match) }
      }
      result.append(found)
    }
    return result
  }

  private func write(
    _ change: Change,
    _ body: (inout Mapper, ChangeEvent, inout ByteWriter) throws(MappingError) -> Void
  ) throws -> String {
    try change.with { event in
      var mapper = Mapper(rules: rules, sourceName: source)
      var out = ByteWriter()
      out.append("before")
      do throws(MappingError) {
        try body(&mapper, event, &out)
      } catch {
        guard String(decoding: out.bytes, as: UTF8.self) == "before" else { throw DirtyBuffer() }
        throw error
      }
      return String(String(decoding: out.bytes, as: UTF8.self).dropFirst(6))
    }
  }

  /// An error left bytes behind.
  struct DirtyBuffer: Error {}
}

/// Runs `body` and gives back the error it must throw.
func mappingError(_ body: () throws -> String) -> MappingError? {
  do {
    _ = try body()
    return nil
  } catch {
    return error as? MappingError
  }
}
