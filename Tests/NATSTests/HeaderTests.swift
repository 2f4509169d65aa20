import NATS
import NIOCore
import TestRandom
import Testing

@Suite("Headers")
struct HeaderTests {
  private func parse(_ text: String) -> NATSHeaders? {
    Array(text.utf8).withUnsafeBytes { NATSHeaders(parsing: $0) }
  }

  @Test("encoded headers are parsed back, with order and duplicates")
  func roundTrip() {
    let headers: NATSHeaders = [
      "Nats-Msg-Id": "rs0:1.2.3", "b": "1", "B": "2", "b": "3", "empty": "", "utf8": "grün: ja",
    ]
    var buffer = ByteBuffer()
    headers.encode(into: &buffer)
    #expect(buffer.readableBytes == headers.encodedLength)
    #expect(buffer.withUnsafeReadableBytes { NATSHeaders(parsing: $0) } == headers)
    #expect(headers["b"] == "1")
    #expect(headers["B"] == "2")
    #expect(headers["nats-msg-id"] == nil)
    #expect(headers.values("b") == ["1", "3"])
    #expect(headers.map(\.name) == ["Nats-Msg-Id", "b", "B", "b", "empty", "utf8"])
  }

  @Test("an empty block is twelve bytes")
  func empty() {
    var buffer = ByteBuffer()
    NATSHeaders().encode(into: &buffer)
    #expect(String(buffer: buffer) == "NATS/1.0\r\n\r\n")
    #expect(NATSHeaders().encodedLength == 12)
  }

  @Test("setting replaces all of a name, nil removes it")
  func setting() {
    var headers: NATSHeaders = ["a": "1", "b": "2", "a": "3"]
    headers["a"] = "4"
    #expect(headers == ["a": "4", "b": "2"])
    headers["b"] = nil
    headers["c"] = "5"
    #expect(headers == ["a": "4", "c": "5"])
  }

  @Test("white space around values is removed, invalid lines are skipped")
  func tolerance() {
    let headers = parse("NATS/1.0\r\nA:1\r\nB: \t 2 \r\nno colon\r\n: no name\r\nC:a:b\r\n\r\n")
    #expect(headers?.map { "\($0.name)=\($0.value)" } == ["A=1", "B=2", "C=a:b"])
  }

  @Test(
    "the status is in the first line",
    arguments: [
      ("NATS/1.0 503\r\n\r\n", 503, nil),
      ("NATS/1.0 404 No Messages\r\nA: b\r\n\r\n", 404, "No Messages"),
      ("NATS/1.0\r\n\r\n", nil, nil), ("NATS/1.0 50\r\n\r\n", nil, nil),
      ("NATS/1.0 abc\r\n\r\n", nil, nil), ("NATS/1.0 5033\r\n\r\n", nil, nil),
    ] as [(String, Int?, String?)])
  func status(text: String, status: Int?, description: String?) {
    #expect(parse(text)?.status == status)
    #expect(parse(text)?.statusDescription == description)
    let quick = Array(text.utf8).withUnsafeBytes { NATSHeaders.status(of: $0) }
    #expect(quick == status)
  }

  @Test("a block must start with its version", arguments: ["", "NATS/2.0\r\n\r\n", "HTTP/1.1\r\n"])
  func foreign(text: String) {
    #expect(parse(text) == nil)
  }

  @Test("random bytes never crash")
  func fuzz() {
    var random = SeededRandom(seed: 7)
    let alphabet = Array("NATS/1.0 503:\r\n\t aB\u{e9}".utf8)
    for _ in 0..<20_000 {
      let bytes =
        Array("NATS/1.0".utf8)
        + (0..<Int.random(in: 0...60, using: &random)).map { _ in
          alphabet.randomElement(using: &random) ?? 0
        }
      let headers = bytes.withUnsafeBytes { NATSHeaders(parsing: $0) }
      #expect(headers?.allSatisfy { !$0.name.isEmpty } == true)
    }
  }
}

@Suite("Subjects")
struct SubjectTests {
  @Test("literals", arguments: ["a", "a.b.c", "$JS.API.INFO", "a*b", ">a", "a.grün", "_INBOX.x.1"])
  func literal(subject: String) {
    #expect(NATSSubject.isValidLiteral(subject.utf8))
    #expect(NATSSubject.isValidFilter(subject.utf8))
  }

  @Test("filters", arguments: ["*", ">", "a.*", "a.>", "*.b.*", "a.*.>"])
  func filter(subject: String) {
    #expect(!NATSSubject.isValidLiteral(subject.utf8))
    #expect(NATSSubject.isValidFilter(subject.utf8))
  }

  @Test(
    "neither",
    arguments: [
      "", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\r\nPING", "a\u{0}", "a.>.b", ">.>", "a\u{7f}",
    ])
  func invalid(subject: String) {
    #expect(!NATSSubject.isValidLiteral(subject.utf8))
    #expect(!NATSSubject.isValidFilter(subject.utf8))
  }
}
