import BSON
import Bridge
import BridgeConfiguration
import Foundation
import Mapping
import Oplog
import Testing

/// Bodies against their schemas: on the event's own BSON and on the body's JSON, the verdict is one.
@Suite struct BodyValidatorTests {
  private static let styles = ["simplified", "relaxed", "canonical"]

  /// Two rules with the same bodies: of the second, a filter that leaves nothing out makes the bridge
  /// judge the body's JSON.
  private static func configuration(
    _ schema: String, envelope: String, style: String
  ) throws -> BridgeConfiguration {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("judge-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    try schema.write(
      to: folder.appendingPathComponent("s.json"), atomically: true, encoding: .utf8)
    let rule = """
      match: { namespace: a.b }, subject: x.y, continue: true, schema: s.json
      """
    return try BridgeConfiguration.parse(
      yaml: """
        source: { uri: "mongodb://h/?replicaSet=rs0", name: rs0 }
        streams: [{ name: S, subjects: [x.>] }]
        rules:
          - { name: one, \(rule), payload: { envelope: \(envelope), json: \(style) } }
          - { name: two, \(rule), payload: { envelope: \(envelope), json: \(style),
              exclude: [fullDocument.never] } }
        """, file: folder.path + "/t.yaml", environment: [:])
  }

  @Test(arguments: ["cloudevents", "document"], styles)
  func `both ways find the same`(envelope: String, style: String) throws {
    let inner = envelope == "document" ? "" : "/fullDocument"
    let value =
      #"{"type":["string","integer","object"],"minLength":3,"minimum":1,"minProperties":2}"#
    let document =
      #"{"required":["k1"],"maxProperties":6,"additionalProperties":\#(value),"properties":{"k0":{"type":["number","null"]}}}"#
    let schema =
      envelope == "document"
      ? document
      : #"{"properties":{"fullDocument":\#(document),"operationType":{"const":"insert"}}}"#
    let configuration = try Self.configuration(schema, envelope: envelope, style: style)
    let judge = BodyValidator(configuration.ruleSet(sourceName: "rs0"))
    var mapper = Mapper(rules: configuration.rules, sourceName: "rs0")
    var random = Numbers(state: 7)
    var verdicts: [Bool: Int] = [:]
    for _ in 0..<3_000 {
      var bson = ByteWriter()
      let start = bson.beginDocument()
      bson.append(key: "_id", int64: 5)
      for n in 0..<random.below(7) { random.append(Array("k\(n)".utf8), to: &bson) }
      bson.endDocument(start)
      let view = try BSONView(bson.bytes)
      try Array("a.b".utf8).withUnsafeBytes { namespace in
        let event = ChangeEvent(
          operation: .insert,
          position: EventPosition(entry: OplogPosition(seconds: 1, increment: 1), index: 0),
          namespace: namespace, databaseLength: 1, documentKey: nil, fullDocument: view)
        var results: [String?] = []
        for rule in 0...1 {
          var body = ByteWriter()
          try mapper.writeBody(rule: rule, event: event, match: 0, into: &body)
          do throws(MappingError) {
            try judge.check(rule: rule, event: event, body: body.bytes)
            results.append(nil)
          } catch {
            #expect(error.code == .schemaInvalid && (inner.isEmpty || error.detail.contains(inner)))
            results.append(error.detail)
          }
        }
        #expect(results[0] == results[1])
        verdicts[results[0] == nil, default: 0] += 1
      }
    }
    #expect((verdicts[true] ?? 0) > 100 || style != "simplified")
    #expect((verdicts[false] ?? 0) > 100)
  }

