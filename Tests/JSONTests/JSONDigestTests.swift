import JSON
import Testing

@Suite("The digest of a JSON value") struct JSONDigestTests {
  @Test(arguments: [
    (#"{"a":1,"b":[true,null]}"#, " { \"b\" : [ true , null ] , \"a\" : 1.0 } "),
    (#"{"a":"é"}"#, #"{"a":"\u00e9"}"#), ("[10, 0.5, -3]", "[1e1,5E-1,-30e-1]"),
    ("[0, 0.0, -0]", "[-0.0e5,0,0]"), ("100", "1e2"), ("1.10", "11e-1"), (#""a\/b""#, #""a/b""#),
    (#"{"x":{"b":2,"a":1}}"#, #"{"x":{"a":1,"b":2}}"#),
  ])
  func `the same value in other words has the same digest`(one: String, other: String) throws {
    #expect(JSONDigest(Array(one.utf8)) == JSONDigest(Array(other.utf8)))
    #expect(try JSONValue(parsing: one).isSameValue(as: JSONValue(parsing: other)))
  }

  @Test func `different values have different digests`() throws {
    let texts = [
      "null", "true", "false", "0", "1", "-1", "10", "0.1", "1e300", "1e-300", "12", "21", "102",
      #""""#, #""0""#, #""null""#, "[]", "[[]]", "{}", "[0]", "[1,2]", "[2,1]", "[1,[2]]", "[12]",
      #"{"a":1}"#, #"{"a":2}"#, #"{"b":1}"#, #"{"a":1,"b":1}"#, #"{"a":{"b":1}}"#,
      #"{"a":"1"}"#, #"{"a":null}"#, #"{"a":[],"b":{}}"#, #"{"a":{},"b":[]}"#, #""a""#, #""aa""#,
      #""aaaaaaaaaaaaaaaa""#, #""aaaaaaaaaaaaaaaaa""#, "9007199254740993", "9007199254740992",
    ]
    for (index, one) in texts.enumerated() {
      for other in texts[(index + 1)...] {
        #expect(
          JSONDigest(Array(one.utf8)) != JSONDigest(Array(other.utf8)), "\(one) and \(other)")
        #expect(try !JSONValue(parsing: one).isSameValue(as: JSONValue(parsing: other)))
      }
    }
  }

  @Test(arguments: ["", "{", "[1,]", "nul", "01", "{} x", "\"\u{1}\""])
  func `what is no JSON has none`(text: String) {
    #expect(JSONDigest(Array(text.utf8)) == nil)
  }
}
