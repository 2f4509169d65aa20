import BSON
import JSON
import JSONSchema
import TestPages
import Testing

/// The code on the module's page.
@Suite("Documentation page") struct PageTests {
  @Test func `what the page shows`() throws {
    var writer = ByteWriter()
    let mark = writer.beginDocument()
    writer.append(key: "text", int32: 1)
    writer.endDocument(mark)
    let bytes = Array(writer.bytes)
    var printed: [String] = []
    func print(_ line: String) { printed.append(line) }
    try bytes.withUnsafeBytes { document in
      // page
      let schema = try CompiledSchema(
        text: #"""
          {"type": "object", "required": ["text"],
           "properties": {"text": {"type": "string", "maxLength": 10}}}
          """#)
      // end
      // page
      let validator = SchemaValidator(schema)
      let isValid = validator.validate(try BSONView(document))
      // end
      #expect(!isValid)
      // page
      for violation in validator.firstViolations(try BSONView(document)) {
        print("\(violation.instanceLocation): \(violation.error)")
      }
      // end
      #expect(printed.count == 1 && printed[0].hasPrefix("/text: "), "\(printed)")
      // page
      let report = schema.explain(["text": "longer than ten"])
      // end
      #expect(report.violations.map(\.instanceLocation) == ["/text"])
    }
  }

  @Test func `the page shows what was run`() throws {
    let code = try PageCode(module: "JSONSchema", test: #filePath)
    #expect(code.shown.count == 4)
    #expect(code.shown == code.run)
  }
}
