internal import Logging
internal import NIOCore
import NIOSSL

/// Everything about one connection that lives on its event loop: parsing, subscriptions, pings,
/// writing. It does what `ConnectionStateMachine` says.
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
  /// One for each PING that has no PONG yet; nil for those of the timer.
  private var pings = CircularBuffer<EventLoopPromise<Void>?>()
  private var pingTimer: RepeatedTask?
  /// The server's PINGs that have no PONG yet.
  private var pongsOwed = 0
  /// Written at once at most: to a server that sends more, any PONG proves the same.
  private static let pongsAtOnce = 16
  /// A server that reads nothing and asks on is not one to wait for.
  private static let maximumPongsOwed = 1024

  /// Succeeds when the server has accepted us.
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
    // Until INFO tells more there is nothing but control lines.
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
            ? "the server closed the connection before it accepted us"
              + (encrypted && tls?.client == nil
                ? "; it may want a client certificate: set tls.cert_file and tls.key_file" : "")
            : "the server closed the connection")))
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if let failure = tlsFailure(error, context) { return perform(machine.failed(failure)) }
    perform(machine.failed(TransportError.translate(error, connecting: !machine.delivers)))
  }

  /// TLS's own errors, with the advice that fits this server and our files; nil for others.
  private func tlsFailure(_ error: any Error, _ context: ChannelHandlerContext) -> NATSError? {
    guard var failure = TLSFailure(error) else { return nil }
    let certificate = try? context.pipeline.syncOperations.nioSSL_peerCertificate()
    failure.server = certificate.map { CertificateDates($0) }
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
    // A local value: handlers may close the connection while views into it are in use.
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

  // MARK: - What the server says

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
        // Messages stored when max_payload was larger still arrive whole; no server has it above 64 MB.
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
    // Messages may still arrive for what has just been unsubscribed.
    guard let subscription = subscriptions[sid] else { return }
    subscription.received &+= 1
    subscription.handler.received(view)
    if subscription.received >= subscription.maximum { remove(sid) }
  }

  /// Tells those concerned that the server refused a subject.
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
      // Who listens knows what it means, and says so once: a refused subject is refused with every
      // message.
      let isHeard = shared.announce(error.at(address.endpoint))
      logger.log(level: isHeard ? .debug : .warning, "\(error.at(address.endpoint))")
    case .close(let error): end(error?.at(address.endpoint))
    }
  }

  /// Answers the PINGs of one read; while the socket takes nothing they only count.
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
        try context.pipeline.syncOperations.addHandler(
          material.handler(for: address), position: .first)
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

  /// Nothing came in time.
  func connectTimedOut(_ timeout: Duration) {
    let stage =
      switch machine.state {
      case .awaitingInfo:
        encrypted
          ? "the TLS handshake was not finished, or no INFO came"
          : "no INFO came: is it a NATS server, and does it want TLS first (handshake_first)?"
      default: "CONNECT was not answered"
      }
    perform(machine.failed(NATSError(.timeout, "no connection within \(timeout): \(stage)")))
  }

  /// Closes after everything written so far is with the kernel, or after a second.
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

  /// - Parameter maximum: end after so many messages in all; nil: now.
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

  /// Asks the server to stop sending for every subscription except that of the requests.
  /// - Returns: false when the connection is draining already or has ended.
  func beginDrain() -> Bool {
    guard machine.drainRequested() else { return false }
    for sid in subscriptions.keys where sid != ConnectionShared.requestSid {
      send { $0.writeString("UNSUB \(sid)\r\n") }
    }
    return true
  }

  /// Everything that was under way has arrived.
  func endSubscriptions() {
    for sid in subscriptions.keys where sid != ConnectionShared.requestSid { remove(sid) }
  }

  // MARK: - Writing

  /// Leaves a line for the end of this tick.
  private func send(_ encode: (inout ByteBuffer) -> Void) {
    // Refused only after the end, when there is nobody to tell.
    guard (try? shared.outbox.append(bounded: false, encode)) == true else { return }
    scheduleDrain()
  }

  private func scheduleDrain() {
    guard let context else { return }
    let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
    context.eventLoop.execute { bound.value.drainOutbox() }
  }

  /// Writes and flushes what other threads have left, unless the socket takes no more.
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
    // Lines keep the order in which they were handed over.
    if let earlier = shared.outbox.take() { context.write(wrapOutboundOut(earlier), promise: nil) }
    context.write(wrapOutboundOut(bytes), promise: nil)
  }

  func flushWrites() { context?.flush() }
}
