import JSON
import Parity
import Testing

/// Keys identify documents as a server does.
@Suite("Document key")
struct DocumentKeyTests {
  private func key(_ json: String, _ namespace: String = "d.c", isTyped: Bool = true) throws
    -> DocumentKey
  {
    DocumentKey(namespace: namespace, key: try JSONValue(parsing: json), isTyped: isTyped)
  }

  /// A server treats the values of each list as the same `_id`, those of different lists as different.
  static let values: [[String]] = [
    [
      "1", "1.0", #"{"$numberInt":"1"}"#, #"{"$numberLong":"1"}"#, #"{"$numberDouble":"1.0"}"#,
      #"{"$numberDecimal":"1"}"#, #"{"$numberDecimal":"1.000"}"#, #"{"$numberDecimal":"10E-1"}"#,
    ],
    ["-1", "-1.0", #"{"$numberDecimal":"-1.0"}"#],
    [
      "0", "0.0", "-0.0", #"{"$numberDouble":"-0.0"}"#, #"{"$numberDecimal":"-0E+3"}"#,
      #"{"$numberDecimal":"0"}"#,
    ],
    ["0.5", #"{"$numberDecimal":"0.5"}"#, #"{"$numberDecimal":"0.50"}"#],
    // No double equals 0.1 exactly, so the decimal is another number.
    ["0.1", #"{"$numberDouble":"0.1"}"#],
    [#"{"$numberDecimal":"0.1"}"#, #"{"$numberDecimal":"1E-1"}"#],
    ["10", "1e1", #"{"$numberDecimal":"1E+1"}"#],
    ["1e20", #"{"$numberDecimal":"1E+20"}"#, "100000000000000000000.0"],
    ["1e300"], [#"{"$numberDecimal":"1E+300"}"#], [#"{"$numberDecimal":"1E+6000"}"#],
    ["9007199254740993"], ["9007199254740992", "9007199254740992.0"],
    ["9223372036854775807"],
    ["9223372036854775808.0", #"{"$numberDecimal":"9223372036854775808"}"#],
    ["-9223372036854775808", "-9223372036854775808.0"],
    [#"{"$numberDecimal":"9999999999999999999999999999999999"}"#],
    [#"{"$numberDecimal":"9999999999999999999999999999999998"}"#],
    ["5e-324"], [#"{"$numberDecimal":"5E-324"}"#],
    [#"{"$numberDouble":"NaN"}"#, #"{"$numberDecimal":"NaN"}"#],
    [#"{"$numberDouble":"Infinity"}"#, #"{"$numberDecimal":"Infinity"}"#],
    [#"{"$numberDouble":"-Infinity"}"#, #"{"$numberDecimal":"-Infinity"}"#],
    [#""1""#, #"{"$symbol":"1"}"#], [#""NaN""#], [#""1.0""#], [#""""#], ["true"], [#""true""#],
    ["null"], [#"{"$undefined":true}"#], [#"{"$minKey":1}"#], [#"{"$maxKey":1}"#],
    ["\"\u{E9}\""], ["\"e\u{301}\""], ["{\"\u{E9}\":1}"], ["{\"e\u{301}\":1}"],
    [#"{"$oid":"56e1fc72e0c917e9c4714161"}"#], [#""56e1fc72e0c917e9c4714161""#],
    [#"{"$binary":{"base64":"eA==","subType":"00"}}"#],
    [#"{"$binary":{"base64":"eA==","subType":"80"}}"#], [#""eA==""#],
    [#"{"$date":{"$numberLong":"0"}}"#, #"{"$date":{"$numberLong":"0"}}"#],
    [#"{"$timestamp":{"t":0,"i":1}}"#], [#"{"t":0,"i":1}"#, #"{"t":0.0,"i":1.0}"#],
    [#"{"i":1,"t":0}"#], [#"{"a":1}"#], [#"{"a":"1"}"#], [#"{"a":[1]}"#], [#"{"a":[]}"#],
    [#"{"a":{}}"#], ["{}"], [#"{"a":1,"b":2}"#, #"{"a":{"$numberLong":"1"},"b":2.0}"#],
    [#"{"b":2,"a":1}"#], [#"{"$code":"a"}"#], [#"{"$code":"a","$scope":{}}"#],
    [#"{"a\"":1}"#], [#"{"a":"}"}"#], [#"[1,[2]]"#], [#"[[1],2]"#], [#"[1,2]"#], [#"["1,2"]"#],
  ]

  @Test(
    "ids of simplified JSON that a server may take for one",
    arguments: [
      ("1", "1.0", true), ("1", #""1.00""#, true), (#""10""#, #""1E+1""#, true),
      ("0", #""-0""#, true),
      ("0.1", #""0.1""#, false), (#"{"a":[1,"x"]}"#, #"{"a":["1.0","x"]}"#, true),
      (#"{"a":1,"b":2}"#, #"{"b":2,"a":1}"#, false), ("[1]", "[1,2]", false),
      (#""a""#, #""b""#, false),
      ("1", "2", false), ("0", #""""#, false), ("1", #""one""#, false), ("null", "0", false),
      ("true", "1", false), (#""nan""#, #""none""#, false), ("77", #""forged""#, false),
    ])
  func sameID(_ one: String, _ other: String, _ isSame: Bool) throws {
    let (one, other) = (try JSONValue(parsing: one), try JSONValue(parsing: other))
    #expect(mayBeSameID(one, other) == isSame && mayBeSameID(other, one) == isSame)
  }

  @Test(
    "has a readable description",
    arguments: [
      ("40", "40"), ("40.0", "40"), ("53.5", "53.5"), ("0.1", "0.1"), ("-8", "-8"),
      ("1e300", "1e+300"),
      ("9223372036854775807", "9223372036854775807"), (#"{"$numberDecimal":"0.1"}"#, "1e-1"),
      (#""5p3""#, #""5p3""#), (#""a\\\"5p3""#, #""a\\\"5p3""#),
      (#"{"5p3":[40,"5p3",40]}"#, #"{"5p3":[40,"5p3",40]}"#),
      (#"{"$oid":"56e1fc72e0c917e9c4714161"}"#, #"{"$oid":"56e1fc72e0c917e9c4714161"}"#),
    ])
  func description(_ value: String, _ expected: String) throws {
    #expect(try key(#"{"_id":\#(value)}"#, "d.5p3").description == #"d.5p3 {"_id":\#(expected)}"#)
  }

  @Test("is equal exactly for values that are the same _id") func classes() throws {
    var keys: [DocumentKey: Int] = [:]
    for (number, list) in Self.values.enumerated() {
      for value in list {
        let key = try key(#"{"_id":\#(value)}"#)
        #expect(keys[key, default: number] == number, "\(value) and \(Self.values[keys[key] ?? 0])")
        keys[key] = number
      }
    }
    #expect(keys.count == Self.values.count)
  }

  @Test("distinguishes namespaces with any characters") func namespaces() throws {
    let ids = [#"{"_id":"a"}"#, #"{"_id":"x {\"_id\":\"a\"}"}"#, #"{"_id":"a","s":1}"#]
    let names = [
      "d.c", "d.c {", #"d.c {"_id":"a"}"#, "d.c.c", "d c", "D.c", "d.\u{E9}", "d.e\u{301}", "d.",
      "d",
    ]
    var keys: Set<DocumentKey> = []
    for name in names {
      for id in ids {
        let key = try key(id, name)
        #expect(key.namespace.utf8.elementsEqual(name.utf8))
        keys.insert(key)
      }
    }
    #expect(keys.count == names.count * ids.count)
  }

  @Test("may collide if the JSON omits types") func coincidence() throws {
    for value in [#""a""#, #"{"t":1,"i":1}"#, "[]"] {
      #expect(try key(#"{"_id":\#(value)}"#, isTyped: false).mayCoincide)
      #expect(try !key(#"{"_id":\#(value)}"#, isTyped: true).mayCoincide)
    }
    for value in ["1", "1.5", "true"] {
      #expect(try !key(#"{"_id":\#(value)}"#, isTyped: false).mayCoincide)
    }
  }
}
