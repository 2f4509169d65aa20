import Foundation
import Mapping
import Oplog
import Testing

@Suite("docs/mapping.md")
struct DocumentationTests {
  let text: String

  init() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
    text = try String(contentsOf: root.appendingPathComponent("docs/mapping.md"), encoding: .utf8)
  }

  /// The rows of the table with this heading; of each cell what is in backticks.
  func rows(_ heading: String) throws -> [[[String]]] {
    let start = try #require(text.range(of: heading + "\n"))
    return text[start.upperBound...].split(separator: "\n", omittingEmptySubsequences: false)
      .dropFirst().prefix { $0.hasPrefix("|") }
      .map { line in
        line.split(separator: "|").map { cell in
          cell.components(separatedBy: "`").enumerated().filter { $0.offset % 2 == 1 }.map(
            \.element)
        }
      }
  }

  @Test("the table of escapes") func escapes() throws {
    let rows = try rows("| Value | Token |")
    #expect(rows.count > 5)
    for row in rows { #expect(row[0].map(SubjectToken.escape) == row[1]) }
  }

  @Test("the table of namespaces") func namespaces() throws {
    let rows = try rows("| Pattern | Takes | Doesn't take |")
    #expect(rows.count == 4)
    for row in rows {
      let pattern = try NamespacePattern(parsing: try #require(row[0].first))
      #expect(row[1].allSatisfy { pattern.matches($0) })
      #expect(row[2].allSatisfy { !pattern.matches($0) })
    }
  }

  @Test("the codes of errors are all there") func codes() throws {
    let codes = try rows("| `Tailrace-Error` | Reason |").compactMap { $0[0].first }
    #expect(
      Set(codes)
        == Set(MappingErrorCode.allCases.map(\.rawValue)).subtracting([
          "corrupt"
        ]))
  }

  @Test("the headers and bodies") func examples() throws {
    var insert = Change.insert(["_id": "m1", "rid": "GENERAL", "msg": "hi"])
    insert.collectionUUID = Array(16..<32)
    let update = Change.update(["updatedFields": ["msg": "hello"], "removedFields": ["draft"]])
    for envelope in Envelope.allCases {
      let written = Written(try rule(envelope: envelope))
      for change in [insert, update, .delete()] {
        guard let body = try? written.body(change) else { continue }
        if envelope == .changeEvent, change.operation != .insert { continue }
        #expect(text.contains("\n\(body)\n"), "\(body)")
      }
    }
    let written = Written(
      try rule(name: "message-created", eventType: "chat.message.created"))
    let id: Value = .objectID([
      0x67, 0x41, 0xB7, 0xC0, 0xE0, 0xC9, 0x17, 0xE9, 0xC4, 0x71, 0x41, 0x61,
    ])
    let headers = try written.headers(.delete(key: ["_id": id]))
    #expect(text.contains("```\n\(headers.replacing("\r\n", with: "\n"))```"))
    let audit = Written(try rule(name: "audit"))
    #expect(text.contains("\n\(try audit.id(insert))\n\(try audit.id(insert, match: 1))\n"))
    let letter = try Written(try rule("x.{fullDocument.rid}")).deadLetter(
      .insert([:]), error: MappingError(.pathMissing, "fullDocument.rid is missing in this insert"))
    #expect(
      letter.headers.replacing("\r\n", with: "\n").hasSuffix(
        "Tailrace-Error: path_missing\n"
          + "Tailrace-Error-Detail: fullDocument.rid is missing in this insert\n"))
  }
}
