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
    let socket = TCPSocket.open(address)
    guard socket >= 0 else { return errno }
    defer { close(socket) }
    var on: Int32 = 1
    // As the server does; a listening socket is in the way all the same.
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
    return address.withSockAddr { pointer, size in
      bind(socket, pointer, socklen_t(size)) == 0 ? nil : errno
    }
  }

  // MARK: Who is there

  /// The name of the bridge that answers; nil where none does.
  private func owner(at address: SocketAddress) -> String? {
    let question = HTTPQuestion(
      host: "\(host)", path: "/status", token: try? configuration.http.token?.current())
    guard let answer = try? question.ask(address) else { return nil }
    let json = try? JSONValue(parsing: answer.body)
    // Nobody else's pages are of this form.
    guard json?["instance"] != nil else { return nil }
    return json?["bridge"]?.stringValue
  }
}
