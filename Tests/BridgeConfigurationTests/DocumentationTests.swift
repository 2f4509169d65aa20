import BridgeConfiguration
import Foundation
import Testing

@Suite("docs/configuration.md")
struct DocumentationTests {
  /// The code blocks of the page, in order.
  func blocks() throws -> [String] {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
    let text = try String(
      contentsOf: root.appendingPathComponent("docs/configuration.md"), encoding: .utf8)
    return text.components(separatedBy: "```").enumerated()
      .filter { $0.offset % 2 == 1 }
      .map { String($0.element.drop { $0 != "\n" }.dropFirst()) }
  }

  @Test("the mistakes it shows give the lines it shows") func mistakes() throws {
    let blocks = try blocks()
    let shown = problemList(blocks[0], file: "chat.yaml").map(\.description)
    #expect(shown.joined(separator: "\n") + "\n" == blocks[1])
  }

  @Test("the streams it shows are right") func streams() throws {
    let yaml = try blocks()[2] + "rules: [{ name: r, match: { namespace: a.b }, subject: chat.x }]"
    #expect(problems(yaml) == [])
  }
}
