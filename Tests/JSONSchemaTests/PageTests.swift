import BSON
import Foundation
import JSON
import JSONSchema
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
    let test = URL(fileURLWithPath: #filePath)
    let page = test.deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
      .appendingPathComponent("Sources/JSONSchema/JSONSchema.docc/JSONSchema.md")
    let shown = pieces(try String(contentsOf: page, encoding: .utf8), "```swift", "```")
    let run = pieces(try String(contentsOf: test, encoding: .utf8), "// page", "// end")
    #expect(shown.count == 4)
    #expect(shown == run)
  }

  /// Without the indentation of where they are.
  private func pieces(_ text: String, _ begin: String, _ end: String) -> [String] {
    var found: [String] = []
    var piece: [String]?
    for line in text.components(separatedBy: "\n") {
      let bare = line.trimmingCharacters(in: .whitespaces)
      if let lines = piece, bare == end {
        let margin = lines.filter { !$0.isEmpty }.map { $0.prefix { $0 == " " }.count }.min() ?? 0
        found.append(lines.map { String($0.dropFirst(margin)) }.joined(separator: "\n"))
        piece = nil
      } else if piece != nil {
        piece?.append(line)
      } else if bare == begin {
        piece = []
      }
    }
    return found
  }
}
