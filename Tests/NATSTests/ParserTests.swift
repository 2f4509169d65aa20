import NATS
import NIOCore
import TestRandom
import Testing

/// An operation with its bytes copied, to compare.
private enum Heard: Equatable {
  case info([UInt8])
  case message(sid: UInt64, subject: [UInt8], reply: [UInt8], headers: [UInt8], payload: [UInt8])
  case ping, pong, ok
  case error([UInt8])

  init(_ operation: NATSOperation) {
    switch operation {
    case .info(let json): self = .info(Array(json))
    case .message(let sid, let view):
      self = .message(
        sid: sid, subject: Array(view.subject), reply: Array(view.reply),
        headers: Array(view.headers), payload: Array(view.payload))
    case .ping: self = .ping
    case .pong: self = .pong
    case .ok: self = .ok
    case .error(let text): self = .error(Array(text))
    }
  }
}

/// The receiving path of a connection without its I/O.
private struct Receiver {
  var parser: NATSParser
  var inbound = InboundBuffer()
  var heard: [Heard] = []

  init(payloadLimit: Int = 1 << 20) { parser = NATSParser(payloadLimit: payloadLimit) }

  mutating func receive(_ chunk: some Sequence<UInt8>) throws(NATSError) {
    let isOwn = !inbound.isEmpty
    var buffer = inbound.take(adding: ByteBuffer(bytes: chunk))
    let outcome: Result<Int, NATSError> = buffer.withUnsafeReadableBytes { bytes in
      var at = 0
      do throws(NATSError) {
        while at < bytes.count {
          let rest = UnsafeRawBufferPointer(rebasing: bytes[at...])
          guard let (operation, length) = try parser.next(rest) else { break }
          heard.append(Heard(operation))
          at += length
        }
      } catch {
        return .failure(error)
      }
      return .success(at)
    }
    buffer.moveReaderIndex(forwardBy: try outcome.get())
    inbound.putBack(buffer, isOwn: isOwn)
  }

  static func all(_ bytes: some Sequence<UInt8>) throws(NATSError) -> [Heard] {
    var receiver = Receiver()
    try receiver.receive(bytes)
    return receiver.heard
  }
}

private func text(_ s: String) -> [UInt8] { Array(s.utf8) }

