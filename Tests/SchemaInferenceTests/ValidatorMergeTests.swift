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
