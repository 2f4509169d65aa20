import Bytes
public import SimulatedJetStream

/// A nats-server (or a cluster of them) that speaks the client protocol in bytes, over a model of JetStream.
///
/// Pure: it reads no clock and sends nothing. What clients are to get collects for each connection; the caller
/// takes it (`drain`), delays it or loses it.
public final class SimulatedNATSServer {
  /// One server of the cluster.
  public struct Node: Sendable {
    public var name: String
    /// `host:port`, as it is announced to clients.
    public var address: String

    public init(_ name: String, address: String = "127.0.0.1:4222") {
      self.name = name
      self.address = address
    }
  }

  public let jetStream: SimulatedServer
  public let nodes: [Node]
  public var clusterName = "sim"
  /// Servers that are announced to clients; nil: all nodes, if there is more than one.
  public var announced: [String]?
  /// With headers.
  public var maxPayload = 1 << 20
  /// Who may not publish or subscribe what; nil: everybody may everything.
  public var refuses: ((_ connection: Int, _ isPublish: Bool, _ subject: String) -> Bool)?

  private var connections: [Connection?] = [nil]
  var table = SubscriptionTable()
  /// Connections with output, in the order in which they got it.
  var waiting: [Connection] = []
  private var closed: [Int] = []
  // Reused.
  private var outputs: [Output] = []
  var found: [Subscription] = []
  var scratch = ByteWriter(capacity: 512)

  public init(_ jetStream: SimulatedServer, nodes: [Node] = [Node("sim")]) {
    self.jetStream = jetStream
    self.nodes = nodes
    jetStream.names = nodes.map(\.name)
    jetStream.hasInterest = { [unowned self] subject in
      withBytes(subject) { self.table.hasInterest($0) }
    }
  }

  // MARK: - Connections

  /// A client has connected to a node: it gets INFO.
  ///
  /// - Returns: the connection's number, from 1 on.
  public func accept(node: Int = 0) -> Int {
    let connection = Connection(connections.count, node: node)
    connections.append(connection)
    send(info(connection), to: connection)
    return connection.number
  }

  /// The client's end is gone, or the network says so: its subscriptions are gone, and what it had not got.
  public func disconnect(_ number: Int) {
    guard let connection = connections[number] else { return }
    forgetSubscriptions(connection)
    connection.output.removeAll()
    waiting.removeAll { $0 === connection }
    connections[number] = nil
  }

  /// Open connections, by node or all.
  public func openConnections(node: Int? = nil) -> [Int] {
    connections.compactMap { connection in
      guard let connection, !connection.isClosed, node == nil || connection.node == node else {
        return nil
      }
      return connection.number
    }
  }

  /// Connections that the server closed since the last call. What they were to get before comes from `drain`.
  public func takeClosed() -> [Int] {
    defer { closed.removeAll() }
    return closed
  }

  public func isClosedByServer(_ number: Int) -> Bool { connections[number]?.isClosed ?? true }

  /// A node says that it is about to stop.
  public func announceShutdown(node: Int = 0) {
    for case let connection? in connections
    where connection.node == node && connection.takesInfo && !connection.isClosed {
      send(info(connection, isLameDuck: true), to: connection)
    }
  }

  // MARK: - Output

  /// Hands out what connections are to get, each connection's bytes at once. The bytes are valid in `body` only.
  public func drain(_ body: (_ connection: Int, _ bytes: UnsafeRawBufferPointer) -> Void) {
    guard !waiting.isEmpty else { return }
    for connection in waiting {
      body(connection.number, connection.output.bytes)
      connection.output.removeAll()
    }
    waiting.removeAll(keepingCapacity: true)
  }

  public var hasOutput: Bool { !waiting.isEmpty }

  func send(_ text: String, to connection: Connection) {
    begin(connection)
    connection.output.append(text)
  }

  func begin(_ connection: Connection) {
    if connection.output.count == 0 { waiting.append(connection) }
  }

  /// Answers of JetStream that have come meanwhile: after proposals were committed, say.
  public func collect() {
    while !jetStream.outputs.isEmpty {
      swap(&outputs, &jetStream.outputs)
      for output in outputs { deliver(output) }
      outputs.removeAll(keepingCapacity: true)
    }
  }

  /// Time has passed in the model.
  public func advance() {
    jetStream.deliver()
    collect()
  }

  /// The earliest moment at which something changes by itself.
  public var nextChange: Int64? { jetStream.nextChange }

  // MARK: - Input

