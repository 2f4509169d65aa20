/// A nats-server with JetStream (or a cluster of them), as far as publishers and administrators see it.
///
/// Pure: it reads no clock and sends nothing. Time is set by `advance`, and answers collect in `outputs`, in the
/// order in which the server gives them; the caller delivers, delays or loses them.
public final class SimulatedServer {
  public let version: ServerVersion
  public let rules: ServerRules
  /// Streams may have several replicas.
  public let isClustered: Bool
  /// In nanoseconds.
  public private(set) var now: Int64
  public var outputs: [Output] = []
  /// Called with each message that a stream stores, while it is stored: limits may remove it at once.
  public var onStored: ((_ stream: SimulatedStream, _ message: StoredMessage) -> Void)?
  public private(set) var streams: [String: SimulatedStream] = [:]
  /// The same in the order in which they were made, so that every run goes through them alike.
  private(set) var ordered: [SimulatedStream] = []
  /// Proposals are committed as they are made. Else by `SimulatedStream.commit`.
  public var commitsAtOnce = true
  /// The disk is full, or a limit of the server is reached: everything published is refused.
  public var isOutOfResources = false
  /// What the account may hold.
  public var accountLimits = AccountLimits()
  /// The servers' names: one, or all of the cluster's.
  public var names = ["sim"]
  /// Which replica of a stream answers a direct get, and which serves a new consumer: 0 is the leader, 1… its
  /// followers, which may be behind.
  public var directReplica: (_ stream: String) -> Int = { _ in 0 }
  public var consumerReplica: (_ stream: String) -> Int = { _ in 0 }
  /// Whether somebody subscribes to a subject: pull requests of others are forgotten.
  public var hasInterest: (_ subject: String) -> Bool = { _ in true }
  /// Pull requests may wait; see `deliver`.
  var hasPulls = false
  private var consumersMade = 0
  private var lastCreated = Int64.min
  /// Which stream takes a subject; of subjects that were asked for.
  private var routes: [String: SimulatedStream] = [:]

  /// - Parameter rules: other rules than the version's, for tests of the comparison with servers.
  public init(
    _ version: ServerVersion, isClustered: Bool = false, now: Int64 = 0, rules: ServerRules? = nil
  ) {
    self.version = version
    self.rules = rules ?? ServerRules(version)
    self.isClustered = isClustered
    self.now = now
  }

  /// Time passes; what is due by then happens.
  public func advance(to time: Int64) {
    now = max(now, time)
    for stream in ordered { stream.advance() }
    deliver()
  }

  /// The server stops at once and starts again: streams in memory are gone, and of each other one the last messages
  /// that `losing` says never came to disk.
  public func crash(losing: [String: Int] = [:]) {
    for stream in ordered {
      let name = stream.configuration.name
      if stream.configuration.storage == .memory, !isClustered {
        forget(name)
      } else {
        stream.crash(losing: losing[name] ?? 0)
      }
    }
    routes = [:]
  }

  /// The earliest moment at which something changes by itself.
  public var nextChange: Int64? { ordered.compactMap(\.nextChange).min() }

  /// A message that a connection sent: to a stream, or a request.
  public func receive(_ message: Publication) {
    if !take(message) { reply(message.reply, .noResponders) }
  }

  /// The same; false where nobody takes the subject, so that somebody else may.
  public func take(_ message: Publication) -> Bool {
    if message.subject.hasPrefix("$JS.") {
      if message.subject.hasPrefix("$JS.API.") { return request(message) }
      if message.subject.hasPrefix("$JS.ACK.") {
        acknowledge(message)
        return true
      }
    }
    guard let stream = stream(taking: message.subject) else { return false }
    stream.publish(message)
    return true
  }

  public func stream(taking subject: String) -> SimulatedStream? {
    if let known = routes[subject] { return known }
    for stream in ordered {
      for pattern in stream.configuration.subjects where SubjectPattern.matches(pattern, subject) {
        if routes.count > 10_000 { routes = [:] }
        routes[subject] = stream
        return stream
      }
    }
    return nil
  }

  func reply(_ to: ReplyTo, _ answer: Answer) {
    if !to.subject.isEmpty { outputs.append(Output(to: to, answer: answer)) }
  }

  func commitsIfAtOnce(_ stream: SimulatedStream) { if commitsAtOnce { stream.commit() } }

  /// A time at which nothing else was made: another stream of the same name is never as old.
  func newTime() -> Int64 {
    lastCreated = max(now, lastCreated + 1)
    return lastCreated
  }

  /// As long as the server's.
  func newConsumerName() -> String {
    consumersMade += 1
    let number = String(consumersMade, radix: 36, uppercase: true)
    return "SIM" + String(repeating: "0", count: max(0, 5 - number.count)) + number
  }

