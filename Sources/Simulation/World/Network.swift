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
  private var opening: [Int: Opening] = [:]
  private var openings = 0
  /// Of each server.
  private(set) var isUp: [Bool]
  /// Servers that can't be reached: packets vanish.
  var isUnreachable: [Bool]
  /// Besides the usual delay.
  var extraDelay: Int64 = 0
  /// JetStream has no leaders: what is for it is not answered.
  private var commitIsScheduled = false
  /// Streams whose replicas confirm nothing: by how many faults.
  private var slowStreams: [String: Int] = [:]
  /// Called before proposals are committed, until true is returned.
  var atCommit: [() -> Bool] = []

  /// Called when a server has taken a packet, until true is returned.
  var atTaken: [(Link, ByteBuffer) -> Bool] = []

  private struct Opening {
    var process: SimulatedProcess
    var uplink: Uplink
    var promise: EventLoopPromise<any Channel>
  }

  /// One connection.
  final class Link: @unchecked Sendable {
    let number: Int
    let node: Int
    let process: SimulatedProcess
    let uplink: Uplink
    let channel: SimulatedChannel
    var toServer = Way()
    var toClient = Way()
    /// Of each end: it takes the connection for open.
    var isOpenAtServer = true
    var isOpenAtClient = true
    var bytesInFlight = 0
    /// Some of what was sent to the server has waited for a fault's end.
    var wasHeld = false

    init(
      _ number: Int, node: Int, _ process: SimulatedProcess, _ uplink: Uplink,
      _ channel: SimulatedChannel
    ) {
      self.number = number
      self.node = node
      self.process = process
      self.uplink = uplink
      self.channel = channel
    }

    func holds(_ direction: Uplink.Direction) -> Bool {
      let way = direction == .toServer ? toServer : toClient
      return way.holds > 0 || uplink.holds(direction, node)
    }
  }

  /// One direction of a connection.
  struct Way {
    enum Packet {
      case bytes(ByteBuffer, origin: Int)
      /// The sender has closed.
      case end
    }

    /// Packets vanish, and nobody is told.
    var isCut = false
    /// How many faults hold its packets back.
    var holds = 0
    /// When the newest packet arrives.
    var arrival: Int64 = 0
    /// Packets that came and were not taken yet, in order.
    var arrived = CircularBuffer<Packet>()
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

  /// Connections that the client takes for open.
  var openLinks: [Link] { allLinks.filter(\.isOpenAtClient) }
  private var allLinks: [Link] { links.values.sorted { $0.number < $1.number } }

  private func delay() -> Int64 { chance.skewed(50 * Nano.micro, 3 * Nano.milli) + extraDelay }

  // MARK: - Connecting

  /// How the processes' connections travel.
  func transport(of process: SimulatedProcess, _ uplink: Uplink) -> NATSTransport {
    let random: @Sendable () -> UInt64 = { [self] in chance.next() }
    return NATSTransport(random: random) { [self] host, _, timeout, eventLoop, prepare in
      let promise = eventLoop.makePromise(of: (any Channel).self)
      open(host, process, uplink, eventLoop, timeout, prepare, promise)
      return promise.futureResult
    }
  }

  private func open(
    _ host: String, _ process: SimulatedProcess, _ uplink: Uplink, _ eventLoop: any EventLoop,
    _ timeout: TimeAmount, _ prepare: NATSTransport.Prepare,
    _ promise: EventLoopPromise<any Channel>
  ) {
    guard !process.isGhost, let node = Int(host.dropFirst()), isUp.indices.contains(node) else {
      return promise.fail(ChannelError.connectTimeout(timeout))
    }
    openings += 1
    let number = openings
    opening[number] = Opening(process: process, uplink: uplink, promise: promise)
    guard !isUnreachable[node], uplink.canConnect(to: node) else {
      process.eventLoop.later(in: timeout.nanoseconds) { [self] in
        guard opening.removeValue(forKey: number) != nil else { return }
        promise.fail(ChannelError.connectTimeout(timeout))
      }
      return
    }
    let channel = SimulatedChannel(on: eventLoop)
    let prepared = prepare(channel)
    connect(number, node, channel, prepared)
  }

  private func connect(
    _ number: Int, _ node: Int, _ channel: SimulatedChannel, _ prepared: EventLoopFuture<Void>
  ) {
    world.schedule(in: delay()) { [self] in
      guard let open = opening[number] else { return }
      let (process, promise) = (open.process, open.promise)
      if process.isPaused { return connect(number, node, channel, prepared) }
      opening[number] = nil
      act(for: process) {
        guard isUp[node] else { return promise.fail(IOError(errnoCode: 111, reason: "connect")) }
        prepared.whenComplete { result in
          if case .failure(let error) = result { return promise.fail(error) }
          // The attempt was cancelled.
          guard channel.isOpen else { return promise.fail(ChannelError.ioOnClosedChannel) }
          self.establish(node, process, open.uplink, channel)
          promise.succeed(channel)
          self.deliver()
        }
      }
    }
  }

  private func establish(
    _ node: Int, _ process: SimulatedProcess, _ uplink: Uplink, _ channel: SimulatedChannel
  ) {
    let link = Link(nats.accept(node: node), node: node, process, uplink, channel)
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
    guard !link.process.isGhost, link.isOpenAtClient else { return }
    link.bytesInFlight += bytes.readableBytes
    if link.bytesInFlight > world.scenario.highWater { link.channel.setWritable(false) }
    let origin = world.publishers.sending(link.process.origin)
    goToServer(.bytes(bytes, origin: origin), link)
  }

  private func goToServer(_ packet: Way.Packet, _ link: Link) {
    guard !link.toServer.isCut, link.isOpenAtServer else { return }
    link.toServer.arrival = max(link.toServer.arrival, world.now + delay())
    world.schedule(in: link.toServer.arrival - world.now) { [self] in
      link.toServer.arrived.append(packet)
      flowToServer(link)
    }
  }

  private func flowToServer(_ link: Link) {
    if link.holds(.toServer), !link.toServer.arrived.isEmpty { link.wasHeld = true }
    defer { if link.toServer.arrived.isEmpty { link.wasHeld = false } }
    while !link.holds(.toServer), let packet = link.toServer.arrived.popFirst() {
      guard link.isOpenAtServer, !link.toServer.isCut else { continue }
      switch packet {
      case .bytes(let bytes, let origin):
        if isLost(link, origin) {
          blackHole(link, [.toServer])
          disconnect(link)
          link.toClient.arrived.append(.end)
          flowToClient(link)
          continue
        }
        if History.tellsAll { print(String(buffer: bytes)) }
        bytes.withUnsafeReadableBytes { nats.receive($0, on: link.number, origin: origin) }
        world.history.note(world.now, 11, UInt64(link.number), UInt64(bytes.readableBytes))
        link.bytesInFlight -= bytes.readableBytes
        makeWritable(link)
        if !atTaken.isEmpty { atTaken.removeAll { $0(link, bytes) } }
        handled()
      case .end:
        disconnect(link)
        handled()
      }
    }
  }

  /// Where shared streams can have no fence, what a cut held back of a former leader, or of a connection that its client
  /// has given up, never arrives: else it could be stored twice, or out of order (guarantees.md).
  private func isLost(_ link: Link, _ origin: Int) -> Bool {
    guard !world.scenario.hasFences, link.wasHeld else { return false }
    return !link.isOpenAtClient || link.process.isGhost || world.publishers.isReplaced(origin)
  }

  private func makeWritable(_ link: Link) {
    guard link.isOpenAtClient, link.bytesInFlight < world.scenario.highWater / 4,
      !link.channel.isWritable,
      !link.process.isPaused
    else { return }
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
      for name in world.jetStream.streams.keys.sorted() where slowStreams[name] ?? 0 == 0 {
        world.jetStream.streams[name]?.commit()
      }
      nats.advance()
      handled()
    }
  }

  /// - Parameter faults: 1: one more fault; -1: one is mended.
  func slowDown(_ stream: String, _ faults: Int) {
    slowStreams[stream, default: 0] += faults
    handled()
  }

  /// Sends what the servers have to say.
  func deliver() {
    nats.drain { number, bytes in
      guard let link = links[number] else { return }
      goToClient(.bytes(ByteBuffer(bytes: bytes), origin: 0), link)
    }
    for number in nats.takeClosed() {
      guard let link = links[number] else { continue }
      disconnect(link)
      goToClient(.end, link)
    }
  }

  private func goToClient(_ packet: Way.Packet, _ link: Link) {
    guard !link.toClient.isCut, link.isOpenAtClient else { return }
    link.toClient.arrival = max(link.toClient.arrival, world.now + delay())
    world.schedule(in: link.toClient.arrival - world.now) { [self] in
      link.toClient.arrived.append(packet)
      flowToClient(link)
    }
  }

  /// What comes to a process that is stopped stays in its socket.
  private func flowToClient(_ link: Link) {
    while !link.process.isPaused, !link.holds(.toClient),
      let packet = link.toClient.arrived.popFirst()
    {
      guard link.isOpenAtClient, !link.toClient.isCut, !link.process.isGhost else { continue }
      switch packet {
      case .bytes(let bytes, _):
        world.history.note(world.now, 12, UInt64(link.number), UInt64(bytes.readableBytes))
        if History.tellsAll { print("to", link.process.name, String(buffer: bytes)) }
        act(for: link.process) { link.channel.receive(bytes) }
      case .end: lose(link)
      }
    }
  }

  /// A process runs again, or what held packets back is mended: what has come flows.
  func flow(_ isConcerned: (Link) -> Bool) {
    for link in allLinks where isConcerned(link) {
      flowToServer(link)
      flowToClient(link)
      makeWritable(link)
    }
  }

  func resumed(_ process: SimulatedProcess) { flow { $0.process === process } }

  // MARK: - Ends

  private func forget(_ link: Link) {
    guard !link.isOpenAtClient, !link.isOpenAtServer else { return }
    links[link.number] = nil
  }

  /// The server's end is gone.
  private func disconnect(_ link: Link) {
    guard link.isOpenAtServer else { return }
    link.isOpenAtServer = false
    nats.disconnect(link.number)
    forget(link)
  }

  /// What was sent before still arrives.
  private func clientCloses(_ link: Link) {
    guard link.isOpenAtClient else { return }
    link.isOpenAtClient = false
    forget(link)
    // The end of a process that is no more was sent when it died.
    guard !link.process.isGhost else { return }
    tellServer(ofEnd: link)
  }

  private func tellServer(ofEnd link: Link) {
    guard link.toServer.isCut else { return goToServer(.end, link) }
    // The server finds out by itself.
    world.schedule(in: 2 * Nano.minute) { [self] in disconnect(link) }
  }

  /// The client learns that the connection has ended.
  private func lose(_ link: Link) {
    guard link.isOpenAtClient, !link.process.isGhost else { return }
    act(for: link.process) { link.channel.lose() }
  }

  /// A connection breaks, and both ends are told. What is on its way is lost.
  func cut(_ link: Link) {
    disconnect(link)
    link.toClient.arrived.removeAll()
    link.toClient.arrived.append(.end)
    flowToClient(link)
  }

  /// The server ends a connection, and its client is not told.
  func closeUnheard(_ link: Link) {
    blackHole(link, [.toClient])
    disconnect(link)
  }

  /// Packets vanish from now on.
  func blackHole(_ link: Link, _ directions: [Uplink.Direction] = Uplink.Direction.allCases) {
    if directions.contains(.toServer) { link.toServer.isCut = true }
    if directions.contains(.toClient) { link.toClient.isCut = true }
  }

  /// A process is gone: its sockets close, what it sent still arrives.
  func abandon(_ process: SimulatedProcess) {
    for link in openLinks where link.process === process { tellServer(ofEnd: link) }
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
    for link in allLinks where link.node == node { cut(link) }
  }

  func start(_ node: Int) { isUp[node] = true }
}
