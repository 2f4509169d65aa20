import JSON
import JSONSchema
import Testing

@Suite struct SchemaErrorTests {
  @Test(arguments: [
    (#"{"type": "text"}"#, "/type", "needs a type or a list of types"),
    (#"{"properties": {"a": {"minLength": -1}}}"#, "/properties/a/minLength", "whole number"),
    (#"{"properties": {"a/b": {"maximum": "1"}}}"#, "/properties/a~1b/maximum", "needs a number"),
    (#"{"multipleOf": 0}"#, "/multipleOf", "above 0"), (#"{"required": "a"}"#, "/required", "list"),
    (#"{"required": [1]}"#, "/required", "names"), (#"{"enum": 1}"#, "/enum", "list of values"),
    (#"{"allOf": []}"#, "/allOf", "isn't empty"), (#"{"properties": []}"#, "/properties", "object"),
    (#"{"items": 1}"#, "/items", "true or false"), (#"{"not": null}"#, "/not", "true or false"),
    (#"{"uniqueItems": "yes"}"#, "/uniqueItems", "true or false"),
    (#"{"pattern": "("}"#, "/pattern", "without its ')'"), (#"{"$ref": 1}"#, "/$ref", "URI"),
    (##"{"$ref": "#/$defs/a"}"##, "/$ref", "leads nowhere"),
    (##"{"$ref": "#a"}"##, "/$ref", "no anchor"),
    (#"{"$ref": "other.json"}"#, "/$ref", "never fetched"),
    (##"{"$ref": "#/%zz"}"##, "/$ref", "percent"),
    (##"{"$ref": "#"}"##, "", "never end"), (##"{"allOf": [{"$ref": "#"}]}"##, "", "never end"),
    (#"{"$schema": "http://example.com/nope"}"#, "/$schema", "not a draft known here"),
    (#"{"$defs": {"a": {"$anchor": "x"}, "b": {"$anchor": "x"}}}"#, "/$defs/b", "is taken"),
    (#"{"maxLength": 5, "maxLength": 100}"#, "/maxLength", "twice"),
    (#"{"items": [{"const": {"a/b": 1, "a/b": 2}}]}"#, "/items/0/const/a~1b", "twice"),
    ("1", "", "a schema is an object"), ("{", "", "invalid JSON"),
  ])
  func `errors name the place and what is wrong`(
    schema: String, pointer: String, part: String
  ) throws {
    let error = try #require(schemaError(schema), "\(schema)")
    #expect(error.pointer == pointer, "\(error)")
    #expect(error.message.contains(part), "\(error)")
  }

  @Test func `metaschemas are valid by themselves`() throws {
    for draft in SchemaDraft.allCases {
      let schema = try CompiledSchema(reference: draft.rawValue, set: SchemaSet())
      let validator = SchemaValidator(schema)
      for value in [#"{"type": "object", "properties": {"a": {"minimum": 1}}}"#, "true"] {
        let wrapped = try #require(Wrapped(try JSONValue(parsing: value)))
        #expect(try wrapped.use { validator.validate(value: $0) })
      }
      let broken = try #require(
        Wrapped(try JSONValue(parsing: #"{"properties": {"a": {"minimum": "1"}}}"#)))
      #expect(try !broken.use { validator.validate(value: $0) })
    }
  }

  @Test func `documents come from the set, by their URI or $id, or from the resolver`() throws {
    var set = SchemaSet { uri in
      uri == "https://example.com/c.json" ? try? JSONValue(parsing: #"{"type": "boolean"}"#) : nil
    }
    try set.add(text: #"{"type": "string"}"#, uri: "https://example.com/a.json")
    try set.add(
      text: #"{"$defs": {"x": {"$id": "https://example.com/b.json", "type": "integer"}}}"#,
      uri: "file:///schemas/any.json")
    let options = SchemaOptions()
    for (name, value) in [("a", "\"x\""), ("b", "1"), ("c", "true")] {
      let schema = #"{"$id": "https://example.com/root.json", "$ref": "\#(name).json"}"#
      #expect(try isValid(schema, value, options: options, set: set))
      #expect(try !isValid(schema, "null", options: options, set: set))
    }
    #expect(throws: SchemaError.self) { try set.add(text: "{", uri: "x") }
    #expect(schemaError(#"{"$ref": "https://example.com/d.json"}"#, set: set) != nil)
  }

  @Test func `a fragment picks a schema within the document`() throws {
    let document = try JSONValue(parsing: #"{"$defs": {"a": {"type": "string"}}}"#)
    let schema = try CompiledSchema(document, uri: "https://example.com/s.json#/$defs/a")
    #expect(!schema.explain(1).isValid)
    #expect(schema.explain("x").isValid)
  }

  @Test func `a vocabulary that must be known is`() throws {
    var set = SchemaSet()
    try set.add(
      text:
        #"{"$schema": "https://json-schema.org/draft/2020-12/schema", "$vocabulary": {"https://json-schema.org/draft/2020-12/vocab/core": true, "https://example.com/vocab": true}}"#,
      uri: "https://example.com/meta")
    let error = schemaError(#"{"$schema": "https://example.com/meta"}"#, set: set)
    #expect(error?.message.contains("https://example.com/vocab") == true)
  }
}
