package import HTTPTypes
import Hummingbird
package import JSON
package import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle

/// An answer of the read-only server.
package struct HTTPPage: Sendable {
  package var status: HTTPResponse.Status
  package var type: String
  package var body: String

  package static func json(_ status: HTTPResponse.Status, _ value: JSONValue) -> HTTPPage {
    HTTPPage(status: status, type: "application/json", body: value.text(pretty: true) + "\n")
  }

  package static func text(_ status: HTTPResponse.Status, _ body: String) -> HTTPPage {
    HTTPPage(status: status, type: "text/plain; charset=utf-8", body: body)
  }

  package static func html(_ body: String) -> HTTPPage {
    HTTPPage(status: .ok, type: "text/html; charset=utf-8", body: body)
  }

  package static func metrics(_ body: String) -> HTTPPage {
    HTTPPage(status: .ok, type: "text/plain; version=0.0.4; charset=utf-8", body: body)
  }
}

/// Pages by path, for GET and HEAD. It has its own event loop, few connections and short timeouts, so that no
/// client can delay the bridge.
package struct ReadOnlyServer: Sendable {
  package var host: String
  /// 0: the system chooses.
  package var port: Int
  /// The configuration key or option of the address, such as `http.listen`.
  package var key: String
  package var pages: [String: @Sendable () -> HTTPPage]
  package var token: @Sendable () -> ReadOnlyRoute.Token = { .none }
  package var logger: Logger

  package init(
    host: String, port: Int, key: String, pages: [String: @Sendable () -> HTTPPage],
    token: @escaping @Sendable () -> ReadOnlyRoute.Token = { .none }, logger: Logger
  ) {
    self.host = host
    self.port = port
    self.key = key
    self.pages = pages
    self.token = token
    self.logger = logger
  }

  /// Until graceful shutdown.
  ///
  /// - Parameter onListening: called once it listens.
  /// - Throws: `BridgeError.unavailable` if it can't listen.
  package func run(onListening: @escaping @Sendable (String) -> Void) async throws {
    let connections = OpenConnections(
      limit: OpenConnections.limit(descriptors: OpenConnections.descriptors))
    var quiet = logger
    quiet.logLevel = max(logger.logLevel, .warning)
    let listening = ListeningGate()
    let paths = Set(pages.keys)
    let application = Application(
      responder: CallbackResponder { (request: Request, _: BasicRequestContext) in
        respond(request, paths)
      },
      server: .http1(
        configuration: .init(
          additionalChannelHandlers: [ConnectionTimeouts(connections)],
          httpDecoderConfiguration: .init(
            maxHeaderFieldSize: 8 << 10, maxHeaderListSize: 16 << 10, maxHeaderFieldCount: 100))),
      configuration: .init(address: .hostname(host, port: port), serverName: "tailrace"),
      onServerRunning: { [host] channel in
        listening.open()
        onListening(channel.localAddress.map { "\($0)" } ?? host)
      },
      eventLoopGroupProvider: .shared(Self.group), logger: quiet)
    while true {
      do {
        try await application.run()
      } catch {
        guard listening.isOpen else { throw refusal(error) }
        logger.error("http", metadata: ["error": "\(error)"])
      }
      // For any error: the bridge continues, and the server is restarted.
      if Task.isShuttingDownGracefully || Task.isCancelled { return }
      try await Task.sleep(for: .seconds(1))
    }
  }

  /// As long as the process: connections may still be closing when the server has ended.
  private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

  private func respond(_ request: Request, _ paths: Set<String>) -> Response {
    let route = ReadOnlyRoute.decide(
      method: request.method.rawValue, target: request.head.path ?? "/",
      authorization: request.headers[.authorization], pages: paths, token: token)
    switch route {
    case .page(let path, let withBody):
      let page = pages[path]?() ?? .text(.notFound, "not found\n")
      let response = Self.response(page)
      return withBody ? response : response.createHeadResponse()
    case .unknown:
      return Self.response(
        .text(.notFound, "not found; here are: \(paths.sorted().joined(separator: " "))\n"))
    case .notAllowed:
      var response = Self.response(.text(.methodNotAllowed, "read-only: GET or HEAD\n"))
      response.headers[.allow] = "GET, HEAD"
      return response
    case .unauthorized:
      var response = Self.response(.text(.unauthorized, "the token is missing or wrong\n"))
      response.headers[.wwwAuthenticate] = "Bearer"
      return response
    case .noToken:
      return Self.response(.text(.serviceUnavailable, "the token's file can't be read\n"))
    }
  }

  private static func response(_ page: HTTPPage) -> Response {
    Response(
      status: page.status, headers: [.contentType: page.type, .cacheControl: "no-store"],
      body: .init(byteBuffer: ByteBuffer(string: page.body)))
  }

  private func refusal(_ error: any Error) -> BridgeError {
    if let code = (error as? IOError)?.errnoCode {
      return .unavailable(ListenRefusal(key: key, host: host, port: port, code: code).description)
    }
    return .unavailable("\(key): can't listen on \(host):\(port): \(error)")
  }
}