@Suite("Parser")
struct ParserTests {
  @Test("every operation is parsed")
  func operations() throws {
    let heard = try Receiver.all(
      text(
        "INFO {\"a\":1}\r\n+OK\r\nPING\r\nPONG\r\n-ERR 'Stale Connection'\r\n"
          + "MSG a.b 7 3\r\nxyz\r\nMSG a.b 8 r.1 0\r\n\r\n"
          + "HMSG h 9 12 15\r\nNATS/1.0\r\n\r\nabc\r\nHMSG h 10 r 12 12\r\nNATS/1.0\r\n\r\n\r\n"))
    #expect(
      heard == [
        .info(text("{\"a\":1}")), .ok, .ping, .pong, .error(text("Stale Connection")),
        .message(sid: 7, subject: text("a.b"), reply: [], headers: [], payload: text("xyz")),
        .message(sid: 8, subject: text("a.b"), reply: text("r.1"), headers: [], payload: []),
        .message(
          sid: 9, subject: text("h"), reply: [], headers: text("NATS/1.0\r\n\r\n"),
          payload: text("abc")),
        .message(
          sid: 10, subject: text("h"), reply: text("r"), headers: text("NATS/1.0\r\n\r\n"),
          payload: []),
      ])
  }

  @Test("case, blanks and bare line feeds of control lines don't matter")
  func tolerance() throws {
    let heard = try Receiver.all(
      text("ping\nPong\r\nmsg \t a   1\t2 \r\nhi\r\n-ERR no quotes \r\n-ERR ''\r\n"))
    #expect(
      heard == [
        .ping, .pong,
        .message(sid: 1, subject: text("a"), reply: [], headers: [], payload: text("hi")),
        .error(text("no quotes")), .error([]),
      ])
  }

  @Test("a payload may contain anything, including protocol lines")
  func payloadIsOpaque() throws {
    let payload = text("\r\nPING\r\nMSG x 1 1\r\n\0")
    let heard = try Receiver.all(
      text("MSG a 1 \(payload.count)\r\n") + payload + text("\r\nPING\r\n"))
    #expect(
      heard == [
        .message(sid: 1, subject: text("a"), reply: [], headers: [], payload: payload), .ping,
      ])
  }

  @Test("any chunking of a stream yields the same operations", arguments: 0..<8)
  func splits(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    for _ in 0..<500 {
      let stream = randomStream(&random)
      let whole = try Receiver.all(stream)
      var receiver = Receiver()
      var at = 0
      // Sizes from single bytes to everything at once.
      let largest = [1, 3, 17, 200, 5000].randomElement(using: &random) ?? 1
      while at < stream.count {
        let end = min(stream.count, at + Int.random(in: 1...largest, using: &random))
        try receiver.receive(stream[at..<end])
        at = end
      }
      #expect(receiver.heard == whole)
      #expect(receiver.inbound.isEmpty)
    }
  }

  @Test(
    "invalid lines are errors",
    arguments: [
      "HELLO\r\n", "\r\n", "PIN\r\n", "PINGPONG\r\n", "MSG\r\n", "MSG a\r\n", "MSG a 1\r\n",
      "MSG a 1 2 3 4\r\n", "MSG a x 3\r\n", "MSG a 1 -3\r\n", "MSG a 1 3x\r\n",
      "MSG a 99999999999999999999 3\r\n", "MSG a 1 99999999999999999999\r\n", "HMSG a 1 5\r\n",
      "HMSG a 1 9 5\r\n", "HMSG a 1 r 1 2 3\r\n", "MSGX a 1 2\r\n", "HTTP/1.1 400 Bad Request\r\n",
      "SSH-2.0-OpenSSH\r\n", "+NO\r\n", "-ER\r\n", "INFO\r\n", "\u{16}\u{3}\u{1}\r\n",
    ])
  func malformed(line: String) {
    let error = #expect(throws: NATSError.self) { try Receiver.all(text(line)) }
    #expect(error?.code == .protocolViolation)
  }

  @Test("lengths beyond the limits are errors before anything is stored")
  func limits() throws {
    func refused(_ stream: [UInt8], payloadLimit: Int = 1 << 20) -> Bool {
      var receiver = Receiver(payloadLimit: payloadLimit)
      do throws(NATSError) { try receiver.receive(stream) } catch {
        return error.code == .protocolViolation
      }
      return false
    }
    #expect(refused(text("MSG a 1 101\r\n"), payloadLimit: 100))
    #expect(!refused(text("MSG a 1 100\r\n"), payloadLimit: 100))
    #expect(refused(text("HMSG a 1 12 101\r\n"), payloadLimit: 100))
    #expect(refused(text("MSG " + String(repeating: "a", count: 5000))))
    #expect(!refused(text("MSG " + String(repeating: "a", count: 3000))))
    #expect(refused([UInt8](repeating: 0x61, count: 4096)))
    #expect(!refused(text("INFO " + String(repeating: " ", count: 100_000))))
    #expect(refused(text("INFO " + String(repeating: " ", count: 1 << 20))))
  }

  @Test("a message with a wrong length is an error")
  func wrongLength() {
    for stream in ["MSG a 1 3\r\nabcd\r\n", "MSG a 1 3\r\nab\r\nPING\r\n", "MSG a 1 3\r\nabc\n\r"] {
      let error = #expect(throws: NATSError.self) { try Receiver.all(text(stream)) }
      #expect(error?.code == .protocolViolation)
    }
  }

  @Test("an INFO in chunks is searched only once")
  func longInfo() throws {
    var receiver = Receiver()
    let json = text("{\"connect_urls\":[\"" + String(repeating: "x", count: 500_000) + "\"]}")
    for byte in text("INFO ") { try receiver.receive([byte]) }
    for start in stride(from: 0, to: json.count, by: 1000) {
      try receiver.receive(json[start..<min(json.count, start + 1000)])
    }
    try receiver.receive(text("\r\n"))
    #expect(receiver.heard == [.info(json)])
  }

  @Test("garbage is an error or incomplete, and never crashes", arguments: 0..<4)
  func garbage(seed: UInt64) {
    var random = SeededRandom(seed: 1000 + seed)
    let valid = (0..<20).map { _ in randomStream(&random) }
    var refused = 0
    for round in 0..<100_000 {
      var bytes: [UInt8]
      if round.isMultiple(of: 2), let stream = valid.randomElement(using: &random) {
        // A valid stream with some bytes changed, removed or repeated.
        bytes = Array(stream.prefix(Int.random(in: 1...400, using: &random)))
        for _ in 0..<Int.random(in: 1...4, using: &random) where !bytes.isEmpty {
          let at = Int.random(in: 0..<bytes.count, using: &random)
          switch Int.random(in: 0..<3, using: &random) {
          case 0: bytes[at] = UInt8.random(in: 0...255, using: &random)
          case 1: bytes.remove(at: at)
          default: bytes.insert(bytes[at], at: at)
          }
        }
      } else {
        let alphabet = text("MSGHPINOER+-OK 0123456789\r\n\t'a.")
        bytes = (0..<Int.random(in: 1...80, using: &random)).map { _ in
          alphabet.randomElement(using: &random) ?? 0
        }
      }
      var receiver = Receiver(payloadLimit: 300)
      do throws(NATSError) {
        var rest = bytes[...]
        while !rest.isEmpty {
          let n = Int.random(in: 1...rest.count, using: &random)
          try receiver.receive(rest.prefix(n))
          rest = rest.dropFirst(n)
        }
      } catch {
        refused += 1
        #expect(error.code == .protocolViolation)
      }
    }
    #expect(refused > 10_000)
  }

  private func randomStream(_ random: inout SeededRandom) -> [UInt8] {
    var out: [UInt8] = []
    for _ in 0..<Int.random(in: 1...12, using: &random) {
      let subject = String(repeating: "s", count: Int.random(in: 1...40, using: &random))
      let reply = Bool.random(using: &random) ? " _INBOX.abc.12" : ""
      let payload = (0..<Int.random(in: 0...300, using: &random)).map { _ in
        UInt8.random(in: 0...255, using: &random)
      }
      let sid = UInt64.random(in: 1...1 << 40, using: &random)
      switch Int.random(in: 0..<8, using: &random) {
      case 0: out += text("PING\r\n")
      case 1: out += text("PONG\r\n")
      case 2: out += text("+OK\r\n")
      case 3: out += text("-ERR 'Permissions Violation for Publish to \"x\"'\r\n")
      case 4: out += text("INFO {\"max_payload\":1048576,\"headers\":true}\r\n")
      case 5:
        let headers = text("NATS/1.0 100 Idle\r\nA: b\r\n\r\n")
        out += text("HMSG \(subject) \(sid)\(reply) \(headers.count) ")
        out += text("\(headers.count + payload.count)\r\n") + headers + payload + text("\r\n")
      default:
        out += text("MSG \(subject) \(sid)\(reply) \(payload.count)\r\n") + payload + text("\r\n")
      }
    }
    return out
  }
}
