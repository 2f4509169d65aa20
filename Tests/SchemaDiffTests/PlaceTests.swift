import JSON
import JSONSchema
import SchemaDiff
import Testing

/// Where differences are, and what is said of them.
@Suite("Places of differences") struct PlaceTests {
  func compare(_ old: String, _ new: String) throws -> SchemaComparison {
    SchemaComparison(old: try CompiledSchema(text: old), new: try CompiledSchema(text: new))
  }

  /// `pointer instance` of each.
  func places(_ differences: [SchemaComparison.Difference]) -> [String] {
    differences.map { "\($0.pointer) \($0.instance)" }
  }

  @Test func `each rule is told, with what the other version asks`() throws {
    let comparison = try compare(
      #"{"properties":{"a":{"maxLength":5},"b":{"items":{"type":"integer"}}}}"#,
      #"{"properties":{"a":{"maxLength":3},"b":{"items":{"type":"string"}}},"required":["a"]}"#)
    #expect(
      places(comparison.backward.differences) == [
        "/required ", "/properties/a/maxLength /a", "/properties/b/items/type /b/*",
      ])
    #expect(
      comparison.backward.differences[1].message
        == "NEW asks: maxLength 3; OLD has maxLength 5")
    #expect(comparison.backward.differences[1].witness == ["a": "text"])
    #expect(places(comparison.forward.differences) == ["/properties/b/items/type /b/*"])
  }

  @Test func `a rule behind a reference is told once, where it is`() throws {
    let old = #"""
      {"$defs":{"user":{"type":"object","properties":{"name":{"type":"string"}}}},
       "properties":{"from":{"$ref":"#/$defs/user"},"to":{"$ref":"#/$defs/user"}}}
      """#
    let comparison = try compare(old, old.replacing("\"string\"", with: "[\"string\",\"null\"]"))
    #expect(comparison.backward.verdict == .compatible)
    #expect(
      places(comparison.forward.differences) == ["/$defs/user/properties/name/type /from/name"])
  }

  @Test func `the rule of an alternative that stands in the way alone`() throws {
    func schema(_ length: Int) -> String {
      let kinds = ["text", "file", "call"].enumerated().map { index, kind in
        #"""
        {"properties":{"kind":{"const":"\#(kind)"},"a":{"type":"string","maxLength":\#(index == 1 ? length : 9)},
         "b\#(index)":{"type":"integer"}},"required":["kind","a"],"additionalProperties":false}
        """#
      }
      return #"{"type":"object","oneOf":[\#(kinds.joined(separator: ","))]}"#
    }
    let comparison = try compare(schema(20), schema(10))
    #expect(
      places(comparison.backward.differences) == ["/oneOf/1/properties/a/maxLength /a"])
    let backwards = try compare(schema(10), schema(20))
    #expect(
      places(backwards.forward.differences) == ["/oneOf/1/properties/a/maxLength /a"])
  }

  @Test func `a schema that refers to itself is told below itself`() throws {
    let comparison = try compare(
      ##"{"properties":{"children":{"items":{"$ref":"#"}},"n":{"minimum":1}}}"##,
      ##"{"properties":{"children":{"items":{"$ref":"#"}},"n":{"minimum":2}}}"##)
    #expect(places(comparison.backward.differences) == ["/properties/n/minimum /n"])
  }

  @Test func `a schema in another document`() throws {
    var set = SchemaSet()
    set.add(["type": "string", "minLength": 2], uri: "https://example.org/name.json")
    let old = try CompiledSchema(text: #"{"properties":{"a":{"type":"string"}}}"#)
    let new = try CompiledSchema(
      text: #"{"properties":{"a":{"$ref":"https://example.org/name.json"}}}"#, set: set)
    let comparison = SchemaComparison(old: old, new: new)
    #expect(
      places(comparison.backward.differences) == ["https://example.org/name.json#/minLength /a"])
  }

  @Test func `verdicts by what is asked for`() throws {
    let comparison = try compare(
      #"{"properties":{"a":{"type":"string"}}}"#,
      #"{"properties":{"a":{"type":["string","null"]},"b":{"type":"integer"}}}"#)
    #expect(comparison.verdict(for: .backward) == .compatible)
    #expect(comparison.verdict(for: .backward, isStrict: true) == .incompatible)
    #expect(comparison.verdict(for: .forward) == .incompatible)
    #expect(comparison.verdict(for: .full) == .incompatible)
    #expect(comparison.verdict(for: .none) == .compatible)
    #expect(comparison.backward.caveats.map(\.pointer) == ["/properties/b/type"])
    let text = comparison.text()
    #expect(text.contains("only for members that the writer's schema doesn't declare"))
    #expect(text.hasSuffix("FULL incompatible"))
    let json = comparison.json(for: .full)
    #expect(json["verdict"] == "incompatible")
    #expect(json["forward"]?["differences"]?.arrayValue?.first?["breaks"] == "consumers")
  }

  /// Events of many kinds, and one more of them: the usual course of such a schema.
  @Test(arguments: ["oneOf", "anyOf"])
  func `a union of many kinds is decided`(_ keyword: String) throws {
    func kinds(_ count: Int, longest: Int) throws -> CompiledSchema {
      let all = (0..<count).map { number -> JSONValue in
        [
          "type": "object", "required": ["kind"],
          "properties": [
            "kind": ["const": .string("k\(number)")], "v": ["maxLength": .int(longest)],
          ],
        ]
      }
      return try CompiledSchema(.object([.init(keyword, .array(all))]))
    }
    let present = try kinds(20, longest: 5)
    let more = SchemaComparison(old: present, new: try kinds(21, longest: 5))
    #expect(more.backward.verdict == .compatible)
    #expect(more.forward.verdict == .incompatible)
    let shorter = SchemaComparison(old: present, new: try kinds(20, longest: 4))
    #expect(shorter.backward.verdict == .incompatible)
    #expect(shorter.forward.verdict == .compatible)
  }

  /// Where dynamic references lead depends on the way to them.
  private static let dynamic = [
    #"{"$ref":"https://json-schema.org/draft/2020-12/schema"}"#,
    #"{"type":"object","properties":{"form":{"$ref":"https://json-schema.org/draft/2019-09/schema"}}}"#,
    #"{"type":"object","properties":{"form":{"$ref":"https://json-schema.org/draft/2020-12/meta/applicator"}}}"#,
    ##"""
    {"$id":"https://example.org/root","type":"object",
     "properties":{"a":{"$ref":"list"},"b":{"$ref":"texts"},"c":{"$ref":"numbers"}},
     "$defs":{
      "list":{"$id":"list","type":"array","items":{"$dynamicRef":"#item"},"$defs":{"any":{"$dynamicAnchor":"item"}}},
      "texts":{"$id":"texts","$ref":"list","$defs":{"one":{"$dynamicAnchor":"item","type":"string"}}},
      "numbers":{"$id":"numbers","$ref":"list","$defs":{"one":{"$dynamicAnchor":"item","type":"number"}}}}}
    """##,
    ##"""
    {"$schema":"https://json-schema.org/draft/2019-09/schema","$id":"https://example.org/tree","$recursiveAnchor":true,
     "type":"object","properties":{"below":{"items":{"$recursiveRef":"#"}},"strict":{"$ref":"closed"}},
     "$defs":{"closed":{"$id":"closed","$recursiveAnchor":true,"$ref":"tree","unevaluatedProperties":false}}}
    """##,
  ]

  @Test(arguments: dynamic) func `a schema and itself are equal, wherever references lead`(
    _ text: String
  ) throws {
    let comparison = try compare(text, text)
    #expect(comparison.verdict(for: .full, isStrict: true) == .compatible)
    var changed = try JSONValue(parsing: text)
    changed["title"] = "Another"
    #expect(try compare(text, changed.text()).verdict(for: .full, isStrict: true) == .compatible)
    // Where nothing is closed.
    guard changed["properties"] != nil, !text.contains("unevaluated") else { return }
    changed["properties"]?["more"] = ["type": "integer"]
    let added = try compare(text, changed.text())
    #expect(added.verdict(for: .full) == .compatible, "\(added)")
    #expect(added.backward.caveats.map(\.pointer) == ["/properties/more/type"])
    changed["required"] = ["more"]
    let demanded = try compare(text, changed.text())
    #expect(demanded.backward.verdict == .incompatible)
    #expect(demanded.forward.verdict == .compatible)
  }

  @Test func `a dynamic reference is followed from each place that leads to it`() throws {
    let old = Self.dynamic[3]
    let comparison = try compare(
      old, old.replacing(#""type":"string""#, with: #""type":["string","null"]"#))
    #expect(comparison.backward.verdict == .compatible)
    #expect(
      places(comparison.forward.differences) == ["https://example.org/texts#/$defs/one/type /b/*"])
    #expect(comparison.forward.differences.first?.witness == ["b": [.null]])
  }

  /// Whether each kind says that it is an object, or all of them are by what is around.
  @Test(arguments: [true, false]) func `a hundred kinds are decided soon`(_ isEach: Bool) throws {
    func kinds(_ count: Int) throws -> CompiledSchema {
      let all = (0..<count).map { number -> JSONValue in
        var kind: JSONValue = [
          "required": ["kind", "v"],
          "properties": [
            "kind": ["const": .string("k\(number)")],
            "v": ["type": .string(["string", "integer", "boolean"][number % 3])],
          ],
        ]
        if isEach { kind["type"] = "object" }
        return kind
      }
      var schema: JSONValue = ["oneOf": .array(all)]
      if !isEach { schema["type"] = "object" }
      return try CompiledSchema(schema)
    }
    let began = ContinuousClock.now
    let comparison = SchemaComparison(old: try kinds(100), new: try kinds(101))
    #expect(comparison.backward.verdict == .compatible)
    #expect(comparison.forward.verdict == .incompatible)
    // A fraction of that, unless the machine is busy.
    #expect(ContinuousClock.now - began < .seconds(60))
  }

  @Test func `witnesses are numbers that others can read`() throws {
    for (old, new) in [
      (#"{"type":"number"}"#, #"{"maximum":1e308}"#),
      (#"{"type":"number"}"#, #"{"minimum":-1.5e308}"#),
      (#"{"type":"number","exclusiveMinimum":0}"#, #"{"minimum":1e-300}"#),
      (#"{"maximum":1.7e308}"#, #"{"maximum":1e307}"#),
    ] {
      for difference in try compare(old, new).backward.differences {
        let number = try #require(difference.witness.doubleValue)
        #expect(number.isFinite && number != 0, "\(difference.witness)")
      }
    }
  }
}