  /// Bytes that came from a client, cut anywhere.
  ///
  /// - Parameter origin: of the messages that they complete (`Publication.origin`).
  public func receive(_ bytes: UnsafeRawBufferPointer, on number: Int, origin: Int = 0) {
    guard let connection = connections[number], !connection.isClosed else { return }
    connection.origin = origin
    if connection.input.isEmpty {
      let used = process(bytes, connection)
      if used < bytes.count, !connection.isClosed {
        connection.input.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[used...]))
      }
    } else {
      connection.input.append(contentsOf: bytes)
      var input: [UInt8] = []
      swap(&input, &connection.input)
      let used = input.withUnsafeBytes { process($0, connection) }
      input.removeFirst(used)
      connection.input = input
    }
    jetStream.deliver()
    collect()
  }

  public func receive(_ bytes: [UInt8], on number: Int) {
    bytes.withUnsafeBytes { receive($0, on: number) }
  }

  /// - Returns: how many bytes of complete operations there were.
  private func process(_ bytes: UnsafeRawBufferPointer, _ connection: Connection) -> Int {
    var at = 0
    while at < bytes.count {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[at...])
      switch ClientOperation.read(rest, maxPayload: maxPayload) {
      case .incomplete: return at
      case .invalid(let text):
        close(connection, text)
        return bytes.count
      case .operation(let operation, let length):
        at += length
        perform(operation, connection)
        if connection.isClosed { return bytes.count }
      }
    }
    return at
  }

  private func perform(_ operation: ClientOperation, _ connection: Connection) {
    switch operation {
    case .publish(let message): publish(message, connection)
    case .ping:
      send("PONG\r\n", to: connection)
      guard connection.isConnected, !connection.isConfirmed else { return }
      connection.isConfirmed = true
      if jetStream.rules.confirmsConnect, connection.takesInfo {
        send(info(connection, confirms: true), to: connection)
      }
    case .pong: break
    case .connect(let json): connect(connection, json)
    case .subscribe(let subject, let queue, let sid):
      subscribe(connection, subject, queue, sid)
    case .unsubscribe(let sid, let most):
      acknowledge(connection)
      guard let subscription = connection.subscription(sid) else { return }
      if most > subscription.delivered {
        subscription.most = most
      } else {
        remove(subscription)
      }
    }
  }

  func acknowledge(_ connection: Connection) {
    if connection.isVerbose { send("+OK\r\n", to: connection) }
  }

  func close(_ connection: Connection, _ error: String?) {
    if let error { send("-ERR '\(error)'\r\n", to: connection) }
    connection.isClosed = true
    connection.input = []
    forgetSubscriptions(connection)
    closed.append(connection.number)
  }

  private func connect(_ connection: Connection, _ json: UnsafeRawBufferPointer) {
    guard let options = ConnectOptions(json) else { return close(connection, nil) }
    connection.isConnected = true
    connection.isVerbose = options.isVerbose
    connection.isPedantic = options.isPedantic
    connection.hearsItself = options.hearsItself
    connection.hasHeaders = options.hasHeaders
    connection.wantsNoResponders = options.wantsNoResponders
    connection.takesInfo = options.takesInfo
    if options.wantsNoResponders, !options.hasHeaders {
      return close(connection, "no responders requires headers support")
    }
    acknowledge(connection)
  }

  // MARK: - Subscriptions

  private func subscribe(
    _ connection: Connection, _ subject: UnsafeRawBufferPointer, _ queue: UnsafeRawBufferPointer,
    _ sid: UnsafeRawBufferPointer
  ) {
    let text = String(decoding: subject, as: UTF8.self)
    guard SubjectPattern.isValid(text) else {
      return send("-ERR 'Invalid Subject'\r\n", to: connection)
    }
    if let refuses, refuses(connection.number, false, text) {
      return send(
        "-ERR 'Permissions Violation for Subscription to \"\(text)\"'\r\n", to: connection)
    }
    acknowledge(connection)
    guard connection.subscription(sid) == nil else { return }
    let subscription = Subscription(
      connection, Array(subject), queue: Array(queue), sid: Array(sid))
    connection.subscriptions.append(subscription)
    table.insert(subscription)
  }

  func remove(_ subscription: Subscription) {
    table.remove(subscription)
    subscription.connection.subscriptions.removeAll { $0 === subscription }
  }

  private func forgetSubscriptions(_ connection: Connection) {
    for subscription in connection.subscriptions { table.remove(subscription) }
    connection.subscriptions = []
  }
}
