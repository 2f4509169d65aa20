import Foundation
import NATS
import NIOCore
import NIOPosix
import Synchronization
import TestServers
import Testing

@Suite("Faults", .timeLimit(.minutes(5)))
struct FaultTests {
  @Test(
    "a killed server ends all pending operations, with the reason",
    arguments: ServerBinary.available
  )
  func serverKilled(version: String) async throws {
    try await TestServer.with(version) { server in
      let connection = try await server.connect()
      let subscription = try await connection.subscribe("silent")
      let request = Task {
        await failure { try await connection.request("silent", timeout: .seconds(600)) }
      }
      _ = try await within { try await subscription.next() }
      let reader = Task { await failure { try await subscription.next() } }
      server.signal(SIGKILL)
      let reason = try await within { try await connection.closed.get() }
      #expect(reason?.code == .connectionLost)
      #expect(reason?.server == server.address)
      #expect(try await within { await request.value }?.code == .closed)
      #expect(try await within { await reader.value }?.code == .connectionLost)
      #expect(await failure { try await connection.publish("a") }?.code == .closed)
      #expect(await failure { try await connection.flush() }?.code == .closed)
      #expect(await failure { try await connection.drain() } == nil)
      // The fast path ignores it.
      try await connection.eventLoop.submit {
        connection.writeRaw(ByteBuffer(string: "PING\r\n"))
        connection.flushWrites()
      }.get()
    }
  }

  @Test("a hanging server is detected by missing PONGs", arguments: ServerBinary.available)
  func stale(version: String) async throws {
    try await TestServer.with(version) { server in
      let connection = try await server.connect(
        NATSOptions(pingInterval: .seconds(2), maxPingsOutstanding: 2))
      // One answered ping first: with other tests running, a slow server isn't hanging yet.
      try await connection.flush()
      server.signal(SIGSTOP)
      let reason = try await within { try await connection.closed.get() }
      #expect(reason?.code == .stale)
    }
  }

  @Test("lame duck is reported before the server stops", arguments: ServerBinary.available)
  func lameDuck(version: String) async throws {
    let configuration = "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"20s\""
    try await TestServer.with(version, configuration: configuration) { server in
      let connection = try await server.connect()
      #expect(!connection.info.lameDuck)
      let announced = connection.eventLoop.makePromise(of: Void.self)
      connection.onLameDuck { announced.succeed() }
      try await connection.flush()
      server.signal(SIGUSR2)
      try await within { try await announced.futureResult.get() }
      #expect(connection.info.lameDuck)
      // It still works meanwhile.
      try await connection.flush()
      let late = connection.eventLoop.makePromise(of: Void.self)
      connection.onLameDuck { late.succeed() }
      try await within { try await late.futureResult.get() }
      await connection.close()
    }
  }

  @Test("all servers are tried, and all reasons are reported", .newestServer)
  func failOver() async throws {
    try await TestServer.with(ServerBinary.newest) { server in
      let dead = try await closedPort()
      let servers = try [
        NATSServerAddress(url: "127.0.0.1:\(dead)"), NATSServerAddress(url: server.address),
      ]
      for _ in 0..<4 {
        let connection = try await NATSConnection.connect(to: servers, logger: quiet)
        #expect(connection.server.port == server.port)
        #expect(connection.knownServers.map(\.endpoint).starts(with: servers.map(\.endpoint)))
        await connection.close()
      }
      let none = await failure {
        try await NATSConnection.connect(
          to: [servers[0], NATSServerAddress(url: "nats://u:s3cret@127.0.0.1:\(dead)")],
          options: NATSOptions(shuffle: false), logger: quiet)
      }
      #expect(none?.code == .connectFailed)
      #expect(none?.message.contains("none of 2 servers") == true)
      #expect(none?.description.contains("s3cret") == false)
      let one = await failure {
        try await NATSConnection.connect(to: [servers[0]], logger: quiet)
      }
      #expect(one?.code == .connectFailed)
      #expect(one?.server == "127.0.0.1:\(dead)")
      #expect(await failure { try await NATSConnection.connect(to: [], logger: quiet) } != nil)
    }
  }

