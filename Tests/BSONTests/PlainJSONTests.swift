import BSON
import TestRandom
import Testing

/// Reading plain JSON as BSON, without Extended JSON.
@Suite struct PlainJSONTests {
  /// Reads a text and writes it again.
  private func again(_ text: String, _ style: JSONStyle = .simplified) throws -> String {
    var bson = ByteWriter()
    try Array(text.utf8).withUnsafeBytes { try bson.append(bsonOf: $0) }
    #expect(LibBSON.accepts(Array(bson.bytes)))
    let value = try #require(try BSONView(bson.bytes).first(""))
    var out = ByteWriter()
    try out.appendJSON(value: value, style: style)
    return String(decoding: out.bytes, as: UTF8.self)
  }

  @Test func `the writer's text in every style is read unchanged`() throws {
    var documents = RandomDocuments(seed: 0x9A1, values: .asLibBSON)
    for round in 0..<4_000 {
      let bytes = documents.next()
      for style in [JSONStyle.simplified, .relaxed, .canonical] {
        let text = try json(bytes, style)
        let read = try again(text)
        guard read == text else {
          Issue.record("document \(round): \(text)\n\(read)")
          return
        }
      }
    }
  }

  @Test(
    arguments: [
      ("1", "1"), ("-0", "0"), ("9223372036854775807", "9223372036854775807"),
      ("9223372036854775808", "9.223372036854776e+18"), ("1e2", "100.0"), ("0.5", "0.5"),
      (#""\u00e9\ud83d\ude00\n""#, #""é😀\n""#), ("[]", "[]"), (" { } ", "{}"), ("null", "null"),
      (#"{"a\u0041\n":[1,{"b":[]}],"":true}"#, #"{"aA\n":[1,{"b":[]}],"":true}"#),
      (#"{"$oid":"x"}"#, #"{"$oid":"x"}"#),
    ])
  func values(text: String, written: String) throws { #expect(try again(text) == written) }

  @Test(
    arguments: [
      "", "{", "[1,]", #"{"a"}"#, #"{"a":1,}"#, "tru", "1 2", "-", "\"a", #""\x""#, #""\ud800""#,
      #""\ud83dx""#, "\"\n\"", #"{"a\u0000":1}"#, String(repeating: "[", count: 300), "1.2.3",
      "nan",
    ])
  func `no JSON`(text: String) {
    #expect(throws: PlainJSONError.self) { try again(text) }
  }

  @Test func `damaged texts are an error or another value, never a crash`() throws {
    var documents = RandomDocuments(seed: 0xDA3B, values: .asLibBSON)
    var random = SeededRandom(seed: 3)
    for _ in 0..<4_000 {
      var text = Array(try json(documents.next(), .simplified).utf8)
      for _ in 0..<3 {
        text[random.below(text.count)] = random.pick(Array(#"{}[]":,\0e-u1 "#.utf8))
      }
      var bson = ByteWriter()
      let read = text.withUnsafeBytes { (try? bson.append(bsonOf: $0)) != nil }
      // Text that is not UTF-8 is copied.
      if read, String(validating: text, as: UTF8.self) != nil {
        #expect(LibBSON.accepts(Array(bson.bytes)))
      }
    }
  }
}
