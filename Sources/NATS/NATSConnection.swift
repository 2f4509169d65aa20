public import NIOCore

/// One connection to one server.
///
/// It never reconnects. When it ends, the outcome of everything unanswered is unknown, and its owner
/// decides what to resend, where to connect next (`discoveredServers`) and when.
///
/// Thread-safe, except the fast path (`writeRaw` etc.), which must be called on `eventLoop`. Callbacks
/// run on `eventLoop` and must not block it.
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

  // MARK: - The server

  /// The server's latest INFO.
  public var info: NATSServerInfo { shared.info }

  /// Servers of the cluster that the server has announced, except those given to `connect`, with the same
  /// credentials and TLS settings.
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

  /// Calls back when the server sends a new INFO: cluster members, lame duck mode.
  public func onInfoUpdate(_ callback: @escaping @Sendable (NATSServerInfo) -> Void) {
    shared.addInfoCallback(callback)
  }

  /// Calls back once, on `eventLoop`, when the server announces its shutdown.
  public func onLameDuck(_ callback: @escaping @Sendable () -> Void) {
    let handler = handler
    let shared = shared
    eventLoop.execute {
      let wasCalled = NIOLoopBoundBox(false, eventLoop: handler.value.eventLoop)
      let notify: @Sendable (NATSServerInfo) -> Void = { info in
        guard info.lameDuck, !wasCalled.value else { return }
        wasCalled.value = true
        callback()
      }
      shared.addInfoCallback(notify)
      notify(shared.info)
    }
  }

  /// Calls back for server errors that don't end the connection, such as refused subjects.
  public func onServerError(_ callback: @escaping @Sendable (NATSError) -> Void) {
    shared.addErrorCallback(callback)
  }

  /// The prefix of this connection's reply subjects, without the final dot.
  public var inboxPrefix: String { options.inboxPrefix }

  /// A unique inbox subject, for replies to it and to subjects below it.
  public func newInbox() -> String { NATSInbox.make(prefix: options.inboxPrefix) }

  // MARK: - The end

  /// It was closed, or lost.
  package var hasEnded: Bool { shared.hasEnded }

  /// Succeeds when the connection has ended, with nil if it was closed by us.
  public var closed: EventLoopFuture<NATSError?> { shared.closed }

  /// Waits until the server has processed everything published so far, by PING and PONG.
  ///
  /// - Throws: `timeout`, `closed`.
  public func flush(timeout: Duration = .seconds(10)) async throws(NATSError) {
    let pong = eventLoop.makePromise(of: Void.self)
    let handler = handler
    eventLoop.execute { handler.value.ping(pong) }
    let endpoint = server.endpoint
    let timer = eventLoop.scheduleTask(in: TimeAmount(timeout)) {
      pong.fail(
        NATSError(.timeout, "the server did not answer a PING within \(timeout)", server: endpoint))
    }
    defer { timer.cancel() }
    do {
      try await pong.futureResult.get()
    } catch {
      throw TransportError.translate(error, connecting: false)
    }
  }

  /// Ends gracefully: unsubscribes everything, waits for messages in flight, sends pending writes, and
  /// closes. Pending requests fail with `closed`.
  ///
  /// - Throws: `timeout`, `closed`; the connection is closed in any case.
  public func drain(timeout: Duration = .seconds(30)) async throws(NATSError) {
    let began = await onLoop { $0.beginDrain() }
    if began {
      let deadline = ContinuousClock.now + timeout
      do {
        // No messages of the subscriptions follow this PONG.
        try await flush(timeout: timeout)
        await onLoop { $0.endSubscriptions() }
        // For what their readers published meanwhile.
        try await flush(timeout: max(deadline - .now, .milliseconds(1)))
      } catch {
        await close()
        throw error
      }
    }
    await close()
  }

  /// Sends pending writes (for at most a second) and closes. Returns when the connection is closed.
  public func close() async {
    await onLoop { $0.close() }
    _ = try? await channel.closeFuture.get()
  }

  // MARK: - Fast path, on `eventLoop` only

  /// Writes complete protocol lines (`HPUB …`); `flushWrites` sends them. The caller must ensure valid
  /// subjects, sizes and `max_payload`. Ignored after the end.
  public func writeRaw(_ bytes: ByteBuffer) { handler.value.writeRaw(bytes) }

  public func flushWrites() { handler.value.flushWrites() }

  /// False while too many bytes are pending; see `onWritabilityChange`.
  public var isWritable: Bool { channel.isWritable }

  /// Sets the callback for changes of `isWritable`.
  public func onWritabilityChange(_ callback: @escaping (Bool) -> Void) {
    handler.value.onWritabilityChange = callback
  }

  /// Sets the callback that runs after the messages of one read are delivered, for work to do once per
  /// read instead of once per message.
  public func onReadComplete(_ callback: @escaping () -> Void) {
    handler.value.onReadComplete = callback
  }

  /// Subscribes without buffering; `handler` is retained until the subscription ends. The subject is not
  /// validated. The server processes the subscription before anything written later. Has no effect while
  /// draining and after the end.
  ///
  /// - Parameter onEnd: called on `eventLoop` when the subscription ends, also with the connection.
  /// - Returns: the subscription's id.
  public func subscribeRaw(
    _ subject: String, handler: any NATSRawHandler, onEnd: (() -> Void)? = nil
  ) -> UInt64 {
    let sid = shared.nextSid()
    // Fails only while draining and after the end, when there are no messages.
    try? self.handler.value.subscribe(
      subject, queue: nil, sid: sid, handler: handler, onEnd: onEnd.map { end in { _ in end() } })
    return sid
  }

  public func unsubscribeRaw(_ sid: UInt64) { handler.value.unsubscribe(sid, maximum: nil) }

  // MARK: - Event loop

  func onLoop<T: Sendable>(_ body: @escaping @Sendable (NATSChannelHandler) -> T) async -> T {
    let handler = handler
    return await withCheckedContinuation { continuation in
      eventLoop.execute { continuation.resume(returning: body(handler.value)) }
    }
  }
}

extension NATSServerAddress {
  /// The name to verify the server's certificate against; nil for IP addresses.
  var certificateName: String? {
    tlsName ?? (NATSServerAddress.isIPAddress(host) ? nil : host)
  }
}
