import BSON
import Foundation
import JSON
import JSONSchema
import Testing

/// Prints what judging an event costs and asserts nothing about time. The goals on a quiet machine:
/// 0.4 µs for BSON's own types, 0.7 µs with every value a string, 1.5 µs where schemas are combined,
/// and a millisecond for compiling one.
@Suite struct TimingTests {
  private static func measure(
    _ name: String, rounds: Int = 20_000, _ body: () throws -> Bool
  ) rethrows {
    var best = Double.infinity
    var fine = 0
    for _ in 0..<7 {
      let start = threadTime()
      for _ in 0..<rounds { fine += try body() ? 1 : 0 }
      best = min(best, threadTime() - start)
    }
    #expect(fine == 7 * rounds)
    print("json schema: \(name), \(Int(best * 1e9 / Double(rounds))) ns")
  }

  /// Seconds of CPU time, since other tests run beside this one.
  private static func threadTime() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  private static func judge(_ name: String, _ schema: String, _ document: [UInt8]) throws {
    let validator = SchemaValidator(try CompiledSchema(text: schema))
    try document.withUnsafeBytes { raw in
      let view = try BSONView(raw)
      let report = validator.explain(view)
      #expect(report.violations == [], "\(name)")
      measure(name) { validator.validate(view) }
    }
  }

  @Test func costs() throws {
    // For `make bench BENCH_ARGS=--parts`, which times another implementation on the same.
    if let folder = ProcessInfo.processInfo.environment["TIMING_EVENT_FOLDER"] {
      for (name, text) in [
        ("native", Event.schema), ("strings", Event.stringSchema), ("combined", Event.combined),
        ("event", Event.text),
      ] {
        try text.write(toFile: "\(folder)/\(name).json", atomically: true, encoding: .utf8)
      }
    }
    try Self.judge("event of BSON types", Event.schema, Event.native)
    try Self.judge("event of strings", Event.stringSchema, Event.strings)
    try Self.judge("event, schemas combined", Event.combined, Event.native)
    let value = try JSONValue(parsing: Event.combined)
    try Self.measure("compiling", rounds: 100) { try CompiledSchema(value).uri.isEmpty }
  }
}

