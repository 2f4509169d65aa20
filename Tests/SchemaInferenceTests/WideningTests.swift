import JSON
import JSONSchema
import SchemaInference
import Testing

@Suite("Widening") struct WideningTests {
  private static let cases: [(schema: String, value: String, expected: String)] = [
    (#"{"type":"integer"}"#, "1.5", #"{"type":"number"}"#),
    (#"{"const":1}"#, "2", #"{"enum":[1,2]}"#),
    (#"{"exclusiveMinimum":3}"#, "3", #"{"minimum":3}"#),
    // What looks like a secret isn't quoted.
    (
      #"{"properties":{"password":{"enum":["a"]}}}"#, #"{"password":"hunter2"}"#,
      #"{"properties":{"password":{}}}"#
    ),
    (
      #"{"properties":{"pin":{"maximum":9}}}"#, #"{"pin":4711}"#, #"{"properties":{"pin":{}}}"#
    ),
    (
      #"{"properties":{"note":{"const":"a"}}}"#, #"{"note":"ghp_0123456789"}"#,
      #"{"properties":{"note":{}}}"#
    ),
    (
      #"{"properties":{"tokenCount":{"maximum":9}}}"#, #"{"tokenCount":12}"#,
      #"{"properties":{"tokenCount":{"maximum":12}}}"#
    ),
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
    ("false", "1", #"{"type":"number"}"#),
    // How many, not what.
    (
      #"{"contains":{"const":1}}"#, "[2]", #"{"contains":{"const":1},"minContains":0}"#
    ),
    (
      #"{"contains":{"type":"integer"},"minContains":3,"maxContains":4}"#, #"[1,"a",2.0]"#,
      #"{"contains":{"type":"integer"},"minContains":2,"maxContains":4}"#
    ),
    (
      #"{"contains":{"minLength":1},"minContains":1,"maxContains":1}"#, #"["a","b",4,""]"#,
      #"{"contains":{"minLength":1},"minContains":1,"maxContains":3}"#
    ),
    (
      ##"{"items":{"$ref":"#/$defs/l"},"$defs":{"l":{"contains":{"$ref":"#/$defs/i"},"minContains":2},"i":{"const":1}}}"##,
      "[[1,1],[1]]",
      ##"{"items":{"$ref":"#/$defs/l"},"$defs":{"l":{"contains":{"$ref":"#/$defs/i"},"minContains":1},"i":{"const":1}}}"##
    ),
    (
      #"{"$schema":"http://json-schema.org/draft-07/schema#","contains":{"const":1}}"#, "[2]",
      #"{"$schema":"http://json-schema.org/draft-07/schema#"}"#
    ),
    (#"{"maximum":9007199254740993}"#, "9007199254740995", #"{"maximum":9007199254740995}"#),
    (#"{"type":"string"}"#, "1e2", #"{"type":["string","integer"]}"#),
    // The one alternative that nearly accepts it, and not what tells kinds apart.
    (
      #"{"anyOf":[{"type":"string","maxLength":2},{"type":"null"}]}"#, #""abc""#,
      #"{"anyOf":[{"type":"string","maxLength":3},{"type":"null"}]}"#
    ),
    (
      #"{"oneOf":[{"properties":{"k":{"const":1},"a":{"type":"null"}}},{"properties":{"k":{"const":2}}}]}"#,
      #"{"k":1,"a":true}"#,
      #"{"oneOf":[{"properties":{"k":{"const":1},"a":{"type":["null","boolean"]}}},{"properties":{"k":{"const":2}}}]}"#
    ),
    (
      #"{"anyOf":[{"enum":["a","b"]},{"type":"null"}]}"#, #""c""#,
      #"{"anyOf":[{"enum":["a","b","c"]},{"type":"null"}]}"#
    ),
    (
      #"{"oneOf":[{"properties":{"k":{"const":1}}},{"properties":{"k":{"const":2}}}]}"#,
      #"{"k":3}"#,
      #"{"anyOf":[{"properties":{"k":{"const":1}}},{"properties":{"k":{"const":2}}},{"type":"object","properties":{"k":{"type":"number"}}}]}"#
    ),
    // What is not evaluated only because something else is wrong.
    (
      #"{"allOf":[{"properties":{"a":{"type":"null"}}}],"unevaluatedProperties":false}"#,
      #"{"a":true}"#,
      #"{"allOf":[{"properties":{"a":{"type":["null","boolean"]}}}],"unevaluatedProperties":false}"#
    ),
    (
      #"{"properties":{"a":true},"unevaluatedProperties":false}"#, #"{"a":1,"b":null}"#,
      #"{"properties":{"a":true,"b":{"type":"null"}},"unevaluatedProperties":false}"#
    ),
    (
      #"{"prefixItems":[true],"unevaluatedItems":false}"#, "[1,null]",
      #"{"prefixItems":[true],"unevaluatedItems":{"type":"null"}}"#
    ),
    (
      #"{"if":{"required":["a"]},"then":{"required":["b"]},"else":false}"#, #"{"a":1}"#,
      #"{"if":{"required":["a"]},"then":{},"else":false}"#
    ),
    (
      #"{"dependentSchemas":{"a":{"properties":{"b":{"maximum":3}}}}}"#, #"{"a":1,"b":4}"#,
      #"{"dependentSchemas":{"a":{"properties":{"b":{"maximum":4}}}}}"#
    ),
    (
      #"{"dependentRequired":{"a":["b","c"],"d":["e"]}}"#, #"{"a":1,"b":1}"#,
      #"{"dependentRequired":{"a":["b"],"d":["e"]}}"#
    ),
    (
      ##"{"$defs":{"n":{"maxLength":1}},"propertyNames":{"$ref":"#/$defs/n"}}"##, #"{"ab":[]}"#,
      ##"{"$defs":{"n":{"maxLength":2}},"propertyNames":{"$ref":"#/$defs/n"}}"##
    ),
    (
      ##"{"$defs":{"t":{"$anchor":"x","type":"null"}},"properties":{"a":{"$ref":"#x"}}}"##,
      #"{"a":true}"#,
      ##"{"$defs":{"t":{"$anchor":"x","type":["null","boolean"]}},"properties":{"a":{"$ref":"#x"}}}"##
    ),
    (
      ##"{"$id":"urn:a:b","$defs":{"t":{"$id":"urn:c:d","items":{"type":"null"}}},"$ref":"urn:c:d"}"##,
      "[true]",
      ##"{"$id":"urn:a:b","$defs":{"t":{"$id":"urn:c:d","items":{"type":["null","boolean"]}}},"$ref":"urn:c:d"}"##
    ),
    (
      ##"{"$schema":"http://json-schema.org/draft-07/schema#","dependencies":{"a":["b"]},"items":[{"type":"null"}],"additionalItems":false}"##,
      #"{"a":1}"#,
      ##"{"$schema":"http://json-schema.org/draft-07/schema#","items":[{"type":"null"}],"additionalItems":false}"##
    ),
  ]

  @Test(arguments: cases.indices)
  func `a keyword gives way as far as the value takes, and no further`(_ index: Int) throws {
    let (schema, text, expected) = Self.cases[index]
    let value = try JSONValue(parsing: text)
    let widening = try SchemaWidening(try JSONValue(parsing: schema), toAccept: [value])
    #expect(widening.remainders == [] && widening.changes.count == 1 && widening.accepted == 1)
    #expect(widening.schema == (try JSONValue(parsing: expected)))
    #expect(try CompiledSchema(widening.schema).explain(value).isValid)
  }

  @Test func `what can't give way is named, and changes nothing`() throws {
    let schema: JSONValue = [
      "properties": ["a": ["not": ["type": "string"]], "b": ["maximum": 3]]
    ]
    let widening = try SchemaWidening(
      schema, toAccept: [["a": "x", "b": 9], ["b": 5], ["a": 1], ["a": "y"]])
    #expect(
      widening.schema == [
        "properties": ["a": ["not": ["type": "string"]], "b": ["maximum": 5]]
      ])
    #expect(widening.accepted == 2 && widening.changes.map(\.pointer) == ["/properties/b/maximum"])
    #expect(widening.remainders.map(\.count) == [2])
    #expect(
      widening.remainders.first?.reason.hasPrefix("/properties/a/not forbids what is at /a") == true
    )
  }

  @Test func `what a change would refuse elsewhere is not proposed`() throws {
    // The same schema asks and forbids: whatever accepts one refuses the other.
    let schema: JSONValue = [
      "$defs": ["t": ["maximum": 3]],
      "if": ["required": ["x"]],
      "then": ["properties": ["a": ["$ref": "#/$defs/t"]]],
      "else": ["properties": ["a": ["not": ["$ref": "#/$defs/t"]]]],
    ]
    let values: [JSONValue] = [["a": 5, "x": 1], ["a": 4]]
    let widening = try SchemaWidening(schema, toAccept: values)
    let compiled = try CompiledSchema(widening.schema)
    #expect(values.count { compiled.explain($0).isValid } == widening.accepted)
    #expect(widening.accepted == 1 && widening.remainders.count == 1)
  }

  @Test func `what another document says changes there`() throws {
    let documents = [
      SchemaWidening.Document(
        name: "a.json", uris: ["file:///s/a.json"],
        schema: [
          "properties": ["u": ["$ref": "lib/b.json#/$defs/user"], "n": ["$ref": "#/$defs/n"]],
          "$defs": ["n": ["maximum": 1]],
        ]),
      SchemaWidening.Document(
        name: "lib/b.json", uris: ["file:///s/lib/b.json", "https://example.org/b"],
        schema: [
          "$id": "https://example.org/b",
          "$defs": [
            "user": [
              "properties": ["name": ["$ref": "#/$defs/text"], "nick": ["$ref": "#/$defs/text"]]
            ],
            "text": ["maxLength": 2],
          ],
        ]),
    ]
    let values: [JSONValue] = [["u": ["name": "abc"], "n": 2], ["u": ["nick": "abcd"]]]
    let widening = try SchemaWidening(documents, toAccept: values)
    #expect(widening.accepted == 2 && widening.remainders == [])
    #expect(widening.changes.map(\.document).sorted() == [0, 1])
    #expect(widening.documents[0].schema["$defs"] == ["n": ["maximum": 2]])
    #expect(widening.documents[1].schema["$defs"]?["text"] == ["maxLength": 4])
    #expect(widening.changes.first { $0.document == 1 }?.what == "2 → 4; 2 references lead there")
    let compiled = try SchemaWidening.compiled(widening.documents)
    #expect(values.allSatisfy { compiled.explain($0).isValid })
  }

  @Test func `a metaschema can't be changed, so the reference has to be`() throws {
    let schema: JSONValue = [
      "properties": ["s": ["$ref": "https://json-schema.org/draft/2020-12/schema"]]
    ]
    let widening = try SchemaWidening(schema, toAccept: [["s": ["type": "text"]]])
    #expect(widening.accepted == 0 && widening.schema == schema)
    #expect(
      widening.remainders.contains { $0.reason.contains("let /properties/s/$ref") },
      "\(widening.remainders)")
  }
}
