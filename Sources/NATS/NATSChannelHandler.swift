internal import Logging
internal import NIOCore

/// One connection's part on the event loop: parsing, subscriptions, pings, writing. Performs the actions
/// of `ConnectionStateMachine`.
final class NATSChannelHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  let address: NATSServerAddress
  private let options: NATSOptions
  private let identity: NATSIdentity
  private let tls: TLSMaterial?
  let shared: ConnectionShared
  private let logger: Logger

  private var machine: ConnectionStateMachine
  private var parser: NATSParser
  private var inbound = InboundBuffer()
  private var context: ChannelHandlerContext?
  private var encrypted = false

  private var subscriptions: [UInt64: Subscription] = [:]
  /// One for each unanswered PING; nil for the timer's.
  private var pings = CircularBuffer<EventLoopPromise<Void>?>()
  private var pingTimer: RepeatedTask?
  /// The server's unanswered PINGs.
  private var pongsOwed = 0
  /// Maximum answers at once: a server that sends more PINGs needs no more proof.
  private static let pongsAtOnce = 16
  /// Close the connection to a server that keeps sending PINGs without reading.
  private static let maximumPongsOwed = 1024

  /// Succeeds when the server has accepted the connection.
  let ready: EventLoopPromise<Void>
  let eventLoop: any EventLoop
  var onWritabilityChange: ((Bool) -> Void)?
  var onReadComplete: (() -> Void)?

  private final class Subscription {
    let handler: any NATSRawHandler
    let subject: String
    let onEnd: ((NATSError?) -> Void)?
    var received: UInt64 = 0
    var maximum = UInt64.max

    init(handler: any NATSRawHandler, subject: String, onEnd: ((NATSError?) -> Void)?) {
      self.handler = handler
      self.subject = subject
      self.onEnd = onEnd
    }
  }

  init(
    address: NATSServerAddress, options: NATSOptions, identity: NATSIdentity, tls: TLSMaterial?,
    shared: ConnectionShared, logger: Logger, eventLoop: any EventLoop
  ) {
    self.address = address
    self.options = options
    self.identity = identity
    self.tls = tls
    self.shared = shared
    self.logger = logger
    self.ready = eventLoop.makePromise()
    self.eventLoop = eventLoop
    let mode: ConnectionStateMachine.TLSMode =
      options.tls?.handshakeFirst == true
      ? .first : options.tls != nil || address.tls ? .required : .opportunistic
    self.machine = ConnectionStateMachine(
      tls: mode, maxPingsOutstanding: max(1, options.maxPingsOutstanding))
    // Only control lines are valid before INFO.
    self.parser = NATSParser(payloadLimit: 0)
    self.encrypted = mode == .first
  }

  // MARK: - Channel events

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }

  func handlerRemoved(context: ChannelHandlerContext) {
    // A channel that never became active ends here.
    perform(machine.failed(NATSError(.connectFailed, "the connection was not established")))
    self.context = nil
  }

  func channelInactive(context: ChannelHandlerContext) {
    let early = !machine.delivers
    perform(
      machine.failed(
        NATSError(
          .connectionLost,
          early
            ? "the server closed the connection before accepting it" + advice
            : "the server closed the connection")))
  }

  /// Why a server may have closed the connection.
  private var advice: String {
    if encrypted, tls?.client == nil {
      return "; it may require a client certificate: set tls.cert_file and tls.key_file"
    }
    if case .awaitingInfo = machine.state, !encrypted {
      return """
        ; it sent no INFO: is it a NATS server, and does it require TLS first (handshake_first)?
        """
    }
    return ""
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if let failure = tlsFailure(error, context) { return perform(machine.failed(failure)) }
    perform(machine.failed(TransportError.translate(error, connecting: !machine.delivers)))
  }

  /// TLS errors with advice for this server and our files; nil for other errors.
  private func tlsFailure(_ error: any Error, _ context: ChannelHandlerContext) -> NATSError? {
    guard var failure = TLSFailure(error) else { return nil }
    failure.server = TLSMaterial.serverCertificate(context.pipeline.syncOperations)
    failure.authorities = tls?.authorities
    failure.client = tls?.client
    return failure.error(now: SystemTime.seconds, early: !machine.delivers)
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    let writable = context.channel.isWritable
    if writable {
      answerPings()
      drainOutbox()
    }
    onWritabilityChange?(writable)
  }

  func channelReadComplete(context: ChannelHandlerContext) { onReadComplete?() }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    machine.receivedBytes()
    let isOwn = !inbound.isEmpty
    // Views point into this local buffer, which stays alive even if a handler closes the connection.
    var buffer = inbound.take(adding: unwrapInboundIn(data))
    let consumed = buffer.withUnsafeReadableBytes { bytes in
      var at = 0
      while at < bytes.count, !machine.isClosed {
        do throws(NATSError) {
          let rest = UnsafeRawBufferPointer(rebasing: bytes[at...])
          guard let (operation, length) = try parser.next(rest) else { break }
          at += length
          handle(operation, isLast: at == bytes.count)
        } catch {
          perform(machine.failed(error))
        }
      }
      return at
    }
    guard !machine.isClosed else { return }
    buffer.moveReaderIndex(forwardBy: consumed)
    inbound.putBack(buffer, isOwn: isOwn)
    if pongsOwed > 0 { answerPings() }
  }

  // MARK: - Received operations

  private func handle(_ operation: NATSOperation, isLast: Bool) {
    switch operation {
    case .message(let sid, let view):
      guard machine.delivers else { return perform(machine.receivedEarlyMessage()) }
      deliver(sid, view)
    case .ping: perform(machine.receivedPing())
    case .pong: perform(machine.receivedPong())
    case .ok: break
    case .error(let bytes):
      let text = String(decoding: bytes, as: UTF8.self)
      passViolation(text)
      perform(machine.receivedError(text))
    case .info(let json):
      do throws(NATSError) {
        let info = try NATSServerInfo(parsing: json)
        shared.setInfo(info)
        // Messages stored under a larger max_payload are still delivered; its maximum is 64 MB.
        parser.payloadLimit = min(max(info.maxPayload, 8 << 20), 64 << 20) + (1 << 20)
        let action = machine.received(info)
        if action == .sendConnect(startTLS: true), !isLast {
          throw NATSError(.protocolViolation, "the server sent more than INFO before TLS")
        }
        perform(action)
      } catch {
        perform(machine.failed(error))
      }
    }
  }

  @inline(__always)
  private func deliver(_ sid: UInt64, _ view: NATSMessageView) {
    // Messages may still arrive after an unsubscribe.
    guard let subscription = subscriptions[sid] else { return }
    subscription.received &+= 1
    subscription.handler.received(view)
    if subscription.received >= subscription.maximum { remove(sid) }
  }

  /// Fails the requests or ends the subscriptions whose subject the server refused.
  private func passViolation(_ text: String) {
    guard let (isPublish, subject) = ServerErrorText.violation(text) else { return }
    let error = ServerErrorText.error(text).at(address.endpoint)
    if isPublish {
      shared.requests.refused(subject: subject, error)
    } else {
      for (sid, subscription) in subscriptions where subscription.subject == subject {
        remove(sid, error)
      }
    }
  }

  private func perform(_ action: ConnectionStateMachine.Action) {
    switch action {
    case .none: break
    case .sendConnect(let startTLS): sendConnect(startTLS: startTLS)
    case .becomeReady: becomeReady()
    case .updateInfo: shared.announceInfo()
    case .sendPing: ping(nil)
    case .sendPong: pongsOwed += 1
    case .completePing:
      if let promise = pings.popFirst() { promise?.succeed() }
    case .report(let error):
      // A callback reports it better, and once: a refused subject is refused for every message.
      let isReported = shared.announce(error.at(address.endpoint))
      logger.log(level: isReported ? .debug : .warning, "\(error.at(address.endpoint))")
    case .close(let error): end(error.map(explained)?.at(address.endpoint))
    }
  }

  /// Servers don't tell that a JWT has expired.
  private func explained(_ error: NATSError) -> NATSError {
    guard error.code == .authenticationFailed, let expiry = identity.expiry,
      expiry < SystemTime.seconds
    else { return error }
    return NATSError(
      .authenticationFailed,
      "the user JWT expired on \(SystemTime.text(expiry)); issue another one (credentials_file)")
  }

  /// Answers the PINGs of one read; they are only counted while the socket isn't writable.
  private func answerPings() {
    guard let context, pongsOwed > 0 else { return }
    guard context.channel.isWritable else {
      guard pongsOwed <= Self.maximumPongsOwed else {
        return perform(
          machine.failed(
            NATSError(
              .protocolViolation,
              "the server sent \(pongsOwed) PINGs without reading the answers")))
      }
      return
    }
    let count = min(pongsOwed, Self.pongsAtOnce)
    pongsOwed = 0
    send { line in for _ in 0..<count { line.writeStaticString("PONG\r\n") } }
  }

  private func sendConnect(startTLS: Bool) {
    guard let context else { return }
    do {
      if startTLS {
        let material = try tls ?? TLSMaterial(NATSTLS())
        try material.encrypt(context.pipeline.syncOperations, to: address)
        encrypted = true
      }
      var line = try ConnectLine.encode(
        options: options, identity: identity.filled(from: address), info: shared.info,
        tls: encrypted)
      line.writeStaticString("PING\r\n")
      context.writeAndFlush(wrapOutboundOut(line), promise: nil)
    } catch {
      perform(machine.failed(TransportError.translate(error, connecting: true)))
    }
  }

  private func becomeReady() {
    guard let context else { return }
    subscriptions[ConnectionShared.requestSid] = Subscription(
      handler: shared.requests, subject: shared.requests.prefix + "*",
      onEnd: { [requests = shared.requests] error in
        if let error { requests.end(error) }
      })
    let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
    let interval = TimeAmount(options.pingInterval)
    pingTimer = context.eventLoop.scheduleRepeatedTask(initialDelay: interval, delay: interval) {
      _ in
      let handler = bound.value
      handler.perform(handler.machine.pingTimerFired())
    }
    ready.succeed()
  }

  // MARK: - The end

  /// The server didn't respond in time.
  func connectTimedOut(_ timeout: Duration) {
    let stage =
      switch machine.state {
      case .awaitingInfo:
        encrypted
          ? "the TLS handshake did not complete, or there was no INFO"
          : "there was no INFO; is it a NATS server, and does it require TLS first (handshake_first)?"
      default: "there was no answer to CONNECT"
      }
    perform(machine.failed(NATSError(.timeout, "no connection within \(timeout): \(stage)")))
  }

  /// Closes after everything written so far is passed to the kernel, at most after a second.
  func close() {
    guard let context, !machine.isClosed else { return }
    drainOutbox(force: true)
    let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
    let close: @Sendable () -> Void = {
      let handler = bound.value
      handler.perform(handler.machine.closeRequested())
    }
    let written = context.eventLoop.makePromise(of: Void.self)
    let timeout = context.eventLoop.scheduleTask(in: .seconds(1), close)
    written.futureResult.whenComplete { _ in
      timeout.cancel()
      close()
    }
    context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: written)
  }

  private func end(_ error: NATSError?) {
    pingTimer?.cancel()
    pingTimer = nil
    let refusal = NATSError(
      .closed,
      error.map { "the connection has ended: \($0.message)" } ?? "the connection is closed",
      server: address.endpoint)
    shared.outbox.end(refusal)
    shared.requests.end(refusal)
    let ended = subscriptions.values
    subscriptions = [:]
    for subscription in ended { subscription.onEnd?(error) }
    while let promise = pings.popFirst() { promise?.fail(refusal) }
    ready.fail(error ?? refusal)
    onWritabilityChange = nil
    onReadComplete = nil
    context?.close(promise: nil)
    shared.end(error)
  }

  // MARK: - Subscriptions

  func subscribe(
    _ subject: String, queue: String?, sid: UInt64, handler: any NATSRawHandler,
    onEnd: ((NATSError?) -> Void)?
  ) throws(NATSError) {
    if machine.state == .draining {
      throw NATSError(.draining, "no new subscriptions while draining", server: address.endpoint)
    }
    if let ended = shared.endedError(address) { throw ended }
    subscriptions[sid] = Subscription(handler: handler, subject: subject, onEnd: onEnd)
    send { line in
      line.writeStaticString("SUB ")
      line.writeString(subject)
      if let queue {
        line.writeStaticString(" ")
        line.writeString(queue)
      }
      line.writeString(" \(sid)\r\n")
    }
  }

  /// - Parameter maximum: end after this many messages in total; nil: now.
  func unsubscribe(_ sid: UInt64, maximum: UInt64?) {
    guard let subscription = subscriptions[sid] else { return }
    if let maximum, maximum > subscription.received {
      subscription.maximum = maximum
      send { $0.writeString("UNSUB \(sid) \(maximum)\r\n") }
    } else {
      send { $0.writeString("UNSUB \(sid)\r\n") }
      remove(sid)
    }
  }

  private func remove(_ sid: UInt64, _ error: NATSError? = nil) {
    subscriptions.removeValue(forKey: sid)?.onEnd?(error)
  }

  /// Unsubscribes everything at the server except the request inbox.
  /// - Returns: false if the connection is already draining or has ended.
  func beginDrain() -> Bool {
    guard machine.drainRequested() else { return false }
    for sid in subscriptions.keys where sid != ConnectionShared.requestSid {
      send { $0.writeString("UNSUB \(sid)\r\n") }
    }
    return true
  }

  /// Ends the subscriptions after their last messages have arrived.
  func endSubscriptions() {
    for sid in subscriptions.keys where sid != ConnectionShared.requestSid { remove(sid) }
  }

  // MARK: - Writing

  /// Queues a line for the end of this tick.
  private func send(_ encode: (inout ByteBuffer) -> Void) {
    // Fails only after the end of the connection.
    guard (try? shared.outbox.append(bounded: false, encode)) == true else { return }
    scheduleDrain()
  }

  private func scheduleDrain() {
    guard let context else { return }
    let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
    context.eventLoop.execute { bound.value.drainOutbox() }
  }

  /// Writes and flushes the outbox if the socket is writable.
  func drainOutbox(force: Bool = false) {
    guard let context, force || context.channel.isWritable, let bytes = shared.outbox.take() else {
      return
    }
    context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
  }

  /// Sends a PING; `promise` succeeds with its PONG.
  func ping(_ promise: EventLoopPromise<Void>?) {
    if promise != nil, let ended = shared.endedError(address) {
      promise?.fail(ended)
      return
    }
    pings.append(promise)
    send { $0.writeStaticString("PING\r\n") }
  }

  func writeRaw(_ bytes: ByteBuffer) {
    guard let context, !machine.isClosed else { return }
    // Keep the order of the lines.
    if let earlier = shared.outbox.take() { context.write(wrapOutboundOut(earlier), promise: nil) }
    context.write(wrapOutboundOut(bytes), promise: nil)
  }

  func flushWrites() { context?.flush() }
}
