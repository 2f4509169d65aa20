public import Logging
public import NIOCore
import NIOPosix
import Synchronization

extension NATSConnection {
  /// Returns the first connection that a server accepts (its PONG is received).
  ///
  /// Servers are tried in random order unless `options.shuffle` is off. An attempt starts a short time
  /// after the previous one, or at once if that failed, and is limited by `options.connectTimeout`; losing
  /// attempts are closed. Failed `servers` are retried while other attempts are running.
  ///
  /// Every call reads the certificate files first.
  ///
  /// - Parameters:
  ///   - discovered: servers announced by a cluster (`discoveredServers`). A random selection is tried
  ///     after `servers`; none with `options.ignoreDiscoveredServers`.
  ///   - eventLoop: the connection's event loop; default: one of NIO's.
  /// - Throws: if no server accepts, an error with the reasons of all, within twice `connectTimeout` (up to
  ///   64 servers), whose code is theirs if they agree, otherwise `connectFailed`; `badCredentials` if a
  ///   seed or certificate is unusable; `cancelled`.
  public static func connect(
    to servers: [NATSServerAddress], discovered: [NATSServerAddress] = [],
    options: NATSOptions = NATSOptions(), on eventLoop: (any EventLoop)? = nil, logger: Logger
  ) async throws(NATSError) -> NATSConnection {
    try await connect(
      to: servers, discovered: discovered, options: options, on: eventLoop, by: .tcp, logger: logger
    )
  }

  /// As above, by a transport that need not be TCP.
  package static func connect(
    to servers: [NATSServerAddress], discovered: [NATSServerAddress] = [],
    options: NATSOptions, on eventLoop: (any EventLoop)?, by transport: NATSTransport,
    logger: Logger
  ) async throws(NATSError) -> NATSConnection {
    guard !servers.isEmpty else {
      throw NATSError(.connectFailed, "the list of servers is empty; name at least one")
    }
    guard NATSSubject.isValidLiteral(options.inboxPrefix.utf8) else {
      throw NATSError(
        .invalidSubject, "the inbox prefix '\(options.inboxPrefix)' is not a valid subject")
    }
    let identity = try NATSIdentity(options.authentication)
    var random = TransportRandom(transport: transport)
    let order = ConnectOrder(
      configured: servers, discovered: options.ignoreDiscoveredServers ? [] : discovered,
      shuffle: options.shuffle, stagger: options.connectStagger, timeout: options.connectTimeout,
      using: &random)
    let tls: TLSMaterial?
    if options.tls != nil || order.candidates.contains(where: \.tls) {
      tls = try TLSMaterial(options.tls ?? NATSTLS())
    } else {
      tls = nil
    }
    let loop = eventLoop ?? MultiThreadedEventLoopGroup.singleton.next()
    return try await race(order, retried: Set(servers), on: loop) { server in
      ConnectAttempt(
        server: server, configured: servers, options: options, identity: identity, tls: tls,
        transport: transport, eventLoop: loop, logger: logger)
    }
  }

  private enum RaceEvent: Sendable {
    /// The pause after an attempt is over; with the number of candidates started before it.
    case paused(Int)
    /// The pause after a failure is over.
    case rested(NATSServerAddress)
    case ended(Result<NATSConnection, NATSError>, NATSServerAddress, isFirst: Bool)
  }

  /// The first successful attempt. Fails when every candidate has failed once; until then, failed servers
  /// in `retried` are retried, since they may be back long before the others time out.
  private static func race(
    _ order: ConnectOrder, retried: Set<NATSServerAddress>, on eventLoop: any EventLoop,
    _ makeAttempt: (NATSServerAddress) -> ConnectAttempt
  ) async throws(NATSError) -> NATSConnection {
    let outcome = await withTaskGroup(of: RaceEvent.self) {
      group -> Result<NATSConnection, NATSError> in
      var begun = 0
      var running = 0
      var undecided = order.candidates.count
      var failures: [NATSServerAddress: NATSError] = [:]
      func begin(_ server: NATSServerAddress, isFirst: Bool) {
        let attempt = makeAttempt(server)
        running += 1
        group.addTask {
          do throws(NATSError) {
            return .ended(.success(try await attempt.run()), server, isFirst: isFirst)
          } catch {
            return .ended(.failure(error), server, isFirst: isFirst)
          }
        }
      }
      func beginNext() {
        guard begun < order.candidates.count, running < ConnectOrder.maximumConcurrent else {
          return
        }
        begin(order.candidates[begun], isFirst: true)
        begun += 1
        guard begun < order.candidates.count else { return }
        let count = begun
        group.addTask {
          try? await eventLoop.sleep(for: order.stagger)
          return .paused(count)
        }
      }
      beginNext()
      while undecided > 0, let event = await group.next() {
        switch event {
        case .paused(let count):
          // A failure may have started the next one meanwhile.
          if count == begun { beginNext() }
        case .rested(let server): begin(server, isFirst: false)
        case .ended(.success(let connection), _, _):
          // Another connection that succeeds at the same time is closed by its deinit.
          group.cancelAll()
          return .success(connection)
        case .ended(.failure(let error), let server, let isFirst):
          if error.code == .cancelled {
            group.cancelAll()
            return .failure(error)
          }
          running -= 1
          if isFirst { undecided -= 1 }
          failures[server] = error.at(server.endpoint)
          beginNext()
          if undecided > 0, retried.contains(server) {
            group.addTask {
              try? await eventLoop.sleep(for: ConnectOrder.rest)
              return .rested(server)
            }
          }
        }
      }
      group.cancelAll()
      return .failure(summary(order.candidates.compactMap { failures[$0] }))
    }
    return try outcome.get()
  }

