import JSONSchema
import Testing

@Suite("Spellings of one schema")
struct SpellingTests {
  private static let names = [
    "//json-schema.org/draft-07/schema", "//json-schema.org/draft/2019-09/schema",
    "//json-schema.org/draft/2020-12/schema",
  ]

  /// Only draft-07 ignores what is beside a reference; only 2020-12 knows `prefixItems`.
  private func verdicts(_ schema: String) throws -> [Bool] {
    try ["[1]", #"["a"]"#, #"{"a":1}"#].map { try isValid(schema, $0) }
  }

  @Test("http and https, with and without a fragment", arguments: names)
  func schemes(_ name: String) throws {
    var found: [[Bool]] = []
    for scheme in ["http:", "https:"] {
      for end in ["", "#"] {
        let schema = #"""
          {"$schema":"\#(scheme)\#(name)\#(end)","definitions":{"any":true},"prefixItems":[{"type":"string"}],
          "properties":{"a":{"$ref":"#/definitions/any","type":"string"}}}
          """#
        found.append(try verdicts(schema))
        #expect(found.last == found.first)
      }
    }
    #expect(found[0][0] == !name.contains("2020-12"))
    #expect(found[0][2] == name.contains("draft-07"))
  }

  @Test("the metaschemas, referred to in either scheme", arguments: names)
  func metaschemas(_ name: String) throws {
    for scheme in ["http:", "https:"] {
      let schema = #"{"$ref":"\#(scheme)\#(name)"}"#
      #expect(try isValid(schema, #"{"minLength":3}"#))
      #expect(try !isValid(schema, #"{"minLength":"three"}"#))
    }
  }

  @Test("other hosts are other metaschemas") func others() {
    #expect(schemaError(#"{"$schema":"https://example.com/draft-07/schema"}"#) != nil)
  }

  @Test("a byte order mark") func mark() throws {
    #expect(try isValid("\u{FEFF}{\"type\":\"string\"}", "\"a\""))
    #expect(schemaError("{\"type\":\u{FEFF}\"string\"}") != nil)
  }
}
