import Mapping
import TestRandom
import Testing

@Suite("Escaping")
struct EscapingTests {
  @Test(
    "what stays and what doesn't",
    arguments: [
      ("GENERAL", "GENERAL"), ("aZ09-_~", "aZ09-_~"), ("a.b", "a%2Eb"), ("*", "%2A"), (">", "%3E"),
      ("a b", "a%20b"), ("50%", "50%25"), ("é", "%C3%A9"), ("😀", "%F0%9F%98%80"),
      ("\r\n", "%0D%0A"),
      ("\u{0}", "%00"), ("\u{7F}", "%7F"), ("a/b", "a%2Fb"), ("$SYS", "%24SYS"), ("{x}", "%7Bx%7D"),
      ("@", "%40"), ("[", "%5B"), ("`", "%60"), (":", "%3A"), ("", ""),
    ])
  func table(_ value: String, _ token: String) throws {
    #expect(SubjectToken.escape(value) == token)
    #expect(SubjectToken.unescape(token) == value)
    if !value.isEmpty {
      let written = Written(try rule("x.{fullDocument.v}"))
      #expect(try written.subject(.insert(["v": .string(value)])) == "x.\(token)")
    }
  }

  @Test("any text is one token, comes back whole, and differs from any other text's")
  func property() throws {
    var chance = SeededRandom(seed: 1)
    let written = Written(try rule("x.{fullDocument.v}"))
    var seen: [String: String] = [:]
    for _ in 0..<5000 {
      var text = ""
      for _ in 0...chance.below(20) {
        let limit = chance.pick([0x30, 0x80, 0x800, 0xD800, 0x11_0000])
        guard let scalar = Unicode.Scalar(UInt32(chance.below(limit))) else { continue }
        text.unicodeScalars.append(scalar)
      }
      guard !text.isEmpty else { continue }
      let token = SubjectToken.escape(text)
      #expect(
        token.utf8.allSatisfy { c in
          (48...57).contains(c) || (65...90).contains(c) || (97...122).contains(c)
            || c == 45 || c == 95 || c == 126 || c == 37
        })
      #expect(
        SubjectToken.unescape(token)?.unicodeScalars.elementsEqual(text.unicodeScalars) == true)
      if let other = seen.updateValue(text, forKey: token) {
        #expect(other.unicodeScalars.elementsEqual(text.unicodeScalars))
      }
      #expect(try written.subject(.insert(["v": .string(text)])) == "x.\(token)")
    }
  }

  @Test("text that no value makes is refused", arguments: ["%", "a%2", "%zz", "%FF", "a%"])
  func refused(_ token: String) {
    #expect(SubjectToken.unescape(token) == nil)
  }
}
