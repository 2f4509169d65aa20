import JSON
import JSONSchema
import SchemaInference
import Testing

@Suite("Widening") struct WideningTests {
  private static let cases: [(schema: String, value: String, expected: String)] = [
    (#"{"type":"integer"}"#, "1.5", #"{"type":"number"}"#),
    (#"{"const":1}"#, "2", #"{"enum":[1,2]}"#),
    (#"{"exclusiveMinimum":3}"#, "3", #"{"minimum":3}"#),
    (#"{"required":["a","b"]}"#, #"{"b":1}"#, #"{"required":["b"]}"#),
    (#"{"minLength":2,"maxLength":3}"#, #""abcd""#, #"{"minLength":2,"maxLength":4}"#),
    (
      #"{"additionalProperties":false}"#, #"{"a/%":true}"#,
      #"{"additionalProperties":false,"properties":{"a/%":{"type":"boolean"}}}"#
    ),
    (
      #"{"properties":{"a/% ":{"type":"string"}}}"#, #"{"a/% ":null}"#,
      #"{"properties":{"a/% ":{"type":["string","null"]}}}"#
    ),
    (
      ##"{"$defs":{"t":{"pattern":"^a"}},"items":{"$ref":"#/$defs/t"}}"##, #"["b"]"#,
      ##"{"$defs":{"t":{}},"items":{"$ref":"#/$defs/t"}}"##
    ),
    (
      #"{"anyOf":[{"type":"string"},{"type":"null"}]}"#, "true",
      #"{"anyOf":[{"type":"string"},{"type":"null"},{"type":"boolean"}]}"#
    ),
    (
      #"{"oneOf":[{"required":["a"]},{"required":["b"]}]}"#, #"{"a":1,"b":2}"#,
      #"{"anyOf":[{"required":["a"]},{"required":["b"]}]}"#
    ),
  ]

  @Test(arguments: cases.indices)
  func `a keyword gives way as far as the value takes, and no further`(_ index: Int) throws {
    let (schema, text, expected) = Self.cases[index]
    let value = try JSONValue(parsing: text)
    let widening = try SchemaWidening(try JSONValue(parsing: schema), toAccept: [value])
    #expect(widening.unresolved.isEmpty && widening.changes.count == 1)
    #expect(widening.schema == (try JSONValue(parsing: expected)))
    #expect(try CompiledSchema(widening.schema).explain(value).isValid)
  }

  @Test func `what can't give way is named`() throws {
    let schema: JSONValue = ["not": ["type": "string"]]
    let widening = try SchemaWidening(schema, toAccept: ["a", 1])
    #expect(widening.schema == schema && widening.changes.isEmpty)
    #expect(widening.unresolved == ["/not: not does not give way by itself"])
  }
}
