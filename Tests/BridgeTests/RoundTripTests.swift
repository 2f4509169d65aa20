import BSON
import Bridge
import BridgeConfiguration
import Operator
import Testing

/// What is written down of an event (by `decode`, in a dead letter, in a sample) and mapped again is the
/// event itself: the same bytes, so the same message.
@Suite struct RoundTripTests {
  private static func configuration(_ style: String) throws -> BridgeConfiguration {
    try BridgeConfiguration.parse(
      yaml: """
        source: { uri: "mongodb://h/?replicaSet=rs0", name: rs0 }
        streams: [{ name: S, subjects: [x.>] }]
        rules:
          - { name: one, match: { namespace: a.b }, subject: x.y, stream: S,
              payload: { envelope: change_event, json: \(style) } }
        """, file: "/t.yaml", environment: [:])
  }

  /// Keys that look like values of Extended JSON, and their parts.
  private static let keys = [
    "$oid", "$date", "$type", "$binary", "$regex", "$options", "$numberInt", "$numberLong",
    "$numberDouble", "$numberDecimal", "$timestamp", "$uuid", "$regularExpression", "$symbol",
    "$code",
    "$scope", "$dbPointer", "$ref", "$id", "$db", "$minKey", "$maxKey", "$undefined", "base64",
    "subType", "pattern", "options", "t", "i", "a", "_id", "", "0", "1", "é", "$",
  ]
  private static let texts = [
    "56e1fc72e0c917e9c4714161", "not hex", "1", "2024-11-23T11:06:40.123Z", "", "^a", "i", "00",
    "AAAA",
    "NaN", "1.5", "73ffd264-44b3-4c69-90e8-e7d1dfc035d4", "\u{0}", "é",
  ]

  private struct Maker {
    var state: UInt64

