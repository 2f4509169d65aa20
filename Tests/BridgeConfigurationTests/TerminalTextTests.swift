import BridgeConfiguration
import Foundation
import Testing

@Suite struct TerminalTextTests {
  @Test func controlCharactersAreSpelled() {
    #expect(
      TerminalText.printable("a\u{1B}[31mb\nc\td\u{9B}\u{202E}é😀")
        == #"a\u{1B}[31mb\u{A}c\u{9}d\u{9B}\u{202E}é😀"#)
    #expect(TerminalText.printable("a\nb\r\n", keepingLines: true) == "a\nb\\u{D}\n")
    #expect(TerminalText.printable("plain text") == "plain text")
  }

  /// A JSON text keeps its meaning, and shows none of them.
  @Test func jsonKeepsItsMeaning() throws {
    let value = ["key\u{85}": "a\u{7F}\u{9B}b\u{202E}c é 😀"]
    let text = try String(decoding: JSONEncoder().encode(value), as: UTF8.self)
    let shown = TerminalText.printableJSON(text)
    #expect(try JSONDecoder().decode([String: String].self, from: Data(shown.utf8)) == value)
    #expect(!shown.unicodeScalars.contains { $0.properties.generalCategory == .control })
    #expect(shown.contains(#"\u009b"#) && shown.contains(#"\u202e"#) && shown.contains("😀"))
  }
}
