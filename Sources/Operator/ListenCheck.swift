import Bridge
import BridgeConfiguration
import JSON
import MongoSource
import NIOCore
import NIOPosix

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Whether `run` could listen on `http.listen`.
///
/// The address may be in use by the very bridge that is examined, and then all is well: whoever answers
/// there is asked who it is. An address that is free is bound for a moment, without listening, which keeps
/// nobody else from listening on it.
struct ListenCheck: Sendable {
  let configuration: BridgeConfiguration

  private static let id = "http.listen"
  /// Seconds for each step of a question.
  private static let patience = 2

  func examine() async -> Diagnosis {
    do {
      return try await NIOThreadPool.singleton.runIfActive { look() }
    } catch {
      return Diagnosis(Self.id, .warn, "can't be tried: \(error)")
    }
  }

  private var host: String { configuration.http.listen.host }
  private var port: Int { configuration.http.listen.port }

  private func look() -> Diagnosis {
    do {
      let address = try SocketAddress.makeAddressResolvingHost(host, port: port)
      guard let failure = bindBriefly(address) else {
        return Diagnosis(Self.id, .ok, "\(host):\(port) is free")
      }
      if failure == EADDRINUSE, let owner = owner(at: address) {
        if owner == configuration.bridge.name {
          return Diagnosis(Self.id, .ok, "bridge \(owner) itself listens on \(host):\(port)")
        }
        return refused(
          ListenRefusal(key: Self.id, host: host, port: port, code: failure).description
            + "; it is bridge \(owner)'s")
      }
      return refused(
        ListenRefusal(key: Self.id, host: host, port: port, code: failure).description)
    } catch {
      return refused("\(Self.id): can't listen on \(host):\(port): \(error)")
    }
  }

  private func refused(_ why: String) -> Diagnosis {
    Diagnosis(
      Self.id, .fail, why,
      remedy: "ss -ltnp 'sport = :\(port)'   # who has it\n# or in the configuration:\n"
        + "http: { listen: \"127.0.0.1:<a free port>\" }")
  }

  /// The error number; nil where it can be bound.
  private func bindBriefly(_ address: SocketAddress) -> Int32? {
    let socket = open(address)
    guard socket >= 0 else { return errno }
    defer { close(socket) }
    var on: Int32 = 1
    // As the server does; a listening socket is in the way all the same.
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
    return address.withSockAddr { pointer, size in
      bind(socket, pointer, socklen_t(size)) == 0 ? nil : errno
    }
  }

  private func open(_ address: SocketAddress) -> Int32 {
    let family = address.withSockAddr { pointer, _ in Int32(pointer.pointee.sa_family) }
    #if canImport(Glibc)
      return socket(family, Int32(SOCK_STREAM.rawValue), 0)
    #else
      return socket(family, SOCK_STREAM, 0)
    #endif
  }

  // MARK: Who is there

  /// The name of the bridge that answers; nil where none does.
  private func owner(at address: SocketAddress) -> String? {
    guard let answer = ask(address), let body = answer.firstRange(of: Array("\r\n\r\n".utf8)) else {
      return nil
    }
    let json = try? JSONValue(parsing: answer[body.upperBound...])
    // Nobody else's pages are of this form.
    guard json?["instance"] != nil else { return nil }
    return json?["bridge"]?.stringValue
  }

  private func ask(_ address: SocketAddress) -> [UInt8]? {
    let socket = open(address)
    guard socket >= 0 else { return nil }
    defer { close(socket) }
    var patience = timeval(tv_sec: Self.patience, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(
        socket, SOL_SOCKET, option, &patience, socklen_t(MemoryLayout<timeval>.size))
    }
    let isConnected = address.withSockAddr { pointer, size in
      connect(socket, pointer, socklen_t(size)) == 0
    }
    guard isConnected, send(request, to: socket) else { return nil }
    return receive(from: socket)
  }

  private var request: String {
    var lines = ["GET /status HTTP/1.1", "Host: \(host)", "Connection: close"]
    if let token = try? configuration.http.token?.current() {
      lines.append("Authorization: Bearer \(token)")
    }
    return lines.joined(separator: "\r\n") + "\r\n\r\n"
  }

  private func send(_ text: String, to socket: Int32) -> Bool {
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
      guard count > 0 else { return false }
      sent += count
    }
    return true
  }

  /// To its end, and no more than a page of ours takes.
  private func receive(from socket: Int32) -> [UInt8] {
    let until = ContinuousClock.now + .seconds(2 * Self.patience)
    var answer: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 16 << 10)
    while answer.count < 4 << 20, ContinuousClock.now < until {
      let count = recv(socket, &part, part.count, 0)
      guard count > 0 else { break }
      answer += part[..<count]
    }
    return answer
  }
}