  /// Combines all failures.
  private static func summary(_ failures: [NATSError]) -> NATSError {
    if failures.count == 1 { return failures[0] }
    let shown = 8
    var reasons = failures.prefix(shown).map { "\($0.server ?? "?"): \($0.message)" }
    if failures.count > shown { reasons.append("and \(failures.count - shown) more") }
    let codes = Set(failures.map(\.code))
    return NATSError(
      codes.count == 1 ? failures[0].code : .connectFailed,
      "none of \(failures.count) servers accepted the connection: "
        + reasons.joined(separator: "; "))
  }
}

/// One attempt to connect to one server. The first of acceptance, failure, timeout and cancellation
/// decides it.
private final class ConnectAttempt: Sendable {
  private enum Stage {
    /// The sockets opened so far, one for each address of the host name.
    case connecting([any Channel])
    case handshaking(any Channel)
    case decided
  }

  private let server: NATSServerAddress
  private let configured: [NATSServerAddress]
  private let options: NATSOptions
  private let identity: NATSIdentity
  private let tls: TLSMaterial?
  private let transport: NATSTransport
  private let eventLoop: any EventLoop
  private let logger: Logger
  private let stage = Mutex(Stage.connecting([]))
  private let outcome: EventLoopPromise<Result<NATSConnection, NATSError>>

  init(
    server: NATSServerAddress, configured: [NATSServerAddress], options: NATSOptions,
    identity: NATSIdentity, tls: TLSMaterial?, transport: NATSTransport,
    eventLoop: any EventLoop, logger: Logger
  ) {
    self.server = server
    self.configured = configured
    self.options = options
    self.identity = identity
    self.tls = tls
    self.transport = transport
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
      // On the loop, so that `connected` runs immediately after the connection: otherwise the server
      // may have closed it before the handler is looked up.
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
    transport.open(server.host, server.port, TimeAmount(options.connectTimeout), eventLoop) {
      channel in
      channel.eventLoop.makeCompletedFuture {
        try self.opened(channel)
        let pipeline = channel.pipeline.syncOperations
        if let tls = self.tls, self.options.tls?.handshakeFirst == true {
          try tls.encrypt(pipeline, to: self.server)
        }
        try pipeline.addHandler(self.makeHandler(channel.eventLoop))
      }
    }.whenComplete { result in
      switch result {
      case .success(let channel): self.connected(channel)
      case .failure(let error):
        self.decide(.failure(TransportError.translate(error, connecting: true)))
      }
    }
  }

  /// Registers a socket, to close it if another attempt wins.
  private func opened(_ channel: any Channel) throws(NATSError) {
    let wanted = stage.withLock { stage in
      guard case .connecting(let channels) = stage else { return false }
      stage = .connecting(channels + [channel])
      return true
    }
    if !wanted { throw Self.cancelled }
  }

  private func makeHandler(_ eventLoop: any EventLoop) -> NATSChannelHandler {
    NATSChannelHandler(
      address: server, options: options, identity: identity, tls: tls,
      shared: ConnectionShared(eventLoop: eventLoop, options: options),
      logger: logger, eventLoop: eventLoop)
  }

  /// TCP is connected; the handler continues until the server's PONG.
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
      .failure(NATSError(.timeout, "no connection within \(timeout): the host does not respond")))
  }

  private func decide(_ result: Result<NATSConnection, NATSError>) {
    let before = stage.withLock { stage in
      defer { stage = .decided }
      return stage
    }
    if case .decided = before {
      // The connection of a decided attempt is closed by its deinit.
      return
    }
    outcome.succeed(result)
    guard case .failure = result else { return }
    switch before {
    case .connecting(let channels): for channel in channels { channel.close(promise: nil) }
    case .handshaking(let channel): channel.close(promise: nil)
    case .decided: break
    }
  }
}
