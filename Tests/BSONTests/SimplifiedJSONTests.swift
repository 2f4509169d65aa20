import BSON
import Testing

@Suite struct SimplifiedJSONTests {
  @Test(
    arguments: [
      (.double, littleEndian(1.0), "1.0", .number),
      (.double, littleEndian(-0.25), "-0.25", .number),
      (.double, littleEndian(Double.nan), #""NaN""#, .nonFiniteNumber),
      (.double, littleEndian(Double.infinity), #""Infinity""#, .nonFiniteNumber),
      (.double, littleEndian(-Double.infinity), #""-Infinity""#, .nonFiniteNumber),
      (.string, bsonString("a\u{0}"), #""a\u0000""#, .text),
      (.document, document { $0.append(key: "a", int64: 1) }, #"{"a":1}"#, .object),
      (.array, document { $0.append(key: "0", date: 0) }, #"["1970-01-01T00:00:00.000Z"]"#, .array),
      (.binary, hex("04000000 80 61626364"), #""YWJjZA==""#, .base64),
      (.binary, hex("06000000 02 02000000 FFFF"), #""//8=""#, .base64),
      (.binary, hex("00000000 00"), #""""#, .base64),
      (
        .binary, hex("10000000 04 73FFD26444B34C6990E8E7D1DFC035D4"),
        #""73ffd264-44b3-4c69-90e8-e7d1dfc035d4""#, .uuid
      ),
      // An invalid UUID, and the old subtype, whose byte order is unknown.
      (.binary, hex("02000000 04 0102"), #""AQI=""#, .base64),
      (
        .binary, hex("10000000 03 73FFD26444B34C6990E8E7D1DFC035D4"),
        #""c//SZESzTGmQ6OfR38A11A==""#, .base64
      ),
      (.undefined, [], "null", .null),
      (.null, [], "null", .null),
      (.objectID, hex("56E1FC72E0C917E9C4714161"), #""56e1fc72e0c917e9c4714161""#, .objectID),
      (.bool, [1], "true", .boolean),
      (.bool, [0], "false", .boolean),
      (.date, littleEndian(1_763_902_800_123), #""2025-11-23T13:00:00.123Z""#, .dateTime),
      (.date, littleEndian(1_763_902_800_000), #""2025-11-23T13:00:00.000Z""#, .dateTime),
      (.date, littleEndian(-1), #""1969-12-31T23:59:59.999Z""#, .dateTime),
      (.date, littleEndian(253_402_300_800_000), #""253402300800000""#, .milliseconds),
      (.date, littleEndian(-62_167_219_200_001), #""-62167219200001""#, .milliseconds),
      (.regex, cString("^a") + cString("i"), #"{"pattern":"^a","options":"i"}"#, .regex),
      (
        .dbPointer, bsonString("b.c") + hex("56E1FC72E0C917E9C4714161"),
        #"{"$ref":"b.c","$id":"56e1fc72e0c917e9c4714161"}"#, .dbPointer
      ),
      (.javascript, bsonString("f()"), #""f()""#, .text),
      (
        .javascriptWithScope,
        hex("1800 0000") + bsonString("abc") + document { $0.append(key: "x", int32: 1) },
        #"{"code":"abc","scope":{"x":1}}"#, .codeWithScope
      ),
      (.symbol, bsonString("s"), #""s""#, .text),
      (.int32, littleEndian(Int32.min), "-2147483648", .integer),
      (.int64, littleEndian(Int64.max), "9223372036854775807", .integer),
      (
        .timestamp, littleEndian(UInt32.max) + littleEndian(4_000_000_000 as UInt32),
        #"{"t":4000000000,"i":4294967295}"#, .timestamp
      ),
      (.decimal128, littleEndian(150) + hex("00000000 00003C30"), #""1.50""#, .decimal),
      (.decimal128, littleEndian(0) + hex("00000000 000000F8"), #""-Infinity""#, .decimal),
      (.minKey, [], #"{"$minKey":1}"#, .minKey),
      (.maxKey, [], #"{"$maxKey":1}"#, .maxKey),
    ] as [(BSONType, [UInt8], String, SimplifiedForm)])
  func valueIsAsTheTableSays(
    type: BSONType, value: [UInt8], expected: String, form: SimplifiedForm
  ) throws {
    #expect(try jsonValue(type, value, .simplified) == expected)
    let bytes = document(of: type, value)
    try bytes.withUnsafeBytes { raw in
      let element = try #require(try BSONView(raw).first("v"))
      #expect(element.simplifiedForm == form)
    }
  }

  /// The writer follows the table for every value.
  @Test func jsonTypeIsTheOneThatIsWritten() throws {
    var documents = RandomDocuments(seed: 0x5149)
    var seen: Set<SimplifiedForm> = []
    for _ in 0..<4_000 {
      let bytes = documents.next()
      try bytes.withUnsafeBytes { raw in
        var walk = try BSONView(raw).elements()
        while let element = try walk.next() {
          let json = try written { writer throws(BSONError) in
            try writer.appendJSON(value: element, style: .simplified)
          }
          seen.insert(element.simplifiedForm)
          #expect(Self.jsonType(of: json) == element.simplifiedForm.jsonType)
        }
      }
    }
    #expect(seen == Set(SimplifiedForm.allCases))
  }

  private static func jsonType(of json: [UInt8]) -> SimplifiedForm.JSONType? {
    switch json.first.map({ Character(Unicode.Scalar($0)) }) {
    case "{": .object
    case "[": .array
    case "\"": .string
    case "t", "f": .boolean
    case "n": .null
    case .some: .number
    case nil: nil
    }
  }
}
