import NIOCore

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// A GET of one of a bridge's pages, over a connection of its own. Blocks its thread, for a few seconds at most.
struct HTTPQuestion: Sendable {
  /// For the header `Host`.
  var host: String
  var path: String
  var token: String?

  struct Answer: Sendable {
    var status: Int
    var body: [UInt8]
  }

  /// Nobody answers, or not by HTTP.
  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  /// Seconds for each step.
  private static let patience = 2
  /// More than any page of ours takes.
  private static let most = 16 << 20

  func ask(_ address: SocketAddress) throws(Failure) -> Answer {
    let socket = TCPSocket.open(address)
    guard socket >= 0 else { throw Self.failure(errno) }
    defer { close(socket) }
    var patience = timeval(tv_sec: Self.patience, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(socket, SOL_SOCKET, option, &patience, socklen_t(MemoryLayout<timeval>.size))
    }
    let refused = address.withSockAddr { pointer, size in
      connect(socket, pointer, socklen_t(size)) == 0 ? nil : errno
    }
    if let refused { throw Self.failure(refused) }
    try send(request, to: socket)
    let answer = try receive(from: socket)
    guard let parsed = Self.parse(answer) else {
      throw Failure(description: "the answer is no HTTP")
    }
    return parsed
  }

  private static func failure(_ code: Int32) -> Failure {
    switch code {
    case EAGAIN, EINPROGRESS, EWOULDBLOCK:
      Failure(description: "no answer within \(patience) s")
    default: Failure(description: String(cString: strerror(code)))
    }
  }

  private var request: String {
    var lines = ["GET \(path) HTTP/1.1", "Host: \(host)", "Connection: close"]
    if let token { lines.append("Authorization: Bearer \(token)") }
    return lines.joined(separator: "\r\n") + "\r\n\r\n"
  }

  private func send(_ text: String, to socket: Int32) throws(Failure) {
    let bytes = Array(text.utf8)
    var sent = 0
    while sent < bytes.count {
      let count = bytes[sent...].withUnsafeBytes {
        #if canImport(Darwin)
          Darwin.send(socket, $0.baseAddress, $0.count, 0)
        #elseif canImport(Musl)
          Musl.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        #else
          Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        #endif
      }
      guard count > 0 else { throw Self.failure(errno) }
      sent += count
    }
  }

  /// To its end.
  private func receive(from socket: Int32) throws(Failure) -> [UInt8] {
    let until = ContinuousClock.now + .seconds(2 * Self.patience)
    var answer: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 16 << 10)
    while answer.count < Self.most, ContinuousClock.now < until {
      let count = recv(socket, &part, part.count, 0)
      if count == 0 { return answer }
      guard count > 0 else { throw Self.failure(errno) }
      answer += part[..<count]
    }
    throw Failure(description: "the answer does not end")
  }

  /// Status and body of an answer that its connection ended; nil for what is none.
  static func parse(_ answer: [UInt8]) -> Answer? {
    guard let end = answer.firstRange(of: Array("\r\n\r\n".utf8)) else { return nil }
    let head = String(decoding: answer[..<end.lowerBound], as: UTF8.self)
    let lines = head.split(separator: "\r\n")
    guard let first = lines.first?.split(separator: " "), first.count >= 2,
      first[0].hasPrefix("HTTP/1."), let status = Int(first[1])
    else { return nil }
    let rest = answer[end.upperBound...]
    let isChunked = lines.dropFirst().contains {
      $0.lowercased().hasPrefix("transfer-encoding:") && $0.lowercased().hasSuffix("chunked")
    }
    if isChunked { return unchunked(rest).map { Answer(status: status, body: $0) } }
    let length = lines.dropFirst().lazy.compactMap { line -> Int? in
      guard line.lowercased().hasPrefix("content-length:") else { return nil }
      return Int(line.drop { $0 != ":" }.dropFirst().drop { $0 == " " })
    }.first
    // A page that was cut short is none.
    if let length, rest.count < length { return nil }
    return Answer(status: status, body: Array(rest))
  }

  /// As proxies send pages.
  private static func unchunked(_ bytes: ArraySlice<UInt8>) -> [UInt8]? {
    var rest = bytes
    var body: [UInt8] = []
    while let line = rest.firstRange(of: Array("\r\n".utf8)) {
      let digits = rest[..<line.lowerBound].prefix { $0 != UInt8(ascii: ";") }
      guard let size = Int(String(decoding: digits, as: UTF8.self), radix: 16), size >= 0 else {
        return nil
      }
      if size == 0 { return body }
      rest = rest[line.upperBound...]
      guard rest.count - 2 >= size else { return nil }
      body += rest.prefix(size)
      rest = rest.dropFirst(size + 2)
    }
    return nil
  }
}

enum TCPSocket {
  /// A socket for addresses of that kind; negative where there is none.
  static func open(_ address: SocketAddress) -> Int32 {
    let family = address.withSockAddr { pointer, _ in Int32(pointer.pointee.sa_family) }
    #if canImport(Glibc)
      return socket(family, Int32(SOCK_STREAM.rawValue), 0)
    #else
      return socket(family, SOCK_STREAM, 0)
    #endif
  }
}
