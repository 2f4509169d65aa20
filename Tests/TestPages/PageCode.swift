import Foundation

/// The code on a module's documentation page, and what of it a test file runs.
package struct PageCode {
  /// The page's pieces of Swift, without the indentation of where they are.
  package var shown: [String]
  /// Those between `// page` and `// end` in the test file.
  package var run: [String]

  /// - Parameter test: a file in Tests/<target>, as `#filePath` has it.
  package init(module: String, test: String) throws {
    let file = URL(fileURLWithPath: test)
    let root = file.deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let page = root.appendingPathComponent("Sources/\(module)/\(module).docc/\(module).md")
    shown = Self.pieces(try String(contentsOf: page, encoding: .utf8), "```swift", "```")
    run = Self.pieces(try String(contentsOf: file, encoding: .utf8), "// page", "// end")
  }

  private static func pieces(_ text: String, _ begin: String, _ end: String) -> [String] {
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