  @Test("servers of a cluster are discovered", .newestServer)
  func cluster() async throws {
    try await TestServer.with(
      ServerBinary.newest, configuration: "cluster { name: c, listen: \"127.0.0.1:-1\" }"
    ) { first in
      let connection = try await first.connect()
      let grown = connection.eventLoop.makePromise(of: Void.self)
      let ports = try JSONSerialization.jsonObject(
        with: Data(
          contentsOf: first.folder.appendingPathComponent("nats-server_\(first.pid).ports")))
      let route = try #require(((ports as? [String: Any])?["cluster"] as? [String])?.first)
      connection.onInfoUpdate { info in
        if info.connectURLs.count > 1 { grown.succeed() }
      }
      try await TestServer.with(
        ServerBinary.newest,
        configuration: "cluster { name: c, listen: \"127.0.0.1:-1\", routes: [\"\(route)\"] }"
      ) { second in
        try await within { try await grown.futureResult.get() }
        #expect(connection.knownServers.contains { $0.endpoint == second.address })
        #expect(connection.info.cluster == "c")
      }
      await connection.close()
    }
  }

  @Test("a peer that is silent or speaks another protocol is not a server")
  func strangers() async throws {
    let silent = try await Stranger.start("")
    let timeout = await failure {
      try await NATSConnection.connect(
        to: [NATSServerAddress(url: silent.address)],
        options: NATSOptions(connectTimeout: .milliseconds(200)), logger: quiet)
    }
    #expect(timeout?.code == .timeout)
    #expect(timeout?.message.contains("INFO") == true)
    try await silent.stop()
    for greeting in [
      "HTTP/1.1 400 Bad Request\r\n\r\n", "INFO {]\r\n", "PING\r\n", "INFO {}\r\nMSG a 1 0\r\n\r\n",
    ] {
      let stranger = try await Stranger.start(greeting)
      let error = await failure {
        try await NATSConnection.connect(
          to: [NATSServerAddress(url: stranger.address)], logger: quiet)
      }
      #expect(error?.code == .protocolViolation, "\(greeting)")
      try await stranger.stop()
    }
    let mute = try await Stranger.start("INFO {}\r\n")
    let unanswered = await failure {
      try await NATSConnection.connect(
        to: [NATSServerAddress(url: mute.address)],
        options: NATSOptions(connectTimeout: .milliseconds(200)), logger: quiet)
    }
    #expect(unanswered?.code == .timeout)
    try await mute.stop()
    let hasty = try await Stranger.start("INFO {\"tls_required\":true}\r\nPING\r\n")
    let injected = await failure {
      try await NATSConnection.connect(to: [NATSServerAddress(url: hasty.address)], logger: quiet)
    }
    #expect(injected?.code == .protocolViolation)
    try await hasty.stop()
  }

  @Test("silent servers, announced or configured, don't delay one that answers", .newestServer)
  func silentServers() async throws {
    let first = try await Stranger.start("")
    let second = try await Stranger.start("INFO {}\r\n")
    let silent = try [
      NATSServerAddress(url: first.address), NATSServerAddress(url: second.address),
    ]
    // None of these attempts ends during the test.
    let patient = NATSOptions(connectTimeout: .seconds(600), shuffle: false)
    try await TestServer.with(ServerBinary.newest) { server in
      let good = try NATSServerAddress(url: server.address)
      for (configured, announced) in [
        ([good], silent), (silent, [good]), (silent + [good], []),
        ([silent[0]], [silent[1], good]),
      ] {
        let connection = try await within {
          try await NATSConnection.connect(
            to: configured, discovered: announced, options: patient, logger: quiet)
        }
        #expect(connection.server.port == server.port)
        try await connection.flush()
        await connection.close()
      }
      var alone = NATSOptions(connectTimeout: .milliseconds(300))
      alone.ignoreDiscoveredServers = true
      let ignored = await failure {
        try await NATSConnection.connect(
          to: silent, discovered: [good], options: alone, logger: quiet)
      }
      #expect(ignored?.code == .timeout && ignored?.message.contains("2 servers") == true)
    }
    try await first.stop()
    try await second.stop()
  }

  @Test("a flood of PINGs is answered by a few PONGs")
  func pingFlood() async throws {
    let flooder = try await Stranger.start("INFO {}\r\n", flood: .once(1_000_000))
    let connection = try await NATSConnection.connect(
      to: [NATSServerAddress(url: flooder.address)], logger: quiet)
    // Our own PING follows the answers.
    try await within { try await connection.flush(timeout: .seconds(30)) }
    let pongs = flooder.received / 6
    #expect(pongs > 0 && pongs < 100_000)
    await connection.close()
    try await flooder.stop()
  }

  @Test("a server that sends PINGs without reading is disconnected")
  func deafPingFlood() async throws {
    let flooder = try await Stranger.start("INFO {}\r\n", flood: .endless)
    let connection = try await NATSConnection.connect(
      to: [NATSServerAddress(url: flooder.address)], logger: quiet)
    try await connection.eventLoop.submit {
      connection.writeRaw(ByteBuffer(repeating: UInt8(ascii: "\n"), count: 64 << 20))
      connection.flushWrites()
    }.get()
    let reason = try await within { try await connection.closed.get() }
    #expect(reason?.code == .protocolViolation, "\(reason.map { "\($0)" } ?? "closed by us")")
    try await flooder.stop()
  }

