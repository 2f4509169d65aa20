import BSON
import TestRandom
import Testing

@Suite struct JSONStringTests {
  private func quoted(_ bytes: [UInt8]) throws -> [UInt8] {
    try bytes.withUnsafeBytes { raw in
      try written { writer throws(BSONError) in try writer.appendJSONString(raw) }
    }
  }

  @Test(arguments: [
    ("", #""""#),
    ("plain", #""plain""#),
    ("a\"b\\c", #""a\"b\\c""#),
    ("\u{8}\u{9}\u{A}\u{C}\u{D}", #""\b\t\n\f\r""#),
    ("\u{0}\u{1}\u{1F}", #""\u0000\u0001\u001f""#),
    ("/\u{7F}", "\"/\u{7F}\""),
    ("gr\u{FC}n \u{20AC} \u{1F389}\u{2028}", "\"gr\u{FC}n \u{20AC} \u{1F389}\u{2028}\""),
    ("12345678\"12345678\n1234567\\", #""12345678\"12345678\n1234567\\""#),
  ])
  func escapesWhatJSONDemandsAndNothingElse(text: String, json: String) throws {
    #expect(String(decoding: try quoted(Array(text.utf8)), as: UTF8.self) == json)
  }

  /// Every byte at every position of a word, among plain ones.
  @Test func everyASCIICharacterAtEveryPlaceReadsBack() throws {
    for length in 1...17 {
      for place in 0..<length {
        for byte in 0...0x7F as ClosedRange<UInt8> {
          var text = [UInt8](repeating: UInt8(ascii: "x"), count: length)
          text[place] = byte
          let tokens = try StrictJSON.tokens(try quoted(text))
          guard tokens == [.string(text)] else {
            Issue.record("byte \(byte) at \(place) of \(length): \(tokens)")
            return
          }
        }
      }
    }
  }

  /// Compared with the standard library's validation, on random and often invalid text.
  @Test func acceptsUTF8AndOnlyThat() throws {
    var documents = RandomDocuments(seed: 0x07F8)
    var refused = 0
    for _ in 0..<60_000 {
      var text = documents.text(nul: true)
      for _ in 0..<documents.random.below(3) where !text.isEmpty {
        let odd: [UInt8] = [0x80, 0xBF, 0xC0, 0xC1, 0xC2, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF]
        text[documents.random.below(text.count)] = documents.random.pick(odd)
      }
      let isText = String(validating: text, as: UTF8.self) != nil
      let tokens = (try? quoted(text)).map { try? StrictJSON.tokens($0) }
      let expected: [JSONToken]?? = isText ? [.string(text)] : nil
      guard tokens == expected else {
        Issue.record("\(text) should be \(isText ? "accepted" : "refused")")
        return
      }
      refused += isText ? 0 : 1
    }
    #expect(refused > 10_000)
  }

  @Test(
    arguments: [
      [0x80], [0xC2], [0xC0, 0x80], [0xC1, 0xBF], [0xE0, 0x80, 0x80], [0xE0, 0x9F, 0xBF],
      [0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF], [0xF0, 0x80, 0x80, 0x80], [0xF0, 0x8F, 0xBF, 0xBF],
      [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xFF], [0xE2, 0x82], [0xF0, 0x9F, 0x8E],
      [0xE2, 0x28, 0xA1], [0xE2, 0x82, 0x28], [0xF0, 0x9F, 0x28, 0x89],
    ] as [[UInt8]])
  func namesThePlaceOfWhatIsNoUTF8(bytes: [UInt8]) {
    for prefix in ["", "1234567", "12345678", "\u{E9}\n"] {
      let text = Array(prefix.utf8) + bytes + [UInt8(ascii: "z")]
      #expect(error { _ = try quoted(text) } == BSONError(.invalidUTF8, at: prefix.utf8.count))
    }
  }

  @Test func leavesNothingBehindOnError() throws {
    let broken: [UInt8] = Array("some text ".utf8) + [0xFF]
    let bytes = written { writer in
      writer.append("before")
      broken.withUnsafeBytes { raw in _ = try? writer.appendJSONString(raw) }
    }
    #expect(bytes == Array("before".utf8))
  }
}
