import NIOCore
import NIOPosix
import Synchronization
import TestServers

/// A connection to a real server, in bytes.
final class RawClient: Sendable {
  private struct State {
    var reader = FrameReader()
    var frames: [Frame] = []
    var failure: (any Error)?
    var isClosed = false
  }

  private let channel: any Channel
  private let state: ConnectionState

  private final class ConnectionState: Sendable {
    let state = Mutex(State())
  }

  private init(_ channel: any Channel, _ state: ConnectionState) {
    self.channel = channel
    self.state = state
  }

  static func connect(port: Int) async throws -> RawClient {
    let state = ConnectionState()
    let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(Handler(state))
        }
      }.connect(host: "127.0.0.1", port: port).get()
    return RawClient(channel, state)
  }

  func send(_ text: String) async throws {
    try? await channel.writeAndFlush(ByteBuffer(string: text)).get()
  }

  /// The next frames: `count` of them, or what comes within five seconds. Then whatever else is there already.
  func hear(_ count: Int) async throws -> [Frame] {
    for _ in 0..<1000 {
      let isEnough = state.state.withLock { $0.frames.count >= count || $0.isClosed }
      if isEnough { break }
      try await Task.sleep(for: .milliseconds(5))
    }
    return try state.state.withLock { state in
      if let failure = state.failure { throw failure }
      defer { state.frames = [] }
      return state.frames
    }
  }

  /// Whether the server closes the connection within a second.
  func isClosed() async throws -> Bool {
    for _ in 0..<200 {
      if state.state.withLock({ $0.isClosed }) { return true }
      try await Task.sleep(for: .milliseconds(5))
    }
    return false
  }

  func close() async { try? await channel.close().get() }

  private final class Handler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let state: ConnectionState

    init(_ state: ConnectionState) { self.state = state }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      let bytes = unwrapInboundIn(data)
      state.state.withLock { state in
        state.reader.append(bytes.readableBytesView)
        do {
          state.frames += try state.reader.frames()
        } catch {
          state.failure = error
        }
      }
    }

    func channelInactive(context: ChannelHandlerContext) {
      state.state.withLock { $0.isClosed = true }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
      context.close(promise: nil)
    }
  }
}
