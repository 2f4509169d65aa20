import Testing

@Suite("Names") struct NameTests {
  /// Composed and decomposed: Swift's strings are equal, the names aren't.
  @Test func `names that look alike are different names`() throws {
    let schema = """
      {"properties": {"\u{E9}": {"type": "string"}, "e\u{301}": {"type": "integer"}},
       "additionalProperties": false}
      """
    #expect(try isValid(schema, #"{"\#u{E9}": "a", "e\#u{301}": 1}"#))
    #expect(try !isValid(schema, #"{"\#u{E9}": 1}"#))
    #expect(try !isValid(schema, #"{"e\#u{301}": "a"}"#))
  }
}
