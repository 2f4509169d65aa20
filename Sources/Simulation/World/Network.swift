import NATS
import NIOCore
import SimulatedJetStream
import SimulatedNATS

/// Connections between bridges and NATS servers: what is sent arrives later, in order, or never.
///
/// Sendable invariant: the simulator has one thread.
final class Network: @unchecked Sendable {
  let nats: SimulatedNATSServer
  private unowned let world: World
  private var chance: Chance
  private var links: [Int: Link] = [:]
  /// Connections that are being opened, by number.
  private var opening: [Int: (process: SimulatedProcess, promise: EventLoopPromise<any Channel>)] =
    [:]
  private var openings = 0
  /// Of each server.
  private(set) var isUp: [Bool]
  /// Servers that can't be reached: packets vanish.
  var isUnreachable: [Bool]
  /// Besides the usual delay.
  var extraDelay: Int64 = 0
  /// JetStream has no leaders: what is for it is not answered.
  private var commitIsScheduled = false
  /// Called before proposals are committed, until true is returned.
  var atCommit: [() -> Bool] = []

  /// One connection.
  final class Link: @unchecked Sendable {
    let number: Int
    let node: Int
    let process: SimulatedProcess
    let channel: SimulatedChannel
    /// Packets vanish in both directions, and nobody is told.
    var isCut = false
    /// When the newest packet of each direction arrives.
    var toServer: Int64 = 0
    var toClient: Int64 = 0
    var bytesInFlight = 0

    init(_ number: Int, node: Int, _ process: SimulatedProcess, _ channel: SimulatedChannel) {
      self.number = number
      self.node = node
      self.process = process
      self.channel = channel
    }
  }

  init(_ world: World) {
    self.world = world
    nats = SimulatedNATSServer(
      world.jetStream,
      nodes: (0..<world.scenario.nodes).map { .init("n\($0)", address: "n\($0):4222") })
    chance = Chance(world.scenario.seed, 3)
    isUp = [Bool](repeating: true, count: world.scenario.nodes)
    isUnreachable = isUp.map { _ in false }
  }

  var openLinks: [Link] { links.values.sorted { $0.number < $1.number } }

  private func delay() -> Int64 { chance.skewed(50 * Nano.micro, 3 * Nano.milli) + extraDelay }

  // MARK: - Connecting

  /// How the processes' connections travel.
  func transport(of process: SimulatedProcess) -> NATSTransport {
    let random: @Sendable () -> UInt64 = { [self] in chance.next() }
    return NATSTransport(random: random) { [self] host, _, timeout, eventLoop, prepare in
      let promise = eventLoop.makePromise(of: (any Channel).self)
      open(host, process, eventLoop, timeout, prepare, promise)
      return promise.futureResult
    }
  }

  private func open(
    _ host: String, _ process: SimulatedProcess, _ eventLoop: any EventLoop, _ timeout: TimeAmount,
    _ prepare: NATSTransport.Prepare, _ promise: EventLoopPromise<any Channel>
  ) {
    guard !process.isGhost, let node = Int(host.dropFirst()), isUp.indices.contains(node) else {
      return promise.fail(ChannelError.connectTimeout(timeout))
    }
    openings += 1
    let number = openings
    opening[number] = (process, promise)
    guard !isUnreachable[node] else {
      process.eventLoop.later(in: timeout.nanoseconds) { [self] in
        guard opening.removeValue(forKey: number) != nil else { return }
        promise.fail(ChannelError.connectTimeout(timeout))
      }
      return
    }
    let channel = SimulatedChannel(on: eventLoop)
    let prepared = prepare(channel)
    connect(number, node, process, channel, prepared, promise)
  }

  private func connect(
    _ number: Int, _ node: Int, _ process: SimulatedProcess, _ channel: SimulatedChannel,
    _ prepared: EventLoopFuture<Void>, _ promise: EventLoopPromise<any Channel>
  ) {
    world.schedule(in: delay()) { [self] in
      if process.isPaused {
        return connect(number, node, process, channel, prepared, promise)
      }
      guard opening.removeValue(forKey: number) != nil else { return }
      act(for: process) {
        guard isUp[node] else { return promise.fail(IOError(errnoCode: 111, reason: "connect")) }
        prepared.whenComplete { result in
          if case .failure(let error) = result { return promise.fail(error) }
          // The attempt was cancelled.
          guard channel.isOpen else { return promise.fail(ChannelError.ioOnClosedChannel) }
          self.establish(node, process, channel)
          promise.succeed(channel)
          self.deliver()
        }
      }
    }
  }

  private func establish(_ node: Int, _ process: SimulatedProcess, _ channel: SimulatedChannel) {
    let link = Link(nats.accept(node: node), node: node, process, channel)
    links[link.number] = link
    channel.onFlush = { [unowned self, unowned link] in send($0, link) }
    channel.onClose = { [unowned self, unowned link] in clientCloses(link) }
    world.history.note(world.now, 10, UInt64(link.number))
    world.history.note(world.now, "connection \(link.number) of \(process.name) to n\(node)")
    channel.activate()
  }

  /// On behalf of a process that lives.
  private func act(for process: SimulatedProcess, _ body: () -> Void) {
    guard !process.isGhost else { return }
    process.enter(at: world.now, body)
  }

