package import NIOCore
import NIOPosix

/// How a connection's bytes travel. TCP, except where a test puts something else below the protocol.
package struct NATSTransport: Sendable {
  /// Prepares a channel before it is connected: adds its handlers.
  package typealias Prepare = @Sendable (any Channel) -> EventLoopFuture<Void>

  /// Opens a channel to `host` and `port` on the event loop, prepared; fails after `timeout`.
  package let open:
    @Sendable (
      _ host: String, _ port: Int, _ timeout: TimeAmount, _ eventLoop: any EventLoop,
      _ prepare: @escaping Prepare
    ) -> EventLoopFuture<any Channel>

  /// Where random numbers come from: of the order in which servers are tried.
  package let random: @Sendable () -> UInt64

  /// - Parameter random: nil: the system's.
  package init(
    random: (@Sendable () -> UInt64)? = nil,
    open:
      @escaping @Sendable (
        _ host: String, _ port: Int, _ timeout: TimeAmount, _ eventLoop: any EventLoop,
        _ prepare: @escaping Prepare
      ) -> EventLoopFuture<any Channel>
  ) {
    self.open = open
    self.random =
      random ?? {
        var system = SystemRandomNumberGenerator()
        return system.next()
      }
  }

  package static let tcp = NATSTransport { host, port, timeout, eventLoop, prepare in
    ClientBootstrap(group: eventLoop)
      .connectTimeout(timeout)
      .channelOption(.socketOption(.so_keepalive), value: 1)
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelOption(.maxMessagesPerRead, value: 16)
      .channelOption(.writeBufferWaterMark, value: .init(low: 128 << 10, high: 512 << 10))
      .channelInitializer(prepare)
      .connect(host: host, port: port)
  }
}

/// A transport's random numbers.
struct TransportRandom: RandomNumberGenerator {
  let transport: NATSTransport
  mutating func next() -> UInt64 { transport.random() }
}
