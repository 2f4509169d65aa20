import Testing
import Verification

@Suite("HTML") struct HTMLTests {
  @Test func `texts are escaped, pieces are not`() {
    let name = "<b title=\"a\">'&'</b>"
    let cells: [HTML] = ["<td>\(name)</td>", "<td class=\"\(name)\">\(7)</td>"]
    let escaped = "&lt;b title=&quot;a&quot;&gt;&#39;&amp;&#39;&lt;/b&gt;"
    let row: HTML = "<tr>\(cells)</tr>"
    #expect(row.text == "<tr><td>\(escaped)</td><td class=\"\(escaped)\">7</td></tr>")
    let lines: HTML = "\(["a", "b"].map { "<p>\($0)</p>" }, separator: "\n")"
    #expect(lines.text == "<p>a</p>\n<p>b</p>")
    // Combining marks don't hide what they follow.
    let combined: HTML = "\("<\u{301}script>")"
    #expect(combined.text == "&lt;\u{301}script&gt;")
  }
}
