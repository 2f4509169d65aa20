package import JSON
package import Logging
import NIOCore
package import NIOHTTP1
import NIOPosix
import ServiceLifecycle

/// An answer of the read-only server.
package struct HTTPPage: Sendable {
  package var status: HTTPResponseStatus
  package var type: String
  package var body: String
  /// Seconds after which to ask again, where that helps.
  package var retryAfter: Int?
  /// What a browser may do with it; by default nothing but show it.
  package var policy = "default-src 'none'; frame-ancestors 'none'"

  package static func json(_ status: HTTPResponseStatus, _ value: JSONValue) -> HTTPPage {
    HTTPPage(status: status, type: "application/json", body: value.text(pretty: true) + "\n")
  }

  package static func text(_ status: HTTPResponseStatus, _ body: String) -> HTTPPage {
    HTTPPage(status: status, type: "text/plain; charset=utf-8", body: body)
  }

  package static func html(_ body: String, policy: String) -> HTTPPage {
    HTTPPage(status: .ok, type: "text/html; charset=utf-8", body: body, policy: policy)
  }

  package static func metrics(_ body: String) -> HTTPPage {
    HTTPPage(status: .ok, type: "text/plain; version=0.0.4; charset=utf-8", body: body)
  }
}

/// A page that is made from a request's query, and takes its time. Called on no event loop; when its task is cancelled,
/// nobody waits for it any more.
package typealias SlowPage = @Sendable (Substring) async -> HTTPPage

/// Pages by path, for GET and HEAD. It has its own event loop, few connections and short timeouts, so that no
/// client can delay the bridge.
package struct ReadOnlyServer: Sendable {
  package var host: String
  /// 0: the system chooses.
  package var port: Int
  /// The configuration key or option of the address, such as `http.listen`.
  package var key: String
  package var pages: [String: @Sendable () -> HTTPPage]
  package var slowPages: [String: SlowPage] = [:]
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

  /// Until graceful shutdown, which lets answers that have begun reach their clients.
  ///
  /// - Parameter onListening: called once it listens.
  /// - Throws: `BridgeError.unavailable` if it can't listen.
  package func run(onListening: @escaping @Sendable (String) -> Void) async throws {
    var isFirst = true
    while true {
      do {
        let connections = OpenConnections(
          limit: OpenConnections.limit(descriptors: OpenConnections.descriptors))
        let listener = try await listen(connections)
        if isFirst { onListening(listener.localAddress.map { "\($0)" } ?? host) }
        isFirst = false
        await withGracefulShutdownHandler {
          await withTaskCancellationHandler {
            try? await listener.closeFuture.get()
          } onCancel: {
            listener.close(promise: nil)
          }
        } onGracefulShutdown: {
          listener.close(promise: nil)
        }
        await connections.drain()
      } catch {
        guard !isFirst else { throw refusal(error) }
        logger.error("http", metadata: ["error": "\(error)"])
      }
      // For any error: the bridge continues, and the server is restarted.
      if Task.isShuttingDownGracefully || Task.isCancelled { return }
      try await Task.sleep(for: .seconds(1))
    }
  }

  private func listen(_ connections: OpenConnections) async throws -> any Channel {
    let routes = ReadOnlyPages(pages: pages, slowPages: slowPages, token: token)
    return try await ServerBootstrap(group: Self.group)
      .serverChannelOption(.backlog, value: 256)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      // Who has sent everything may close that side before reading the answer.
      .childChannelOption(.allowRemoteHalfClosure, value: true)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          var limits = NIOHTTPDecoderLimitConfiguration()
          limits.maxHeaderFieldSize = 8 << 10
          limits.maxHeaderListSize = 16 << 10
          limits.maxHeaderFieldCount = 100
          let pipeline = channel.pipeline.syncOperations
          // RequestHandler answers what is sent ahead, and what isn't HTTP.
          try pipeline.configureHTTPServerPipeline(
            withPipeliningAssistance: false, withErrorHandling: false,
            withEncoderConfiguration: .init(), withDecoderLimitConfiguration: limits)
          try pipeline.addHandlers([
            ConnectionTimeouts(connections), RequestHandler(routes),
          ])
        }
      }
      .bind(host: host, port: port).get()
  }

  /// As long as the process: connections may still be closing when the server has ended.
  private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

  private func refusal(_ error: any Error) -> BridgeError {
    if let code = (error as? IOError)?.errnoCode {
      return .unavailable(ListenRefusal(key: key, host: host, port: port, code: code).description)
    }
    return .unavailable("\(key): can't listen on \(host):\(port): \(error)")
  }
}
