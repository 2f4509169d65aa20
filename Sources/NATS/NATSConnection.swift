public import NIOCore

/// One connection to one server: one epoch.
///
/// It never reconnects by itself. When it ends, everything unanswered is unknown, and whoever owns
/// it decides what to read again, where to connect next (`discoveredServers`) and how soon.
///
/// Thread rules: everything may be called from anywhere, except the fast path (`writeRaw` and the
/// like), which belongs to `eventLoop`. Callbacks run on `eventLoop` and must not block it.
public final class NATSConnection: Sendable {
  public let eventLoop: any EventLoop
  /// The server this connection is to.
  public let server: NATSServerAddress
  let options: NATSOptions
  let shared: ConnectionShared
  let handler: NIOLoopBound<NATSChannelHandler>
  private let channel: any Channel
  private let configured: [NATSServerAddress]

  init(
    channel: any Channel, handler: NIOLoopBound<NATSChannelHandler>, shared: ConnectionShared,
    server: NATSServerAddress, configured: [NATSServerAddress], options: NATSOptions
  ) {
    self.eventLoop = channel.eventLoop
    self.channel = channel
    self.handler = handler
    self.shared = shared
    self.server = server
    self.configured = configured
    self.options = options
  }

  deinit {
    guard !shared.hasEnded else { return }
    let handler = handler
    eventLoop.execute { handler.value.close() }
  }

  // MARK: - What is known of the other end

  /// The server's latest INFO.
  public var info: NATSServerInfo { shared.info }

  /// Servers of its cluster that the server has announced, but for those given to `connect`. They
  /// have its credentials and TLS settings.
  public var discoveredServers: [NATSServerAddress] {
    guard !options.ignoreDiscoveredServers else { return [] }
    var seen = Set(configured.map(\.endpoint))
    return info.connectURLs.compactMap { url in
      guard var address = try? NATSServerAddress(url: url), seen.insert(address.endpoint).inserted
      else { return nil }
      address.tls = server.tls
      address.user = server.user
      address.password = server.password
      if NATSServerAddress.isIPAddress(address.host) { address.tlsName = server.certificateName }
      return address
    }
  }

  /// The servers given to `connect`, followed by `discoveredServers`.
  public var knownServers: [NATSServerAddress] { configured + discoveredServers }

  /// Calls back when the server announces a change: cluster members, lame duck.
  public func onInfoUpdate(_ callback: @escaping @Sendable (NATSServerInfo) -> Void) {
    shared.addInfoCallback(callback)
  }

  /// Calls back once when the server says that it is about to shut down, on `eventLoop`.
  public func onLameDuck(_ callback: @escaping @Sendable () -> Void) {
    let handler = handler
    let shared = shared
    eventLoop.execute {
      let told = NIOLoopBoundBox(false, eventLoop: handler.value.eventLoop)
      let tell: @Sendable (NATSServerInfo) -> Void = { info in
        guard info.lameDuck, !told.value else { return }
        told.value = true
        callback()
      }
      shared.addInfoCallback(tell)
      tell(shared.info)
    }
  }

  /// Calls back for errors of the server that leave the connection alive, as refused subjects.
  public func onServerError(_ callback: @escaping @Sendable (NATSError) -> Void) {
    shared.addErrorCallback(callback)
  }

  /// What the reply subjects of this connection begin with, without a dot at its end.
  public var inboxPrefix: String { options.inboxPrefix }

  /// An inbox subject that nobody else uses; replies may go to it and below it.
  public func newInbox() -> String { NATSInbox.make(prefix: options.inboxPrefix) }

  // MARK: - The end

  /// Succeeds when the connection has ended; nil: closed by us.
  public var closed: EventLoopFuture<NATSError?> { shared.closed }

