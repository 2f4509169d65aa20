import JSON
import JSONSchema
import SchemaInference
import Testing

@Suite("Merging a validator") struct ValidatorMergeTests {
  /// What documents show, what the validator says, what both say, and what is reported as left out.
  private static let cases:
    [(inferred: String, validator: String, expected: String, leftOut: [String])] = [
      (
        #"{"type":"object","properties":{"n":{"type":"number"}}}"#,
        #"{"allOf":[{"required":["n"]},{"properties":{"n":{"minimum":1,"maximum":9}},"title":"T"},{"allOf":[{"properties":{"n":{"minimum":3}}}]}]}"#,
        #"{"type":"object","properties":{"n":{"type":"number","minimum":3,"maximum":9}},"required":["n"],"title":"T"}"#,
        []
      ),
      (
        #"{"type":"object"}"#,
        #"{"anyOf":[{"required":["a"]},{"properties":{"b":{"bsonType":["int","null"]}},"required":["b"]}]}"#,
        #"{"type":"object","anyOf":[{"required":["a"]},{"required":["b"],"properties":{"b":{"type":["integer","null"]}}}]}"#,
        []
      ),
      (
        #"{"properties":{"a":{"type":"string"}}}"#,
        #"{"properties":{"a":{"oneOf":[{"bsonType":"string","pattern":"^x"},{"bsonType":"objectId"}]}}}"#,
        #"{"properties":{"a":{"type":"string","anyOf":[{"type":"string","pattern":"^x"},{"type":"string","pattern":"^[0-9a-f]{24}$"}]}}}"#,
        ["/properties/a/oneOf of the validator is taken over as anyOf"]
      ),
      (
        #"{"anyOf":[{"type":"object"},{"type":"null"}]}"#, #"{"anyOf":[{"required":["a"]}]}"#,
        #"{"anyOf":[{"type":"object"},{"type":"null"}],"allOf":[{"anyOf":[{"required":["a"]}]}]}"#,
        []
      ),
      (
        "{}", #"{"not":{"required":["x"]},"anyOf":[{"not":{"bsonType":"null"}}]}"#,
        #"{"anyOf":[{"not":{"type":"null"}}],"not":{"required":["x"]}}"#, []
      ),
      (
        "{}",
        #"{"not":{"properties":{"x":{"bsonType":"int"}}},"anyOf":[{"not":{"bsonType":"object"}}]}"#,
        #"{"anyOf":[{}]}"#,
        ["/anyOf/0/not of the validator is not", "/not of the validator is not"]
      ),
      (
        "{}", #"{"dependencies":{"a":["b"],"c":{"properties":{"d":{"bsonType":"bool"}}}}}"#,
        #"{"dependentRequired":{"a":["b"]},"dependentSchemas":{"c":{"properties":{"d":{"type":"boolean"}}}}}"#,
        []
      ),
      // Names that a pattern matches are not among the others.
      (
        #"{"properties":{"a":{"type":"null"}}}"#,
        #"{"properties":{"a":{}},"patternProperties":{"^x":{"bsonType":"int"}},"additionalProperties":false}"#,
        #"{"properties":{"a":{"type":"null"}},"allOf":[{"patternProperties":{"^x":{"type":"integer"}},"additionalProperties":false,"properties":{"a":true}}]}"#,
        []
      ),
      (
        "{}", #"{"patternProperties":{"(?i)x":{}},"additionalProperties":false}"#, "{}",
        [
          "/patternProperties/(?i)x of the validator is not taken over",
          "/additionalProperties of the validator is not taken over",
        ]
      ),
      (
        "{}", #"{"items":[{"bsonType":"int"},{}],"additionalItems":false}"#,
        #"{"allOf":[{"prefixItems":[{"type":"integer"},{}],"items":false}]}"#, []
      ),
      // An ObjectId is a string in JSON, and no string to MongoDB.
      (
        "{}", #"{"properties":{"a":{"maxLength":3},"b":{"bsonType":"string","maxLength":3}}}"#,
        #"{"properties":{"a":{},"b":{"type":"string","maxLength":3}}}"#,
        ["/properties/a/maxLength of the validator is not taken over"]
      ),
      (
        "{}",
        #"{"allOf":[{"enum":["a","b"]},{"enum":["b","c"]},{"multipleOf":2},{"multipleOf":3}]}"#,
        #"{"enum":["b"],"multipleOf":2,"allOf":[{"multipleOf":3}]}"#, []
      ),
      ("{}", #"{"maximum":"50"}"#, "{}", ["/maximum of the validator is not taken over"]),
    ]

  @Test(arguments: cases.indices)
  func `what a validator composes is merged as far as it is certain`(_ index: Int) throws {
    let (inferred, validator, expected, leftOut) = Self.cases[index]
    let merge = ValidatorMerge(
      try JSONValue(parsing: inferred), try JSONValue(parsing: validator), isSimplified: true)
    #expect(merge.finished == (try JSONValue(parsing: expected)), "\(merge.finished)")
    #expect(merge.leftOut.count == leftOut.count, "\(merge.leftOut)")
    for (told, start) in zip(merge.leftOut, leftOut) { #expect(told.hasPrefix(start)) }
    _ = try CompiledSchema(merge.finished)
  }

  /// A validator of a field `v`, the same with its types where they don't show, values as they are published that MongoDB
  /// accepts by it, and some that it refuses and the merged schema, too: nothing where it says nothing.
  private static let published:
    [(validator: String, typed: String?, accepted: [String], refused: [String])] = [
      // A number equals decimals, which are published as strings.
      (#"{"enum":["1.5"]}"#, #"{"enum":[{"$numberDecimal":"1.5"}]}"#, [#""1.50""#, "1.5"], []),
      (#"{"enum":[1,2]}"#, nil, [#""1.0""#, "2", "1.0"], []),
      (#"{"enum":[1,2],"bsonType":["int","long"]}"#, nil, ["1", "2"], ["3", #""1""#]),
      (
        #"{"enum":["NaN",7],"bsonType":"double"}"#,
        #"{"enum":[{"$numberDouble":"NaN"},7],"bsonType":"double"}"#, [#""NaN""#, "7.0"], []
      ),
      (
        #"{"enum":[1.152921504606847e18],"bsonType":["long","double"]}"#, nil,
        ["1152921504606846976"], []
      ),
      (#"{"enum":[{"a":1}]}"#, nil, [#"{"a":"1.0"}"#], []),
      (#"{"enum":["a",null,true]}"#, nil, [#""a""#, "null", "true"], [#""b""#, "false"]),
      // Perl's patterns.
      (
        #"{"bsonType":"string","pattern":"^ab$"}"#, nil, [#""ab""#, #""ab\n""#],
        [#""abc""#, #""ab\n\n""#, #""ab\r""#]
      ),
      (
        #"{"bsonType":"string","pattern":"^a.b"}"#, nil,
        [#""a\rb""#, #""a\u2028b""#, #""a\u0085b""#],
        [#""a\nb""#, #""ab""#]
      ),
      (
        #"{"bsonType":"string","pattern":"^\\S+$"}"#, nil, [#""a\u00a0""#, #""\u2003""#],
        [#""a b""#]
      ),
      (#"{"bsonType":"string","pattern":"^[^\\s]$"}"#, nil, [#""\u00a0""#], [#""\t""#]),
      (
        #"{"bsonType":"string","pattern":"^(?:x|y{2,3})|z$"}"#, nil,
        [#""x""#, #""yy""#, #""az\n""#], [#""y""#, #""za""#]
      ),
      // What may mean something else.
      (#"{"bsonType":"string","pattern":"^(a$|b)"}"#, nil, [#""a\n""#, #""q""#], []),
      (#"{"bsonType":"string","pattern":"\\v"}"#, nil, [#""\u2028""#], []),
      (#"{"bsonType":"string","pattern":"^a++b"}"#, nil, [#""q""#], []),
      (#"{"bsonType":"string","pattern":"^\\Aa\\z"}"#, nil, [#""a""#], []),
      (#"{"bsonType":"string","pattern":"^[]a]"}"#, nil, [#""]""#], []),
      (#"{"bsonType":"string","pattern":"(?<=a)b"}"#, nil, [#""ab""#], []),
      // What differs in BSON alone.
      (
        #"{"uniqueItems":true}"#, nil,
        [#"["56e1fc72e0c917e9c4714161","56e1fc72e0c917e9c4714161"]"#], []
      ),
      (
        #"{"uniqueItems":true,"items":{"bsonType":["objectId","string"]}}"#, nil,
        [#"["56e1fc72e0c917e9c4714161","56e1fc72e0c917e9c4714161"]"#], []
      ),
      (
        #"{"uniqueItems":true,"items":{"bsonType":["string","int"]}}"#, nil, [#"["a","b",1]"#],
        [#"["a","a"]"#]
      ),
      (
        #"{"uniqueItems":true,"items":{"bsonType":["long","double"]}}"#, nil,
        ["[1152921504606847000,1152921504606847000]"], []
      ),
      // A timestamp and a regular expression are objects in JSON.
      (#"{"maxProperties":1}"#, nil, [#"{"t":1,"i":2}"#, #"{"pattern":"a","options":""}"#], []),
      (#"{"minProperties":3,"required":["a"]}"#, nil, [#"{"t":1,"i":2}"#], []),
      (#"{"properties":{"t":{"bsonType":"string"}}}"#, nil, [#"{"t":1,"i":2}"#], []),
      (#"{"properties":{"q":{"bsonType":"string"}}}"#, nil, [#"{"t":1,"i":2}"#], [#"{"q":1}"#]),
      (#"{"additionalProperties":false}"#, nil, [#"{"t":1,"i":2}"#], []),
      (#"{"anyOf":[{"required":["a"]},{"bsonType":"int"}]}"#, nil, [#"{"t":1,"i":2}"#], []),
      (
        #"{"bsonType":"object","maxProperties":1,"required":["a"]}"#, nil, [#"{"a":1}"#],
        [#"{"a":1,"b":2}"#, "{}"]
      ),
      (#"{"dependencies":{"t":["x"]}}"#, nil, [#"{"t":1,"i":2}"#], []),
      // Dates of other centuries.
      (
        #"{"bsonType":"date"}"#, nil, [#""253402300800000""#, #""2026-11-23T13:00:00.000Z""#], ["7"]
      ),
      // Large numbers are written in two ways.
      (#"{"minimum":1152921504606847000}"#, nil, ["1152921504606846976"], []),
      (#"{"maximum":1152921504606846976}"#, nil, ["1152921504606847000"], []),
      (#"{"minimum":5,"maximum":7}"#, nil, ["5", "7.0", #""1""#], ["4.9", "8"]),
      // MongoDB rounds doubles to 15 digits.
      (#"{"multipleOf":0.1}"#, nil, ["0.30000000000000004"], []),
      (#"{"multipleOf":2}"#, nil, ["4.000000000000001"], []),
      (#"{"multipleOf":2,"bsonType":["int","long"]}"#, nil, ["4"], ["5"]),
      (#"{"not":{"bsonType":"null"}}"#, nil, ["1"], ["null"]),
      (#"{"not":{"bsonType":"string"}}"#, nil, [#""56e1fc72e0c917e9c4714161""#], []),
      (#"{"not":{"required":["a","b"]}}"#, nil, [#"{"a":1,"b":1}"#], []),
      (
        #"{"bsonType":"object","not":{"required":["a","b"]}}"#, nil, [#"{"a":1}"#],
        [#"{"a":1,"b":1}"#]
      ),
      (#"{"not":{"enum":["x"]}}"#, nil, [#""x""#], []),
      (#"{"bsonType":"string","not":{"enum":["x"]}}"#, nil, [#""y""#], [#""x""#]),
    ]

  @Test(arguments: published.indices)
  func `what the server accepts is accepted as it is published`(_ index: Int) throws {
    let (validator, typed, accepted, refused) = Self.published[index]
    func whole(_ text: String) throws -> JSONValue {
      ["bsonType": "object", "properties": ["v": try JSONValue(parsing: text)]]
    }
    // By itself, and as a part.
    for isPart in [false, true] {
      func form(_ text: String) throws -> JSONValue {
        isPart ? ["anyOf": [try whole(text)]] : try whole(text)
      }
      let merge = ValidatorMerge(
        ["type": "object"], try form(validator), typed: try typed.map(form), isSimplified: true)
      let schema = try CompiledSchema(merge.finished)
      for text in accepted {
        let value: JSONValue = ["v": try JSONValue(parsing: text)]
        #expect(schema.explain(value).isValid, "\(text) by \(merge.finished)")
      }
      for text in refused {
        let value: JSONValue = ["v": try JSONValue(parsing: text)]
        #expect(!schema.explain(value).isValid, "\(text) by \(merge.finished)")
      }
    }
  }

  @Test func `what documents break is withdrawn as a whole`() throws {
    let validator: JSONValue = [
      "allOf": [
        ["properties": ["n": ["maximum": 9]]], ["properties": ["n": ["maximum": 5]]],
        ["anyOf": [["required": ["a"]]]], ["anyOf": [["required": ["b"]]]],
        ["anyOf": [["required": ["c"]]]],
      ]
    ]
    var merge = ValidatorMerge(
      ["properties": ["n": ["type": "number"]]], validator, isSimplified: true)
    let before = merge.schema
    #expect(before["allOf"]?.arrayValue?.count == 2 && before["anyOf"] != nil)
    var withdrawn: [Bool] = []
    for keyword in [
      "/allOf/0/anyOf/0/required", "/anyOf", "/properties/n/maximum", "/properties/n/type",
    ] {
      withdrawn.append(merge.withdraw(keyword, missing: { _ in true }))
    }
    #expect(withdrawn == [true, true, true, false])
    #expect(
      merge.finished == [
        "properties": ["n": ["type": "number"]], "allOf": [["anyOf": [["required": ["c"]]]]],
      ])
    #expect(
      merge.leftOut.map { $0.prefix { $0 != " " } } == [
        "/allOf/3/anyOf", "/allOf/2/anyOf", "/allOf/0/properties/n/maximum",
      ])
  }

  @Test func `in other styles names are merged, and the rest is named`() throws {
    let merge = ValidatorMerge(
      [:], ["allOf": [["required": ["a"]], ["anyOf": [["bsonType": "int"]]]], "not": [:]],
      isSimplified: false)
    #expect(merge.finished == ["required": ["a"]])
    #expect(merge.leftOut.count == 2, "\(merge.leftOut)")
  }
}