  // MARK: - Packets

  private func send(_ bytes: ByteBuffer, _ link: Link) {
    guard !link.process.isGhost, links[link.number] != nil else { return }
    link.bytesInFlight += bytes.readableBytes
    if link.bytesInFlight > world.scenario.highWater { link.channel.setWritable(false) }
    guard !link.isCut else { return }
    link.toServer = max(link.toServer, world.now + delay())
    world.schedule(in: link.toServer - world.now) { [self] in
      guard links[link.number] != nil, !link.isCut else { return }
      if History.tellsAll { print(String(buffer: bytes)) }
      bytes.withUnsafeReadableBytes { nats.receive($0, on: link.number) }
      world.history.note(world.now, 11, UInt64(link.number), UInt64(bytes.readableBytes))
      arrived(bytes.readableBytes, link)
      handled()
    }
  }

  private func arrived(_ count: Int, _ link: Link) {
    link.bytesInFlight -= count
    guard link.bytesInFlight < world.scenario.highWater / 4, !link.channel.isWritable else {
      return
    }
    resume(link)
  }

  private func resume(_ link: Link) {
    if link.process.isPaused {
      return world.schedule(in: 10 * Nano.milli) { [self] in resume(link) }
    }
    act(for: link.process) { link.channel.setWritable(true) }
  }

  /// JetStream has got something: what it proposes to its replicas is committed a little later.
  func handled() {
    deliver()
    world.onStored()
    guard !commitIsScheduled, world.jetStream.streams.values.contains(where: \.hasProposals) else {
      return
    }
    commitIsScheduled = true
    world.schedule(in: chance.skewed(100 * Nano.micro, 4 * Nano.milli)) { [self] in
      commitIsScheduled = false
      atCommit.removeAll { $0() }
      for name in world.jetStream.streams.keys.sorted() {
        world.jetStream.streams[name]?.commit()
      }
      nats.advance()
      handled()
    }
  }

  /// What the servers have to say goes on its way.
  func deliver() {
    nats.drain { number, bytes in
      guard let link = links[number], !link.isCut else { return }
      let buffer = ByteBuffer(bytes: bytes)
      link.toClient = max(link.toClient, world.now + delay())
      world.schedule(in: link.toClient - world.now) { [self] in receive(buffer, link) }
    }
    for number in nats.takeClosed() {
      guard let link = links[number] else { continue }
      nats.disconnect(number)
      link.toClient = max(link.toClient, world.now + delay())
      world.schedule(in: link.toClient - world.now) { [self] in lose(link) }
    }
  }

  private func receive(_ bytes: ByteBuffer, _ link: Link) {
    guard links[link.number] != nil, !link.isCut, !link.process.isGhost else { return }
    if link.process.isPaused {
      // It stays in the socket.
      return world.schedule(in: 5 * Nano.milli) { [self] in receive(bytes, link) }
    }
    world.history.note(world.now, 12, UInt64(link.number), UInt64(bytes.readableBytes))
    act(for: link.process) { link.channel.receive(bytes) }
  }

  // MARK: - Ends

  private func clientCloses(_ link: Link) {
    guard links.removeValue(forKey: link.number) != nil else { return }
    guard !link.process.isGhost, !link.isCut else {
      // The server finds out by itself.
      return world.schedule(in: 2 * Nano.minute) { [self] in nats.disconnect(link.number) }
    }
    let arrival = max(link.toServer, world.now + delay())
    world.schedule(in: arrival - world.now) { [self] in
      nats.disconnect(link.number)
      deliver()
    }
  }

  /// The client learns that the connection has ended.
  private func lose(_ link: Link) {
    guard links[link.number] != nil, !link.process.isGhost else { return }
    if link.process.isPaused {
      return world.schedule(in: 5 * Nano.milli) { [self] in lose(link) }
    }
    links[link.number] = nil
    act(for: link.process) { link.channel.lose() }
  }

  /// A connection breaks, and both ends are told. What is on its way is lost.
  func cut(_ link: Link) {
    nats.disconnect(link.number)
    lose(link)
  }

  /// Packets vanish from now on.
  func blackHole(_ link: Link) { link.isCut = true }

  /// A process is gone: its sockets close, what it sent still arrives.
  func abandon(_ process: SimulatedProcess, keepingSent: Bool) {
    for link in openLinks where link.process === process {
      let arrival = keepingSent ? link.toServer : world.now
      world.schedule(in: arrival - world.now) { [self] in
        links[link.number] = nil
        nats.disconnect(link.number)
        handled()
      }
    }
  }

  /// Of a process that is no more, on its behalf: its ends close.
  func close(_ process: SimulatedProcess) {
    for (number, open) in opening.sorted(by: { $0.key < $1.key }) where open.process === process {
      opening[number] = nil
      open.promise.fail(ChannelError.eof)
    }
    for link in openLinks where link.process === process { link.channel.lose() }
  }

  /// Servers stop: their connections end.
  func stop(_ node: Int) {
    isUp[node] = false
    for link in openLinks where link.node == node { cut(link) }
  }

  func start(_ node: Int) { isUp[node] = true }
}
