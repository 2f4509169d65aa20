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
}
