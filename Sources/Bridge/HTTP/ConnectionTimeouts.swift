import NIOCore
import NIOHTTP1

/// One HTTP connection's limits: in time, for a whole request, however slowly its bytes come, for
/// taking the answer, and between two requests; and in the kernel's memory, which counts as ours.
final class ConnectionTimeouts: ChannelDuplexHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias InboundOut = HTTPServerRequestPart
  typealias OutboundIn = HTTPServerResponsePart
  typealias OutboundOut = HTTPServerResponsePart

  /// From the connection to the end of its first request.
  static let request = TimeAmount.seconds(10)
  /// From a request's head until its answer is with the kernel.
  static let answer = TimeAmount.seconds(10)
  /// From a request's head on, where the answer has to be made first: longer than that takes.
  static let making = TimeAmount.seconds(30)
  /// From an answer to the end of the next request: longer than usual intervals of monitoring.
  static let idle = TimeAmount.seconds(75)

  /// Kernel buffers in each direction. By default they take megabytes for a client that reads nothing.
  static let socketBuffer = 64 << 10

  private let connections: OpenConnections
  private var timer: Scheduled<Void>?
  /// Requests whose answer is not with the kernel yet: more than one with pipelining.
  private var unanswered = 0
  /// What comes is ignored, and the connection closed once nothing is unanswered.
  private var isDraining = false

  private var isMaking = false

  /// An answer is being made, which takes its time.
  struct Making: Sendable {}

  /// The server ends.
  struct Drain: Sendable {}

  init(_ connections: OpenConnections) { self.connections = connections }

  func handlerAdded(context: ChannelHandlerContext) {
    connections.opened(context.channel)
    // Best effort.
    try? context.channel.syncOptions?.setOption(
      .socketOption(.so_sndbuf), value: numericCast(Self.socketBuffer))
    try? context.channel.syncOptions?.setOption(
      .socketOption(.so_rcvbuf), value: numericCast(Self.socketBuffer))
    close(context, in: Self.request)
  }

  func handlerRemoved(context: ChannelHandlerContext) {
    timer?.cancel()
    connections.closed(context.channel)
  }

  func channelInactive(context: ChannelHandlerContext) {
    timer?.cancel()
    connections.closed(context.channel)
    context.fireChannelInactive()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if event is Drain {
      isDraining = true
      if unanswered == 0 { context.close(promise: nil) }
    }
    context.fireUserInboundEventTriggered(event)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if isDraining { return }
    if case .head = unwrapInboundIn(data) {
      if unanswered == 0 { close(context, in: Self.answer) }
      unanswered += 1
    }
    context.fireChannelRead(data)
  }

  func triggerUserOutboundEvent(
    context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?
  ) {
    guard event is Making else {
      return context.triggerUserOutboundEvent(event, promise: promise)
    }
    isMaking = true
    close(context, in: Self.making)
    promise?.succeed()
  }

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    if isMaking, case .head = unwrapOutboundIn(data) {
      isMaking = false
      close(context, in: Self.answer)
    }
    guard case .end = unwrapOutboundIn(data) else {
      return context.write(data, promise: promise)
    }
    let written = promise ?? context.eventLoop.makePromise()
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    written.futureResult.whenSuccess {
      let (handler, context) = bound.value
      handler.connections.used(context.channel)
      handler.unanswered -= 1
      if handler.isDraining, handler.unanswered <= 0 { return context.close(promise: nil) }
      handler.close(context, in: handler.unanswered > 0 ? Self.answer : Self.idle)
    }
    context.write(data, promise: written)
  }

  private func close(_ context: ChannelHandlerContext, in time: TimeAmount) {
    timer?.cancel()
    let channel = context.channel
    timer = context.eventLoop.scheduleTask(in: time) { channel.close(promise: nil) }
  }
}
