import Foundation
import NATS
import NIOCore
import NIOPosix
import SimulatedJetStream
import SimulatedNATS
import TestServers

/// A simulated server behind a real port, in real time.
///
/// Sendable invariant: what is below `loop` is touched on it only.
final class LoopbackServer: @unchecked Sendable {
  private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  private let loop: any EventLoop
  private let simulated: SimulatedNATSServer
  private var channels: [Int: any Channel] = [:]
  private var listener: (any Channel)?

  private init(_ version: ServerVersion) {
    loop = group.next()
    simulated = SimulatedNATSServer(SimulatedServer(version, now: Self.now))
  }

  private static var now: Int64 { Int64(Date().timeIntervalSince1970 * 1_000_000) * 1000 }

  /// Listens until `body` is over.
  static func with(
    _ version: String, _ body: (LoopbackServer) async throws -> Void
  ) async throws {
    guard let version = ServerVersion(version) else { throw TestFailure("no version: \(version)") }
    let server = LoopbackServer(version)
    let bootstrap = ServerBootstrap(group: server.group)
      .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(Handler(server))
        }
      }
    server.listener = try await bootstrap.bind(host: "127.0.0.1", port: 0).get()
    let clock = server.loop.scheduleRepeatedTask(
      initialDelay: .milliseconds(5), delay: .milliseconds(5)
    ) { _ in server.advance() }
    do {
      try await body(server)
    } catch {
      clock.cancel()
      try await server.stop()
      throw error
    }
    clock.cancel()
    try await server.stop()
  }

  private func stop() async throws {
    try await listener?.close()
    try await group.shutdownGracefully()
  }

  var port: Int { listener?.localAddress?.port ?? 0 }

  func connect(_ options: NATSOptions = NATSOptions()) async throws -> NATSConnection {
    try await NATSConnection.connect(
      to: [NATSServerAddress(url: "nats://127.0.0.1:\(port)")], options: options, logger: quiet)
  }

  /// Changes the server; what it says then goes out.
  func change<T: Sendable>(_ body: @escaping @Sendable (SimulatedNATSServer) -> T) async throws -> T
  {
    try await loop.submit {
      let result = body(self.simulated)
      self.flush()
      return result
    }.get()
  }

  private func advance() {
    simulated.jetStream.advance(to: Self.now)
    simulated.advance()
    flush()
  }

  private func flush() {
    simulated.drain { number, bytes in
      channels[number]?.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
    }
    for number in simulated.takeClosed() { channels[number]?.close(promise: nil) }
  }

  private final class Handler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let server: LoopbackServer
    private var number = 0

    init(_ server: LoopbackServer) { self.server = server }

    func channelActive(context: ChannelHandlerContext) {
      number = server.simulated.accept()
      server.channels[number] = context.channel
      server.flush()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      server.simulated.jetStream.advance(to: LoopbackServer.now)
      unwrapInboundIn(data).withUnsafeReadableBytes {
        server.simulated.receive($0, on: number)
      }
      server.flush()
    }

    func channelInactive(context: ChannelHandlerContext) {
      server.simulated.disconnect(number)
      server.channels[number] = nil
    }
  }
}
