import JSON
import Testing

@Suite struct JSONValueTests {
  @Test(arguments: [
    #"{"a":1,"b":[true,false,null],"c":{"d":"x"}}"#,
    #"{"max_age":9223372036854775807,"unknown":1.50e-7,"a":1,"a":2}"#,
    #"["\"\\\n\r\t","é😀",""]"#, "[]", "{}", "0", "-0.0",
  ])
  func `a text is written back unchanged`(text: String) throws {
    #expect(try JSONValue(parsing: text).text() == text)
  }

  @Test(arguments: [
    "", "{", "[1,]", "{\"a\"}", "01", "1.", "tru", "\"\u{1}\"", "\"\\ud800\"", "1 2", "\"\\x\"",
    "{\"a\":1,}", "-", "[1 2]", "\"abc",
  ])
  func `invalid text is an error with its offset`(text: String) {
    #expect(throws: JSONError.self) { try JSONValue(parsing: text) }
  }

  @Test func `text that is not UTF-8 is an error`() {
    #expect(throws: JSONError.self) { try JSONValue(parsing: [0x22, 0xC3, 0x28, 0x22]) }
  }

  @Test func `too deep nesting is an error`() {
    let deep = String(repeating: "[", count: 100_000)
    #expect(throws: JSONError.self) { try JSONValue(parsing: deep) }
  }

  @Test func `members are replaced in place, appended and removed`() throws {
    var value = try JSONValue(parsing: #"{"a":1,"b":2}"#)
    value["a"] = "x"
    value["c"] = true
    value["b"] = nil
    #expect(value.text() == #"{"a":"x","c":true}"#)
  }

  @Test func `escapes are decoded`() throws {
    #expect(
      try JSONValue(parsing: #""\u00e9\ud83d\ude00\/\b\f""#) == .string("é😀/\u{8}\u{c}"))
  }

  @Test func `pretty text reads back the same`() throws {
    let value: JSONValue = ["a": [1, 2], "b": [:], "c": ["d": "e"]]
    #expect(try JSONValue(parsing: value.text(pretty: true)) == value)
  }
}

@Suite("Equality of JSON strings")
struct SameTextTests {
  @Test("compares Unicode scalars") func scalars() {
    let composed = JSONValue.string("\u{E9}")
    let decomposed = JSONValue.string("e\u{301}")
    #expect(composed != decomposed && composed == .string("\u{E9}"))
    #expect(JSONValue.object([.init("\u{E9}", 1)]) != .object([.init("e\u{301}", 1)]))
    let both = JSONValue.object([.init("\u{E9}", 1), .init("e\u{301}", 2)])
    #expect(both["e\u{301}"] == 2 && both["\u{E9}"] == 1)
  }
}