  private func forget(_ name: String) {
    streams[name] = nil
    ordered.removeAll { $0.configuration.name == name }
  }

  var openAtomicBatches: Int { streams.values.reduce(0) { $0 + $1.atomicBatches.count } }
  var openFastBatches: Int { streams.values.reduce(0) { $0 + $1.fastBatches.count } }

  // MARK: - Administration

  public func createStream(_ wanted: StreamConfiguration) throws(Refusal) -> StreamState {
    if wanted.isSealed {
      throw .invalidConfiguration("stream configuration for create can not be sealed")
    }
    let configuration = try wanted.checked(rules)
    if configuration.replicas > 1, !isClustered { throw .replicasNotSupported }
    if let present = streams[configuration.name] {
      guard present.configuration == configuration else { throw .streamNameInUse }
      return present.state
    }
    try requireNoOverlap(configuration)
    try requireRoom(configuration)
    let stream = SimulatedStream(configuration, on: self)
    streams[configuration.name] = stream
    ordered.append(stream)
    routes = [:]
    return stream.state
  }

  public func updateStream(_ wanted: StreamConfiguration) throws(Refusal) -> StreamState {
    let checked = try wanted.checked(rules)
    guard let stream = streams[checked.name] else { throw .streamNotFound }
    if checked.replicas > 1, !isClustered { throw .replicasNotSupported }
    let configuration = try checked.replacing(stream.configuration, rules)
    try requireNoOverlap(configuration)
    stream.configure(configuration)
    routes = [:]
    return stream.state
  }

  public func deleteStream(_ name: String) throws(Refusal) {
    guard let stream = streams[name] else { throw .streamNotFound }
    for consumer in stream.consumers { consumer.end() }
    forget(name)
    routes = [:]
  }

  public func stream(named name: String) throws(Refusal) -> SimulatedStream {
    guard let stream = streams[name] else { throw .streamNotFound }
    return stream
  }

  private func requireRoom(_ configuration: StreamConfiguration) throws(Refusal) {
    let limits = accountLimits
    if limits.maxStreams >= 0, ordered.count >= limits.maxStreams { throw .tooManyStreams }
    guard limits.maxStorage >= 0, configuration.maxBytes > 0 else { return }
    let reserving = configuration.maxBytes * Int64(configuration.replicas)
    if configuration.storage == .file,
      accountState.reservedStorage + reserving > limits.maxStorage
    {
      throw .storageExceeded
    }
  }

  private func requireNoOverlap(_ configuration: StreamConfiguration) throws(Refusal) {
    for (name, other) in streams where name != configuration.name {
      for subject in configuration.subjects {
        if other.configuration.subjects.contains(where: { SubjectPattern.collide($0, subject) }) {
          throw .subjectsOverlap
        }
      }
    }
  }

  /// Removes one message, and says so.
  func remove(_ sequence: UInt64, from stream: SimulatedStream, _ to: ReplyTo) {
    if stream.store.remove(sequence) {
      stream.replicas?.log(.remove(sequence))
      return reply(to, .messageDeleted)
    }
    let store = stream.store
    let isWithin =
      store.count > 0 && sequence >= store.firstSequence && sequence <= store.lastSequence
    let refusal: Refusal
    if isWithin || stream.configuration.storage == .memory {
      refusal = .sequenceNotFound(sequence)
    } else {
      refusal = .messageDeleteFailed(
        sequence <= store.lastSequence ? "no message found" : "stream store EOF")
    }
    reply(to, .failed(.deleteMessage, refusal))
  }
}

extension SimulatedStream {
  public var state: StreamState {
    StreamState(
      configuration: configuration, created: created, asked: now, leader: leaderName,
      messages: store.count, bytes: store.bytes, firstSequence: store.firstSequence,
      lastSequence: store.lastSequence, firstTime: store[store.firstSequence]?.time,
      lastTime: store.lastTime,
      subjectCount: store.subjectCount, deletedCount: store.deletedCount,
      consumers: Set(interests.map(\.consumer)).count)
  }

  func configure(_ new: StreamConfiguration) {
    let old = configuration
    configuration = new
    if rules.dropsUnwantedAtOnce, new.retention == .interest, old.retention != .interest {
      dropUnwanted()
    }
    store.change(new, rules)
    replicas?.log(.limits(new, rules))
    duplicates.change(
      window: new.duplicateWindow * Int64(rules.duplicateWindowPercent) / 100, now: now)
    if !new.allowAtomic { atomicBatches = [:] }
    if !new.allowBatched { fastBatches = [:] }
    advance()
  }
}
