import JSON
import JSONSchema
import Testing

@Suite struct ExplainTests {
  @Test(arguments: [
    (#"{"type": ["string", "null"]}"#, "1", "1 is an integer, and null or string is asked for"),
    (#"{"const": "a"}"#, "\"b\"", "\"b\" is not \"a\""),
    (#"{"enum": ["a", 1, null]}"#, "\"b\"", "\"b\" is none of \"a\", 1, null"),
    (#"{"minimum": 1.50}"#, "1", "1 is less than 1.5"),
    (#"{"maximum": 1e3}"#, "2000", "2000 is more than 1000"),
    (#"{"multipleOf": 0.01}"#, "0.001", "0.001 is not a multiple of 0.01"),
    (#"{"minLength": 3}"#, "\"é\"", "\"é\" has 1 characters, fewer than 3"),
    (#"{"pattern": "^a"}"#, "\"b\"", "\"b\" doesn't match the pattern ^a"),
    (#"{"format": "date"}"#, "\"b\"", "\"b\" is not a date of RFC 3339, like 2026-11-23"),
    (#"{"required": ["a", "b", "c"]}"#, #"{"b": 1}"#, "\"a\" and \"c\" are missing"),
    (
      #"{"dependentRequired": {"a": ["b"]}}"#, #"{"a": 1}"#,
      "\"b\" is missing, required beside \"a\""
    ),
    (#"{"additionalProperties": false}"#, #"{"a": 1}"#, "the property \"a\" is not allowed"),
    (
      #"{"uniqueItems": true}"#, "[1, 2, 1.0]",
      "items 0 and 2 are the same, and each must be unique"
    ),
    (#"{"contains": {"const": 1}}"#, "[]", "no item is as it must contain one"),
    (#"{"not": {}}"#, "[]", "[] is what it must not be"), ("false", "1", "nothing is allowed here"),
    (
      #"{"oneOf": [true, true]}"#, "{}",
      "{} is valid by the schemas 0 and 1, and must be by one only"
    ),
  ])
  func sentences(schema: String, value: String, sentence: String) throws {
    #expect(try violations(schema, value).map(\.error) == [sentence])
  }

  @Test func `places go through references, and every violation is reported`() throws {
    let schema = #"""
      {"$id": "https://example.com/s", "properties": {"a": {"$ref": "#/$defs/a b"}}, "required": ["x"],
        "$defs": {"a b": {"items": {"type": "string"}}}}
      """#
    let found = try violations(schema, #"{"a": ["x", 1, null]}"#)
    #expect(
      found.map(\.keywordLocation) == ["/required"]
        + Array(repeating: "/properties/a/$ref/items/type", count: 2))
    #expect(found.map(\.instanceLocation) == ["", "/a/1", "/a/2"])
    #expect(found[1].absoluteKeywordLocation == "https://example.com/s#/$defs/a%20b/items/type")
  }

  @Test func `a valid value has annotations`() throws {
    let schema = #"{"title": "T", "properties": {"a": {"description": "D"}}, "x-unit": "ms"}"#
    let report = try CompiledSchema(text: schema).explain(["a": 1])
    #expect(report.violations.isEmpty)
    let found = Set(report.annotations.map { "\($0.instanceLocation) \($0.keywordLocation)" })
    #expect(found == [" /title", " /properties", "/a /properties/a/description", " /x-unit"])
    #expect(report.basicOutput["valid"] == true)
  }
}
