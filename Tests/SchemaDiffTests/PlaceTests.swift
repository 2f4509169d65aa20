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

  /// Beside a rule of an alternative that is named, and whatever else is.
  @Test(arguments: ["anyOf", "oneOf"])
  func `a whole new alternative is named`(_ keyword: String) throws {
    func schema(_ longest: Int, _ more: String) -> String {
      """
      {"properties":{"v":{"\(keyword)":[{"type":"string","maxLength":\(longest)},{"type":"null"}\(more)]}}}
      """
    }
    let old = schema(5, "")
    let comparison = try compare(
      old,
      schema(9, #",{"type":"integer","minimum":1},{"type":"object","required":["url"]}"#))
    let differences = comparison.forward.differences
    #expect(
      places(differences) == [
        "/properties/v/\(keyword)/0/maxLength /v", "/properties/v/\(keyword) /v",
        "/properties/v/\(keyword) /v",
      ])
    #expect(differences[1].message.hasSuffix("NEW has another one, /properties/v/\(keyword)/2"))
    #expect(differences[1].witness["v"]?.integer(Int.self) != nil)
    #expect(differences[2].message.hasSuffix("NEW has another one, /properties/v/\(keyword)/3"))
    #expect(differences[2].witness["v"]?.objectValue != nil)
    try check(
      comparison.forward,
      writer: schema(9, #",{"type":"integer","minimum":1},{"type":"object","required":["url"]}"#),
      reader: old)
    #expect(comparison.backward.verdict == .compatible)
    #expect(comparison.forward.doubts.isEmpty)
  }

  /// Each witness is accepted by its writer's schema, and refused by its reader's.
  private func check(
    _ direction: SchemaComparison.Direction, writer: String, reader: String
  ) throws {
    let (writer, reader) = (try CompiledSchema(text: writer), try CompiledSchema(text: reader))
    for difference in direction.differences + direction.caveats {
      #expect(writer.explain(difference.witness).isValid, "\(difference)")
      #expect(!reader.explain(difference.witness).isValid, "\(difference)")
    }
  }

  @Test func `a new type of an alternative is named beside its new length`() throws {
    let old = #"{"anyOf":[{"type":"string","maxLength":5},{"type":"null"}]}"#
    let new = #"{"anyOf":[{"type":["string","boolean"],"maxLength":9},{"type":"null"}]}"#
    let comparison = try compare(old, new)
    try check(comparison.forward, writer: new, reader: old)
    #expect(comparison.forward.differences.contains { $0.witness.boolValue != nil })
    #expect(comparison.forward.differences.contains { $0.witness.stringValue != nil })
  }

  /// The rule that refuses the one type must not hide the other.
  @Test func `a new type and a new alternative are both told`() throws {
    let old = #"{"anyOf":[{"type":"string","maxLength":5},{"type":"null"}]}"#
    let new =
      #"{"anyOf":[{"type":["string","boolean"],"maxLength":9},{"type":"null"},{"type":"array"}]}"#
    let comparison = try compare(old, new)
    try check(comparison.forward, writer: new, reader: old)
    #expect(
      comparison.forward.differences.contains {
        $0.witness.arrayValue != nil && $0.message.hasSuffix("NEW has another one, /anyOf/2")
      }, "\(comparison.forward)")
    #expect(comparison.forward.differences.contains { $0.witness.boolValue != nil })
    #expect(comparison.forward.differences.contains { $0.witness.stringValue != nil })
  }

  @Test func `what is no alternative any more is named`() throws {
    let old = #"{"anyOf":[{"type":"string","maxLength":5},{"type":"null"}]}"#
    let new = #"{"type":["string","null","array"],"maxLength":5}"#
    let comparison = try compare(old, new)
    #expect(comparison.forward.differences.count == 1)
    #expect(comparison.forward.differences.first?.witness.arrayValue != nil)
  }

  @Test func `with strict nothing is left out of the differences`() throws {
    let comparison = try compare(
      #"{"type":"object","properties":{"a":{"type":"string"}}}"#,
      #"{"type":"object","properties":{"a":{"type":"string"},"b":{"anyOf":[{"type":"integer"},{"type":"null"}]}}}"#
    )
    #expect(comparison.backward.verdict == .compatible)
    let strict = comparison.json(for: .backward, isStrict: true)
    #expect(strict["verdict"] == "incompatible")
    #expect(strict["backward"]?["verdict"] == "incompatible")
    let differences = try #require(strict["backward"]?["differences"]?.arrayValue)
    #expect(differences.count == 1)
    #expect(differences.first?["pointer"] == "/properties/b/anyOf")
    #expect(differences.first?["witness"]?["b"] != nil)
    #expect(strict["backward"]?["caveats"]?.arrayValue?.isEmpty == true)
    let lenient = comparison.json(for: .backward)
    #expect(lenient["backward"]?["differences"]?.arrayValue?.isEmpty == true)
    #expect(lenient["backward"]?["caveats"]?.arrayValue?.count == 1)
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

  /// Closed by what their kind evaluates.
  @Test(arguments: ["anyOf", "oneOf"], [true, false])
  func `kinds with members of their own are decided soon`(_ keyword: String, _ isEach: Bool) throws
  {
    func kinds(_ count: Int, _ type: String) throws -> CompiledSchema {
      let all = (0..<count).map { number -> JSONValue in
        var kind: JSONValue = [
          "required": ["kind"],
          "properties": [
            "kind": ["const": .string("k\(number)")], "m\(number)": ["type": .string(type)],
          ],
        ]
        if isEach { kind["type"] = "object" }
        return kind
      }
      var schema: JSONValue = .object([
        .init(keyword, .array(all)), .init("unevaluatedProperties", false),
      ])
      if !isEach { schema["type"] = "object" }
      return try CompiledSchema(schema)
    }
    let began = ContinuousClock.now
    let wider = SchemaComparison(old: try kinds(8, "integer"), new: try kinds(8, "number"))
    #expect(wider.backward.verdict == .compatible, "\(wider.backward)")
    #expect(wider.forward.verdict == .incompatible, "\(wider.forward)")
    let more = SchemaComparison(old: try kinds(8, "integer"), new: try kinds(9, "integer"))
    #expect(more.backward.verdict == .compatible, "\(more.backward)")
    #expect(more.forward.verdict == .incompatible, "\(more.forward)")
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