  @Test("cancelling a connection attempt ends it")
  func cancelledConnect() async throws {
    let silent = try await Stranger.start("")
    let address = silent.address
    let attempt = Task {
      await failure {
        try await NATSConnection.connect(
          to: [NATSServerAddress(url: address)],
          options: NATSOptions(connectTimeout: .seconds(600)), logger: quiet)
      }
    }
    try await within { try await silent.accepted.get() }
    attempt.cancel()
    #expect(try await within { await attempt.value }?.code == .cancelled)
    try await silent.stop()
  }

  @Test("a released connection closes", .newestServer)
  func dropped() async throws {
    try await TestServer.with(ServerBinary.newest) { server in
      let closed: EventLoopFuture<NATSError?>
      do {
        let connection = try await server.connect()
        closed = connection.closed
        _ = try await connection.subscribe("a")
      }
      let reason = try await within { try await closed.get() }
      #expect(reason == nil)
    }
  }

  /// An unused port.
  private func closedPort() async throws -> Int {
    let stranger = try await Stranger.start("")
    try await stranger.stop()
    return stranger.port
  }
}

/// Listens, sends a greeting, and then nothing, or repeated PINGs.
private struct Stranger {
  enum Flood: Sendable {
    case none
    /// Answers the first PING, sends this many at once, and only then continues to read.
    case once(Int)
    /// Answers the first PING, then sends PINGs endlessly without reading.
    case endless
  }

  let channel: any Channel
  let port: Int
  private let promise: EventLoopPromise<Void>
  private let counter: Counter
  var accepted: EventLoopFuture<Void> { promise.futureResult }
  /// Bytes received after the first PING.
  var received: Int { counter.bytes.load(ordering: .relaxed) }
  var address: String { "127.0.0.1:\(port)" }

  final class Counter: Sendable { let bytes = Atomic<Int>(0) }

  static func start(_ greeting: String, flood: Flood = .none) async throws -> Stranger {
    let loop = MultiThreadedEventLoopGroup.singleton.next()
    let accepted = loop.makePromise(of: Void.self)
    let counter = Counter()
    let channel = try await ServerBootstrap(group: loop)
      .childChannelInitializer { child in
        child.eventLoop.makeCompletedFuture {
          try child.pipeline.syncOperations.addHandler(
            Greeter(greeting: greeting, accepted: accepted, flood: flood, counter: counter))
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    let port = try #require(channel.localAddress?.port)
    return Stranger(channel: channel, port: port, promise: accepted, counter: counter)
  }

  func stop() async throws {
    promise.succeed()
    try await channel.close()
  }
}

private final class Greeter: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer
  private let greeting: String
  private let accepted: EventLoopPromise<Void>
  private let flood: Stranger.Flood
  private let counter: Stranger.Counter
  private var floods = false

  init(
    greeting: String, accepted: EventLoopPromise<Void>, flood: Stranger.Flood,
    counter: Stranger.Counter
  ) {
    self.greeting = greeting
    self.accepted = accepted
    self.flood = flood
    self.counter = counter
  }

  func channelActive(context: ChannelHandlerContext) {
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: greeting)), promise: nil)
    accepted.succeed()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    let text = String(buffer: unwrapInboundIn(data))
    let channel = context.channel
    if floods {
      counter.bytes.add(text.utf8.count, ordering: .relaxed)
      if text.contains("PING") {
        channel.writeAndFlush(ByteBuffer(string: "PONG\r\n"), promise: nil)
      }
      return
    }
    guard text.contains("PING") else { return }
    switch flood {
    case .none: return
    case .once(let count):
      _ = channel.setOption(.autoRead, value: false)
      channel.writeAndFlush(ByteBuffer(string: "PONG\r\n"), promise: nil)
      channel.writeAndFlush(Self.pings(count)).whenComplete { _ in
        _ = channel.setOption(.autoRead, value: true)
      }
    case .endless:
      _ = channel.setOption(.autoRead, value: false)
      channel.writeAndFlush(ByteBuffer(string: "PONG\r\n"), promise: nil)
      Self.floodOn(channel)
    }
    floods = true
  }

  private static func pings(_ count: Int) -> ByteBuffer {
    ByteBuffer(string: String(repeating: "PING\r\n", count: count))
  }

  private static func floodOn(_ channel: any Channel) {
    channel.writeAndFlush(pings(100_000)).whenSuccess { floodOn(channel) }
  }
}
