public import Logging
public import NIOCore
import NIOPosix
import Synchronization

extension NATSConnection {
  /// Tries each server once, in random order unless `options.shuffle` is off, and returns the first
  /// connection that a server accepts (its PONG has come).
  ///
  /// Reads certificate files before the first attempt.
  ///
  /// - Parameter eventLoop: where the connection shall live; default: one of NIO's own.
  /// - Throws: when no server accepts, the reasons of all of them. The code is theirs if they agree,
  ///   else `connectFailed`. `badCredentials` when a seed or certificate cannot be used; `cancelled`.
  public static func connect(
    to servers: [NATSServerAddress], options: NATSOptions = NATSOptions(),
    on eventLoop: (any EventLoop)? = nil, logger: Logger
  ) async throws(NATSError) -> NATSConnection {
    guard !servers.isEmpty else {
      throw NATSError(.connectFailed, "the list of servers is empty; name at least one")
    }
    guard NATSSubject.isValidLiteral(options.inboxPrefix.utf8) else {
      throw NATSError(
        .invalidSubject, "the inbox prefix '\(options.inboxPrefix)' is no subject to publish to")
    }
    let identity = try NATSIdentity(options.authentication)
    let tls: TLSMaterial?
    if options.tls != nil || servers.contains(where: \.tls) {
      tls = try TLSMaterial(options.tls ?? NATSTLS())
    } else {
      tls = nil
    }
    let eventLoop = eventLoop ?? MultiThreadedEventLoopGroup.singleton.next()
    var failures: [NATSError] = []
    for server in options.shuffle ? servers.shuffled() : servers {
      let attempt = ConnectAttempt(
        server: server, configured: servers, options: options, identity: identity, tls: tls,
        eventLoop: eventLoop, logger: logger)
      do {
        return try await attempt.run()
      } catch {
        if error.code == .cancelled { throw error }
        failures.append(error.at(server.endpoint))
        logger.debug("\(error.at(server.endpoint))")
      }
    }
    if failures.count == 1 { throw failures[0] }
    let codes = Set(failures.map(\.code))
    let reasons = failures.map { "\($0.server ?? "?"): \($0.message)" }.joined(separator: "; ")
    throw NATSError(
      codes.count == 1 ? failures[0].code : .connectFailed,
      "none of \(failures.count) servers accepted the connection: \(reasons)")
  }
}

/// One server, once. Whatever ends it first decides: acceptance, failure, time, cancellation.
private final class ConnectAttempt: Sendable {
  private enum Stage {
    case connecting
    case handshaking(any Channel)
    case decided
  }

  private let server: NATSServerAddress
  private let configured: [NATSServerAddress]
  private let options: NATSOptions
  private let identity: NATSIdentity
  private let tls: TLSMaterial?
  private let eventLoop: any EventLoop
  private let logger: Logger
  private let stage = Mutex(Stage.connecting)
  private let outcome: EventLoopPromise<Result<NATSConnection, NATSError>>

  init(
    server: NATSServerAddress, configured: [NATSServerAddress], options: NATSOptions,
    identity: NATSIdentity, tls: TLSMaterial?, eventLoop: any EventLoop, logger: Logger
  ) {
    self.server = server
    self.configured = configured
    self.options = options
    self.identity = identity
    self.tls = tls
    self.eventLoop = eventLoop
    self.logger = logger
    self.outcome = eventLoop.makePromise()
  }

  func run() async throws(NATSError) -> NATSConnection {
    let timeout = options.connectTimeout
    let timer = eventLoop.scheduleTask(in: TimeAmount(timeout)) { self.timedOut(timeout) }
    defer { timer.cancel() }
    let result = await withTaskCancellationHandler {
      if Task.isCancelled { return Result<NATSConnection, NATSError>.failure(Self.cancelled) }
      // On the loop, so that `connected` follows the connection at once: otherwise a quick server
      // may have refused us before the handler is looked up.
      eventLoop.execute { self.start() }
      do {
        return try await outcome.futureResult.get()
      } catch {
        return .failure(TransportError.translate(error, connecting: true))
      }
    } onCancel: {
      decide(.failure(Self.cancelled))
    }
    return try result.get()
  }

  private static let cancelled = NATSError(.cancelled, "connecting was cancelled")

  private func start() {
    let bootstrap = ClientBootstrap(group: eventLoop)
      .connectTimeout(TimeAmount(options.connectTimeout))
      .channelOption(.socketOption(.so_keepalive), value: 1)
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelOption(.maxMessagesPerRead, value: 16)
      .channelOption(
        .writeBufferWaterMark, value: .init(low: 128 << 10, high: 512 << 10)
      )
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let pipeline = channel.pipeline.syncOperations
          if let tls = self.tls, self.options.tls?.handshakeFirst == true {
            try pipeline.addHandler(tls.handler(for: self.server))
          }
          try pipeline.addHandler(self.makeHandler(channel.eventLoop))
        }
      }
    bootstrap.connect(host: server.host, port: server.port).whenComplete { result in
      switch result {
      case .success(let channel): self.connected(channel)
      case .failure(let error):
        self.decide(.failure(TransportError.translate(error, connecting: true)))
      }
    }
  }

  private func makeHandler(_ eventLoop: any EventLoop) -> NATSChannelHandler {
    NATSChannelHandler(
      address: server, options: options, identity: identity, tls: tls,
      shared: ConnectionShared(eventLoop: eventLoop, options: options),
      logger: logger, eventLoop: eventLoop)
  }

  /// TCP is there; the handler goes on by itself until the server's PONG.
  private func connected(_ channel: any Channel) {
    let wanted = stage.withLock { stage in
      guard case .connecting = stage else { return false }
      stage = .handshaking(channel)
      return true
    }
    guard wanted else { return channel.close(promise: nil) }
    let handler: NATSChannelHandler
    do {
      handler = try channel.pipeline.syncOperations.handler(type: NATSChannelHandler.self)
    } catch {
      decide(.failure(NATSError(.connectFailed, "the server closed the connection at once")))
      return
    }
    let bound = NIOLoopBound(handler, eventLoop: channel.eventLoop)
    handler.ready.futureResult.whenComplete { result in
      switch result {
      case .success:
        self.decide(
          .success(
            NATSConnection(
              channel: channel, handler: bound, shared: bound.value.shared, server: self.server,
              configured: self.configured, options: self.options)))
      case .failure(let error):
        self.decide(.failure(TransportError.translate(error, connecting: true)))
      }
    }
  }

  private func timedOut(_ timeout: Duration) {
    if case .handshaking(let channel) = stage.withLock({ $0 }),
      let handler = try? channel.pipeline.syncOperations.handler(type: NATSChannelHandler.self)
    {
      handler.connectTimedOut(timeout)
    }
    decide(
      .failure(NATSError(.timeout, "no connection within \(timeout): the host does not answer")))
  }

  private func decide(_ result: Result<NATSConnection, NATSError>) {
    let before = stage.withLock { stage in
      defer { stage = .decided }
      return stage
    }
    if case .decided = before {
      // A connection that nobody waits for any more closes when it is dropped.
      return
    }
    if case .failure = result, case .handshaking(let channel) = before {
      channel.close(promise: nil)
    }
    outcome.succeed(result)
  }
}