/// A chat message as a change event has it: 512 bytes of JSON, 15 fields at the top.
enum Event {
  private static let properties = #"""
    "_id": {"type": "string", "pattern": "^[0-9a-f]{24}$"},
    "rid": {"type": "string", "pattern": "^[A-Za-z0-9]{1,32}$"},
    "msg": {"type": "string", "maxLength": 4096},
    "u": {
      "type": "object", "required": ["_id", "username"], "additionalProperties": false,
      "properties": {
        "_id": {"type": "string", "pattern": "^[A-Za-z0-9]{17}$"},
        "username": {"type": "string", "minLength": 1, "maxLength": 64},
        "name": {"type": "string"}
      }
    },
    "urls": {"type": "array", "items": {"type": "string", "format": "uri"}, "maxItems": 8},
    "mentions": {
      "type": "array",
      "items": {
        "type": "object", "required": ["_id"],
        "properties": {"_id": {"type": "string"}, "username": {"type": "string"}}
      }
    },
    "groupable": {"type": "boolean"},
    "tmid": {"type": ["string", "null"]},
    "kind": {"enum": ["text", "file", "system"]},
    "lang": {"type": "string", "pattern": "^[a-z]{2}(-[A-Z]{2})?$"},
    "device": {
      "type": "object",
      "properties": {"os": {"type": "string"}, "app": {"type": "string"}, "build": {NUMBER}}
    }
    """#

  private static let required =
    #""required": ["_id", "rid", "msg", "ts", "u", "kind", "session", "size"]"#

  private static func schema(_ rest: String, number: String) -> String {
    #"""
    {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
      \#(required), "additionalProperties": false, "properties": {
      \#(properties.replacingOccurrences(of: "NUMBER", with: number)), \#(rest)}}
    """#
  }

  private static let times = #"""
    "ts": {"type": "string", "format": "date-time"},
    "_updatedAt": {"type": "string", "format": "date-time"},
    "session": {"type": "string", "format": "uuid"}
    """#

  static let schema = schema(
    times + #", "size": {"type": "integer", "minimum": 0, "maximum": 1048576}"#,
    number: #""type": "integer", "minimum": 1"#)

  static let stringSchema = schema(
    times + #", "size": {"type": "string", "maxLength": 20}"#,
    number: #""type": "string", "maxLength": 20"#)

  /// The same demands in parts.
  static let combined = #"""
    {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
      "allOf": [{"$ref": "#/$defs/base"}, {"$ref": "#/$defs/times"}],
      "if": {"properties": {"kind": {"const": "text"}}, "required": ["kind"]},
      "then": {"properties": {"msg": {"minLength": 1}}},
      "else": {"properties": {"urls": {"minItems": 1}}},
      "oneOf": [
        {"type": "object", "required": ["kind"], "properties": {"kind": {"const": "text"}}},
        {"type": "object", "required": ["kind"], "properties": {"kind": {"const": "file"}}},
        {"type": "object", "required": ["kind"], "properties": {"kind": {"const": "system"}}}
      ],
      "unevaluatedProperties": false,
      "$defs": {
        "base": {"type": "object", \#(required), "properties": {
          \#(properties.replacingOccurrences(of: "NUMBER", with: #""type": "integer""#))}},
        "times": {"type": "object", "properties": {
          \#(times), "size": {"type": "integer", "minimum": 0}}}
      }
    }
    """#

  private static let json = #"""
    {"_id": "6b0425f54e92f8574f32c45e", "rid": "GENERAL", "msg": "Could you look at this one?",
      "ts": "2026-11-23T13:00:00.123Z",
      "u": {"_id": "aobEdbYhXfu5hkeqG", "username": "rosa.meyer", "name": "Rosa Meyer"},
      "urls": ["https://example.com/wiki"], "mentions": [{"_id": "all", "username": "all"}],
      "groupable": false, "tmid": null, "kind": "text", "lang": "en-GB",
      "device": {"os": "linux", "app": "desktop", "build": BUILD},
      "session": "73ffd264-44b3-4c69-90e8-e7d1dfc035d4", "size": SIZE,
      "_updatedAt": "2026-11-23T13:00:00.987Z"}
    """#

  static let text = json.replacingOccurrences(of: "BUILD", with: "4711")
    .replacingOccurrences(of: "SIZE", with: "27")

  private static func document(_ json: String) -> [UInt8] {
    var writer = ByteWriter()
    let text = Array(json.utf8)
    #expect(text.withUnsafeBytes { (try? writer.append(documentOf: $0)) != nil })
    return Array(writer.bytes)
  }

  static let strings = document(
    json.replacingOccurrences(of: "BUILD", with: "\"4711\"")
      .replacingOccurrences(of: "SIZE", with: "\"27\""))

  /// With an ObjectId, dates and a UUID in place of what they are written as.
  static let native: [UInt8] = {
    let plain = document(text)
    var writer = ByteWriter()
    let mark = writer.beginDocument()
    plain.withUnsafeBytes { raw in
      guard let view = try? BSONView(raw) else { return }
      var elements = view.elements()
      while let element = try? elements.next() {
        switch String(decoding: element.key, as: UTF8.self) {
        case "_id":
          let id: [UInt8] = [0x6b, 4, 0x25, 0xf5, 0x4e, 0x92, 0xf8, 0x57, 0x4f, 0x32, 0xc4, 0x5e]
          id.withUnsafeBytes {
            writer.appendElement(type: .objectID, key: element.key, value: $0)
          }
        case "ts", "_updatedAt": writer.append(key: element.key, date: 1_795_438_800_123)
        case "session":
          writer.appendHeader(.binary, key: element.key)
          writer.append(littleEndian: Int32(16))
          writer.append(4 as UInt8)
          for byte in 0..<16 as Range<UInt8> { writer.append(byte) }
        default: writer.append(element: element)
        }
      }
    }
    writer.endDocument(mark)
    return Array(writer.bytes)
  }()
}
