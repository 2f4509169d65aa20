import NIOCore

/// One end of a simulated TCP connection: what is flushed goes to `onFlush`, what arrives is handed to `receive`.
///
/// Sendable invariant: the simulator has one thread.
final class SimulatedChannel: Channel, ChannelCore, @unchecked Sendable {
  private(set) var isOpen = true
  private(set) var isActive = false
  /// False while more than the socket takes waits to be sent.
  private(set) var isWritable = true
  private var pending: [(ByteBuffer, EventLoopPromise<Void>?)] = []
  private let closed: EventLoopPromise<Void>
  private var ownPipeline: ChannelPipeline?
  let eventLoop: any EventLoop
  let allocator = ByteBufferAllocator()

  /// Bytes on their way.
  var onFlush: (ByteBuffer) -> Void = { _ in }
  /// This end closes.
  var onClose: () -> Void = {}

  init(on eventLoop: any EventLoop) {
    self.eventLoop = eventLoop
    closed = eventLoop.makePromise()
    ownPipeline = ChannelPipeline(channel: self)
  }

  // MARK: - The world's side

  func activate() {
    isActive = true
    pipeline.syncOperations.fireChannelRegistered()
    pipeline.syncOperations.fireChannelActive()
  }

  func receive(_ bytes: ByteBuffer) {
    guard isOpen else { return }
    pipeline.syncOperations.fireChannelRead(NIOAny(bytes))
    pipeline.syncOperations.fireChannelReadComplete()
  }

  /// The other end, or the network, has ended the connection.
  func lose() { close0(error: ChannelError.eof, mode: .all, promise: nil) }

  func setWritable(_ writable: Bool) {
    guard isOpen, writable != isWritable else { return }
    isWritable = writable
    pipeline.syncOperations.fireChannelWritabilityChanged()
  }

  // MARK: - Channel

  var pipeline: ChannelPipeline {
    guard let ownPipeline else { preconditionFailure("the pipeline is made in init") }
    return ownPipeline
  }
  var closeFuture: EventLoopFuture<Void> { closed.futureResult }
  var localAddress: SocketAddress? { nil }
  var remoteAddress: SocketAddress? { nil }
  var parent: (any Channel)? { nil }
  var _channelCore: any ChannelCore { self }

  func setOption<Option: ChannelOption>(_ option: Option, value: Option.Value) -> EventLoopFuture<
    Void
  > { eventLoop.makeSucceededVoidFuture() }

  func getOption<Option: ChannelOption>(_ option: Option) -> EventLoopFuture<Option.Value> {
    eventLoop.makeFailedFuture(ChannelError.operationUnsupported)
  }

  // MARK: - ChannelCore

  func localAddress0() throws -> SocketAddress { throw ChannelError.operationUnsupported }
  func remoteAddress0() throws -> SocketAddress { throw ChannelError.operationUnsupported }
  func register0(promise: EventLoopPromise<Void>?) { promise?.succeed() }
  func bind0(to: SocketAddress, promise: EventLoopPromise<Void>?) {
    promise?.fail(ChannelError.operationUnsupported)
  }
  func connect0(to: SocketAddress, promise: EventLoopPromise<Void>?) {
    promise?.fail(ChannelError.operationUnsupported)
  }

  func write0(_ data: NIOAny, promise: EventLoopPromise<Void>?) {
    guard isOpen else { return promise?.fail(ChannelError.ioOnClosedChannel) ?? () }
    pending.append((unwrapData(data, as: ByteBuffer.self), promise))
  }

  func flush0() {
    let flushed = pending
    pending.removeAll(keepingCapacity: true)
    for (bytes, promise) in flushed {
      if bytes.readableBytes > 0 { onFlush(bytes) }
      promise?.succeed()
    }
  }

  func read0() {}

  func close0(error: any Error, mode: CloseMode, promise: EventLoopPromise<Void>?) {
    guard isOpen else { return promise?.fail(ChannelError.alreadyClosed) ?? () }
    isOpen = false
    isActive = false
    for (_, waiting) in pending { waiting?.fail(ChannelError.ioOnClosedChannel) }
    pending = []
    onClose()
    promise?.succeed()
    pipeline.syncOperations.fireChannelInactive()
    pipeline.syncOperations.fireChannelUnregistered()
    eventLoop.execute {
      self.removeHandlers(pipeline: self.pipeline)
      self.closed.succeed()
    }
  }

  func triggerUserOutboundEvent0(_ event: Any, promise: EventLoopPromise<Void>?) {
    promise?.fail(ChannelError.operationUnsupported)
  }

  func channelRead0(_ data: NIOAny) {}
  func errorCaught0(error: any Error) {}
}