  /// Waits until everything published so far is with the server's processing: PING and PONG.
  ///
  /// - Throws: `timeout`, `closed`.
  public func flush(timeout: Duration = .seconds(10)) async throws(NATSError) {
    let pong = eventLoop.makePromise(of: Void.self)
    let handler = handler
    eventLoop.execute { handler.value.ping(pong) }
    let endpoint = server.endpoint
    let timer = eventLoop.scheduleTask(in: TimeAmount(timeout)) {
      pong.fail(
        NATSError(.timeout, "the server answered no PING within \(timeout)", server: endpoint))
    }
    defer { timer.cancel() }
    do {
      try await pong.futureResult.get()
    } catch {
      throw TransportError.translate(error, connecting: false)
    }
  }

  /// Ends gracefully: unsubscribes everything, lets messages under way arrive, sends what is
  /// written, and closes. Requests still waiting end with `closed`.
  ///
  /// - Throws: `timeout`, `closed`; the connection is closed in any case.
  public func drain(timeout: Duration = .seconds(30)) async throws(NATSError) {
    let began = await onLoop { $0.beginDrain() }
    if began {
      let deadline = ContinuousClock.now + timeout
      do {
        // Behind this PONG no message of the subscriptions can come.
        try await flush(timeout: timeout)
        await onLoop { $0.endSubscriptions() }
        // What their readers published meanwhile.
        try await flush(timeout: max(deadline - .now, .milliseconds(1)))
      } catch {
        await close()
        throw error
      }
    }
    await close()
  }

  /// Sends what is written (for at most a second) and closes. Returns when it is done.
  public func close() async {
    await onLoop { $0.close() }
    _ = try? await channel.closeFuture.get()
  }

  // MARK: - Fast path, on `eventLoop` only

  /// Writes complete protocol lines (`HPUB …`) as they are; `flushWrites` sends them. Not checked:
  /// subjects, sizes and `max_payload` are the caller's business. Ignored after the end.
  public func writeRaw(_ bytes: ByteBuffer) { handler.value.writeRaw(bytes) }

  public func flushWrites() { handler.value.flushWrites() }

  /// False while more bytes wait for the socket than is good for memory; see
  /// `onWritabilityChange`.
  public var isWritable: Bool { channel.isWritable }

  /// Replaces the callback that says when `isWritable` has changed.
  public func onWritabilityChange(_ callback: @escaping (Bool) -> Void) {
    handler.value.onWritabilityChange = callback
  }

  /// Replaces the callback that runs after the messages of one read have been delivered: the place
  /// to do once what would otherwise be done for every message.
  public func onReadComplete(_ callback: @escaping () -> Void) {
    handler.value.onReadComplete = callback
  }

  /// Subscribes without buffering; `handler` is kept until the subscription ends. The subject is
  /// not checked. The server knows of it before it sees anything written later. While draining and
  /// after the end no messages come.
  ///
  /// - Parameter onEnd: called on `eventLoop` when the subscription ends, the connection's end
  ///   included.
  /// - Returns: the subscription's number.
  public func subscribeRaw(
    _ subject: String, handler: any NATSRawHandler, onEnd: (() -> Void)? = nil
  ) -> UInt64 {
    let sid = shared.nextSid()
    // Fails only after the end, where no messages come anyway.
    try? self.handler.value.subscribe(
      subject, queue: nil, sid: sid, handler: handler, onEnd: onEnd.map { end in { _ in end() } })
    return sid
  }

  public func unsubscribeRaw(_ sid: UInt64) { handler.value.unsubscribe(sid, maximum: nil) }

  // MARK: - To the event loop

  func onLoop<T: Sendable>(_ body: @escaping @Sendable (NATSChannelHandler) -> T) async -> T {
    let handler = handler
    return await withCheckedContinuation { continuation in
      eventLoop.execute { continuation.resume(returning: body(handler.value)) }
    }
  }
}

extension NATSServerAddress {
  /// The name that this server's certificate is checked against; nil for bare addresses.
  var certificateName: String? {
    tlsName ?? (NATSServerAddress.isIPAddress(host) ? nil : host)
  }
}
