import BSON
import Testing

/// One vector per type, from the Extended JSON v2 specification.
@Suite struct ExtendedJSONTests {
  @Test(
    arguments: [
      (.double, littleEndian(1.0), #"{"$numberDouble":"1.0"}"#, "1.0"),
      (.double, littleEndian(-0.0), #"{"$numberDouble":"-0.0"}"#, "-0.0"),
      (
        .double, littleEndian(1.2345678921232e18), #"{"$numberDouble":"1.2345678921232e+18"}"#,
        "1.2345678921232e+18"
      ),
      (.double, littleEndian(Double.nan), #"{"$numberDouble":"NaN"}"#, #"{"$numberDouble":"NaN"}"#),
      (
        .double, littleEndian(Double.infinity), #"{"$numberDouble":"Infinity"}"#,
        #"{"$numberDouble":"Infinity"}"#
      ),
      (
        .double, littleEndian(-Double.infinity), #"{"$numberDouble":"-Infinity"}"#,
        #"{"$numberDouble":"-Infinity"}"#
      ),
      (.string, bsonString("a\"\u{0}\u{E9}"), "\"a\\\"\\u0000\u{E9}\"", "\"a\\\"\\u0000\u{E9}\""),
      (.document, document { _ in }, "{}", "{}"),
      (
        .document, document { $0.append(key: "a", int32: 1) }, #"{"a":{"$numberInt":"1"}}"#,
        #"{"a":1}"#
      ),
      (.array, document { _ in }, "[]", "[]"),
      (.array, document { $0.append(key: "0", int32: 1) }, #"[{"$numberInt":"1"}]"#, "[1]"),
      (.array, document { $0.append(key: "wrong", int32: 1) }, #"[{"$numberInt":"1"}]"#, "[1]"),
      (
        .binary, hex("04000000 80 61626364"), #"{"$binary":{"base64":"YWJjZA==","subType":"80"}}"#,
        #"{"$binary":{"base64":"YWJjZA==","subType":"80"}}"#
      ),
      (
        .binary, hex("06000000 02 02000000 FFFF"), #"{"$binary":{"base64":"//8=","subType":"02"}}"#,
        #"{"$binary":{"base64":"//8=","subType":"02"}}"#
      ),
      // Servers don't validate the inner length: if it is wrong, the bytes are unchanged.
      (
        .binary, hex("06000000 02 03000000 FFFF"),
        #"{"$binary":{"base64":"AwAAAP//","subType":"02"}}"#,
        #"{"$binary":{"base64":"AwAAAP//","subType":"02"}}"#
      ),
      (
        .binary, hex("02000000 02 FFFF"), #"{"$binary":{"base64":"//8=","subType":"02"}}"#,
        #"{"$binary":{"base64":"//8=","subType":"02"}}"#
      ),
      (
        .binary, hex("00000000 00"), #"{"$binary":{"base64":"","subType":"00"}}"#,
        #"{"$binary":{"base64":"","subType":"00"}}"#
      ),
      (
        .binary, hex("10000000 04 73FFD26444B34C6990E8E7D1DFC035D4"),
        #"{"$binary":{"base64":"c//SZESzTGmQ6OfR38A11A==","subType":"04"}}"#,
        #"{"$binary":{"base64":"c//SZESzTGmQ6OfR38A11A==","subType":"04"}}"#
      ),
      (.undefined, [], #"{"$undefined":true}"#, #"{"$undefined":true}"#),
      (
        .objectID, hex("56E1FC72E0C917E9C4714161"), #"{"$oid":"56e1fc72e0c917e9c4714161"}"#,
        #"{"$oid":"56e1fc72e0c917e9c4714161"}"#
      ),
      (.bool, [1], "true", "true"),
      (.bool, [0], "false", "false"),
      (
        .date, littleEndian(0), #"{"$date":{"$numberLong":"0"}}"#,
        #"{"$date":"1970-01-01T00:00:00Z"}"#
      ),
      (
        .date, littleEndian(1_356_351_330_501), #"{"$date":{"$numberLong":"1356351330501"}}"#,
        #"{"$date":"2012-12-24T12:15:30.501Z"}"#
      ),
      (
        .date, littleEndian(1_356_351_330_010), #"{"$date":{"$numberLong":"1356351330010"}}"#,
        #"{"$date":"2012-12-24T12:15:30.010Z"}"#
      ),
      (
        .date, littleEndian(-1), #"{"$date":{"$numberLong":"-1"}}"#,
        #"{"$date":{"$numberLong":"-1"}}"#
      ),
      (
        .date, littleEndian(253_402_300_799_999), #"{"$date":{"$numberLong":"253402300799999"}}"#,
        #"{"$date":"9999-12-31T23:59:59.999Z"}"#
      ),
      (
        .date, littleEndian(253_402_300_800_000), #"{"$date":{"$numberLong":"253402300800000"}}"#,
        #"{"$date":{"$numberLong":"253402300800000"}}"#
      ),
      (.null, [], "null", "null"),
      (
        .regex, cString("a/\"b") + cString("imx"),
        #"{"$regularExpression":{"pattern":"a/\"b","options":"imx"}}"#,
        #"{"$regularExpression":{"pattern":"a/\"b","options":"imx"}}"#
      ),
      (
        .regex, cString("") + cString("xmiz\u{1}"),
        #"{"$regularExpression":{"pattern":"","options":"\u0001imxz"}}"#,
        #"{"$regularExpression":{"pattern":"","options":"\u0001imxz"}}"#
      ),
      (
        .dbPointer, bsonString("b.c") + hex("56E1FC72E0C917E9C4714161"),
        #"{"$dbPointer":{"$ref":"b.c","$id":{"$oid":"56e1fc72e0c917e9c4714161"}}}"#,
        #"{"$dbPointer":{"$ref":"b.c","$id":{"$oid":"56e1fc72e0c917e9c4714161"}}}"#
      ),
      (.javascript, bsonString("f(\"\")"), #"{"$code":"f(\"\")"}"#, #"{"$code":"f(\"\")"}"#),
      (
        .javascriptWithScope,
        hex("1800 0000") + bsonString("abc") + document { $0.append(key: "x", int32: 1) },
        #"{"$code":"abc","$scope":{"x":{"$numberInt":"1"}}}"#, #"{"$code":"abc","$scope":{"x":1}}"#
      ),
      (.symbol, bsonString("s"), #"{"$symbol":"s"}"#, #"{"$symbol":"s"}"#),
      (.int32, littleEndian(Int32.min), #"{"$numberInt":"-2147483648"}"#, "-2147483648"),
      (
        .int64, littleEndian(Int64.min), #"{"$numberLong":"-9223372036854775808"}"#,
        "-9223372036854775808"
      ),
      (
        .timestamp, littleEndian(UInt32.max) + littleEndian(4_000_000_000 as UInt32),
        #"{"$timestamp":{"t":4000000000,"i":4294967295}}"#,
        #"{"$timestamp":{"t":4000000000,"i":4294967295}}"#
      ),
      (
        .decimal128, hex("96000000 00000000 00000000 00003C30"), #"{"$numberDecimal":"1.50"}"#,
        #"{"$numberDecimal":"1.50"}"#
      ),
      (.minKey, [], #"{"$minKey":1}"#, #"{"$minKey":1}"#),
      (.maxKey, [], #"{"$maxKey":1}"#, #"{"$maxKey":1}"#),
    ] as [(BSONType, [UInt8], String, String)])
  func valueIsAsSpecified(
    type: BSONType, value: [UInt8], canonical: String, relaxed: String
  ) throws {
    #expect(try jsonValue(type, value, .canonical) == canonical)
    #expect(try jsonValue(type, value, .relaxed) == relaxed)
  }

  @Test func orderAndRepetitionOfKeysStay() throws {
    let bytes = document { writer in
      for key in ["b", "a", "b", ""] {
        writer.appendElement(type: .null, key: key, value: [UInt8]())
      }
    }
    for style in [JSONStyle.simplified, .relaxed, .canonical] {
      #expect(try json(bytes, style) == #"{"b":null,"a":null,"b":null,"":null}"#)
    }
  }

  @Test func arraysAndValuesStandAlone() throws {
    let list = document { writer in
      writer.append(index: 0, string: "a")
      writer.append(key: "1", int64: 2)
    }
    try list.withUnsafeBytes { raw in
      let view = try BSONView(raw)
      let array = try text { writer throws(BSONError) in
        try writer.appendJSONArray(view, style: .canonical)
      }
      #expect(array == #"["a",{"$numberLong":"2"}]"#)
      let element = try #require(try view.first("1"))
      let value = try text { writer throws(BSONError) in
        try writer.appendJSON(value: element, style: .relaxed)
      }
      #expect(value == "2")
    }
  }

  /// libbson reads canonical Extended JSON back to the same bytes.
  @Test func canonicalFormKeepsEverything() throws {
    let bytes = document { writer in
      writer.append(key: "double", double: 0.1)
      writer.append(key: "whole", double: 1e15)
      writer.append(key: "string", string: "gr\u{FC}n\n\"")
      writer.append(key: "date", date: -5)
      writer.append(key: "timestamp", timestamp: 4_000_000_000, increment: 1)
      writer.append(key: "int32", int32: .max)
      writer.append(key: "int64", int64: .min)
      writer.append(key: "bool", bool: false)
      writer.appendNull(key: "null")
      writer.appendElement(type: .objectID, key: "id", value: Array(0..<12))
      writer.appendElement(type: .binary, key: "binary", value: hex("02000000 80 CAFE"))
      writer.appendElement(type: .regex, key: "regex", value: cString("^a") + cString("im"))
      writer.appendElement(type: .javascript, key: "code", value: bsonString("f()"))
      writer.appendElement(type: .symbol, key: "symbol", value: bsonString("s"))
      writer.appendElement(type: .undefined, key: "undefined", value: [UInt8]())
      writer.appendElement(type: .minKey, key: "min", value: [UInt8]())
      writer.appendElement(type: .maxKey, key: "max", value: [UInt8]())
      writer.appendElement(
        type: .decimal128, key: "decimal", value: littleEndian(150) + hex("00000000 00003C30"))
      let array = writer.beginArray(key: "array")
      writer.append(index: 0, string: "")
      let inner = writer.beginDocument(index: 1)
      writer.endDocument(inner)
      writer.endDocument(array)
    }
    let canonical = Array(try json(bytes, .canonical).utf8)
    #expect(LibBSON.document(fromJSON: canonical) == bytes)
  }
}