  /// What both rules say of an insert with one field: nil, or the error's code.
  private static func outcomes(
    _ schema: String, _ append: (inout ByteWriter) -> Void
  ) throws -> [MappingErrorCode?] {
    let configuration = try configuration(schema, envelope: "document", style: "simplified")
    let judge = BodyValidator(configuration.ruleSet(sourceName: "rs0"))
    var mapper = Mapper(rules: configuration.rules, sourceName: "rs0")
    var bson = ByteWriter()
    let start = bson.beginDocument()
    append(&bson)
    bson.endDocument(start)
    let view = try BSONView(bson.bytes)
    return try Array("a.b".utf8).withUnsafeBytes { namespace in
      let event = ChangeEvent(
        operation: .insert,
        position: EventPosition(entry: OplogPosition(seconds: 1, increment: 1), index: 0),
        namespace: namespace, databaseLength: 1, documentKey: nil, fullDocument: view)
      return try (0...1).map { rule in
        var body = ByteWriter()
        try mapper.writeBody(rule: rule, event: event, match: 0, into: &body)
        do throws(MappingError) {
          try judge.check(rule: rule, event: event, body: body.bytes)
          return nil
        } catch {
          #expect(!error.detail.isEmpty && error.detail.utf8.count < 5_000)
          return error.code
        }
      }
    }
  }

  private static func text(_ count: Int, _ end: String, into out: inout ByteWriter) {
    let key: StaticString = "t"
    let text = [UInt8](repeating: UInt8(ascii: "a"), count: count) + Array(end.utf8)
    text.withUnsafeBytes { text in
      out.append(key: UnsafeRawBufferPointer(start: key.utf8Start, count: 1), string: text)
    }
  }

  @Test func `what takes too much is too complex for both ways`() throws {
    let tries = #"{"properties": {"t": {"pattern": "^(?=(a+)+$)b"}}}"#
    #expect(
      try Self.outcomes(tries) { Self.text(60, "c", into: &$0) } == [.tooComplex, .tooComplex])
    #expect(
      try Self.outcomes(tries) { Self.text(3, "", into: &$0) } == [.schemaInvalid, .schemaInvalid])
    let regex = #"{"properties": {"t": {"format": "regex"}}}"#
    #expect(
      try Self.outcomes(regex) { Self.text(900_000, "[", into: &$0) } == [.tooComplex, .tooComplex])
    #expect(try Self.outcomes(regex) { Self.text(900, "", into: &$0) } == [nil, nil])
    // A name of megabytes, and what is reported of it.
    let long = #"{"properties": {"t": {"maxLength": 5, "const": "x", "enum": ["y"]}}}"#
    #expect(
      try Self.outcomes(long) { Self.text(3_000_000, "", into: &$0) }
        == [.schemaInvalid, .schemaInvalid])
    // Only what has to be read again is bounded by its size.
    let any = #"{"properties": {"t": {"type": "string"}}}"#
    #expect(
      try Self.outcomes(any) { Self.text(BodyValidator.maximumBody, "", into: &$0) }
        == [nil, .tooComplex])
  }
}

/// Random elements that are the same in every run.
private struct Numbers {
  var state: UInt64

  mutating func below(_ limit: Int) -> Int {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int(state >> 33) % limit
  }

  mutating func append(_ key: [UInt8], to out: inout ByteWriter) {
    key.withUnsafeBytes { key in
      switch below(9) {
      case 0: out.append(key: key, int32: Int32(below(4)))
      case 1: out.append(key: key, int64: Int64(below(3)))
      case 2: out.append(key: key, double: Double(below(5)) / 2)
      case 3: out.append(key: key, date: Int64(below(1_000_000)))
      case 4: out.appendNull(key: key)
      case 5:
        out.appendHeader(.objectID, key: key)
        for _ in 0..<12 { out.append(UInt8(below(256))) }
      case 6: out.append(key: key, timestamp: UInt32(below(9)), increment: 1)
      case 7:
        let start = out.beginDocument(key: key)
        for n in 0..<below(4) { out.append(index: n, string: "x") }
        out.endDocument(start)
      default:
        let text = Array(repeating: UInt8(ascii: "t"), count: below(6))
        text.withUnsafeBytes { out.append(key: key, string: $0) }
      }
    }
  }
}