    mutating func below(_ limit: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int((state >> 33) % UInt64(limit))
    }

    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(below(256)) } }

    mutating func document(_ out: inout ByteWriter, depth: Int, isArray: Bool = false) {
      for n in 0..<below(4) {
        let isStrange = isArray && below(12) == 0
        let key = isArray && !isStrange ? "\(n)" : keys[below(keys.count)]
        let type = BSONType.allCases[below(BSONType.allCases.count)]
        Array(key.utf8).withUnsafeBytes { out.appendHeader(type, key: $0) }
        value(type, &out, depth: depth)
      }
    }

    private mutating func text(_ out: inout ByteWriter) {
      Array(texts[below(texts.count)].utf8).withUnsafeBytes { out.appendStringValue($0) }
    }

    private mutating func value(_ type: BSONType, _ out: inout ByteWriter, depth: Int) {
      switch type {
      case .null, .undefined, .minKey, .maxKey: break
      case .bool: out.append(UInt8(below(2)))
      case .int32: out.append(bytes(4))
      case .double:
        if below(3) == 0 {
          out.append(littleEndian: 0x7FF0_0000_0000_0001 | Int64(below(9)))
        } else {
          out.append(bytes(8))
        }
      case .int64, .date, .timestamp: out.append(bytes(8))
      case .decimal128: out.append(bytes(16))
      case .objectID: out.append(bytes(12))
      case .string, .javascript, .symbol: text(&out)
      case .regex:
        let options = ["xim", "imx", ""][below(3)]
        out.append(Array("^a\u{0}\(options)\u{0}".utf8))
      case .dbPointer:
        text(&out)
        out.append(bytes(12))
      case .binary:
        let content = bytes(below(8))
        let subtype = [0, 2, 3, 4, 5, 128][below(6)]
        out.append(littleEndian: Int32(content.count))
        out.append(UInt8(subtype))
        out.append(content)
      case .document, .array:
        let start = out.beginDocument()
        if depth > 0 { document(&out, depth: depth - 1, isArray: type == .array) }
        out.endDocument(start)
      case .javascriptWithScope:
        let start = out.count
        out.append(littleEndian: Int32(0))
        text(&out)
        let scope = out.beginDocument()
        if depth > 0 { document(&out, depth: depth - 1) }
        out.endDocument(scope)
        out.patch(littleEndian: Int32(out.count - start), at: start)
      }
    }
  }

  /// An oplog entry that inserts the document, as its BSON in a line.
  private static func line(_ document: [UInt8], _ increment: Int) throws -> String {
    var entry = ByteWriter()
    let start = entry.beginDocument()
    for (key, text) in [("op", "i"), ("ns", "a.b")] {
      Array(key.utf8).withUnsafeBytes { entry.appendHeader(.string, key: $0) }
      Array(text.utf8).withUnsafeBytes { entry.appendStringValue($0) }
    }
    entry.append(key: "v", int64: 2)
    Array("ts".utf8).withUnsafeBytes { entry.appendHeader(.timestamp, key: $0) }
    entry.append(littleEndian: Int64(1_732_360_000) << 32 | Int64(increment))
    for key in ["o", "o2"] {
      Array(key.utf8).withUnsafeBytes { entry.appendHeader(.document, key: $0) }
      entry.append(document)
    }
    entry.endDocument(start)
    var text = ByteWriter()
    text.append("{\"$binary\":{\"base64\":\"")
    text.appendBase64(entry.bytes)
    text.append("\",\"subType\":\"00\"}}")
    return String(decoding: text.bytes, as: UTF8.self)
  }

  private static func document(_ maker: inout Maker) -> [UInt8] {
    var out = ByteWriter()
    let start = out.beginDocument()
    maker.document(&out, depth: 4)
    out.endDocument(start)
    return Array(out.bytes)
  }

  @Test(arguments: ["simplified", "relaxed", "canonical"])
  func `an event that was written down makes the message that it makes itself`(
    _ style: String
  ) throws {
    let configuration = try Self.configuration(style)
    let direct = OfflineDecoder(.messages(configuration))
    let printed = OfflineDecoder(.events)
    let again = OfflineDecoder(.messages(configuration))
    var maker = Maker(state: 12)
    var asBSON = 0
    var asText = 0
    for n in 1...3000 {
      let line = try Self.line(Self.document(&maker), n)
      var expected: [String] = []
      try direct.decode(line) { expected.append($0) }
      var events: [String] = []
      try printed.decode(line) { events.append($0) }
      try #require(events.count == 1 && expected.count == 1)
      if events[0].contains(#""fullDocument":{"$binary":"#) { asBSON += 1 } else { asText += 1 }
      var made: [String] = []
      try again.map(event: events[0]) { made.append($0) }
      #expect(made == expected, "\(events[0])")
    }
    #expect(asBSON > 300)
    #expect(asText > 300)
  }

  @Test func `the same bytes come back`() throws {
    let printed = OfflineDecoder(.events)
    var maker = Maker(state: 13)
    for n in 1...2000 {
      let document = Self.document(&maker)
      var event = ""
      try printed.decode(try Self.line(document, n)) { event = $0 }
      let bytes = try ExtendedJSON.bson(event, as: .printed)
      try bytes.withUnsafeBytes { bytes in
        let element = try #require(try BSONView(bytes).first("fullDocument"))
        let found =
          element.document.map { Array($0.bytes) } ?? element.binary.map { Array($0.bytes) }
        #expect(found == document, "\(event)")
      }
    }
  }

  @Test func `documents as deep as BSON may be`() throws {
    let configuration = try Self.configuration("canonical")
    for depth in [100, 200, 255, 256] {
      // Dates have the most around them in canonical form.
      var inner = ByteWriter()
      var start = inner.beginDocument()
      Array("d".utf8).withUnsafeBytes { inner.appendHeader(.date, key: $0) }
      inner.append(littleEndian: Int64(5))
      inner.endDocument(start)
      var document = Array(inner.bytes)
      for _ in 1..<depth {
        var outer = ByteWriter()
        start = outer.beginDocument()
        Array("a".utf8).withUnsafeBytes { outer.appendHeader(.document, key: $0) }
        outer.append(document)
        outer.endDocument(start)
        document = Array(outer.bytes)
      }
      let line = try Self.line(document, depth)
      var event = ""
      try OfflineDecoder(.events).decode(line) { event = $0 }
      #expect(!event.contains("$binary"))
      var made: [String] = []
      try OfflineDecoder(.messages(configuration)).map(event: event) { made.append($0) }
      var expected: [String] = []
      try OfflineDecoder(.messages(configuration)).decode(line) { expected.append($0) }
      #expect(made == expected)
      #expect(made.first?.contains("\"Tailrace-Error\"") == false)
    }
  }

  @Test func `letters of earlier versions: what no value looks like is a document`() throws {
    let event = #"""
      {"operationType":"insert","clusterTime":{"$timestamp":{"t":1,"i":1}},"ns":{"db":"a","coll":"b"},
      "documentKey":{"_id":1},"fullDocument":{"_id":1,
      "filter":{"$regex":"^a","$options":"i"},"id":{"$oid":"not hex"},"old":{"$binary":"AA==","$type":"00"},
      "when":{"$date":"some day"},"least":{"$minKey":2},"real":{"$oid":"56e1fc72e0c917e9c4714161"}}}
      """#.replacing("\n", with: "")
    let decoder = OfflineDecoder(.messages(try Self.configuration("simplified")))
    var made = ""
    try decoder.map(event: event) { made = $0 }
    #expect(
      made.contains(
        #""filter":{"$regex":"^a","$options":"i"},"id":{"$oid":"not hex"},"#
          + #""old":{"$binary":"AA==","$type":"00"},"when":{"$date":"some day"},"least":{"$minKey":2},"#
          + #""real":"56e1fc72e0c917e9c4714161"}"#), "\(made)")
  }
}
