/// One stream as its leader has it.
///
/// With one replica a message is checked and stored at once. With several it is checked, proposed, and stored
/// when the proposal is committed (`SimulatedStream+Replication`); answers come then.
public final class SimulatedStream {
  public internal(set) var configuration: StreamConfiguration
  public internal(set) var store: MessageStore
  public let created: Int64
  /// Which of the servers leads it.
  public internal(set) var leader = 0
  var consumers: [SimulatedConsumer] = []
  let server: SimulatedServer
  var rules: ServerRules { server.rules }
  var now: Int64 { server.now }

  var duplicates: DuplicateWindow
  public internal(set) var lastSequence: UInt64
  /// The id of the last message; empty where that has none.
  var lastMessageID = ""

  /// The sequence that the next proposal follows; 0: not known yet.
  var proposedSequence: UInt64 = 0
  /// Proposals that were refused when they were applied: they count in `proposedSequence`.
  var failedProposals: UInt64 = 0
  /// Proposals under way, of each subject and of all.
  var inFlight: [String: Amount] = [:]
  /// Subjects whose last sequence was asserted by a proposal under way.
  var expectedInFlight: Set<String> = []
  var proposals: [Proposal] = []
  public var replicas: Replicas?

  var atomicBatches: [String: AtomicBatch] = [:]
  var fastBatches: [String: FastBatch] = [:]
  /// Subjects that somebody consumes, for interest retention.
  public var interests: [Interest] = []

  public struct Interest: Sendable {
    public var consumer: String
    public var subject: String
    public var acknowledged: Set<UInt64> = []

    public init(consumer: String, subject: String = ">") {
      self.consumer = consumer
      self.subject = subject
    }
  }

  struct Amount {
    var messages = 0
    var bytes: Int64 = 0
  }

  init(_ configuration: StreamConfiguration, on server: SimulatedServer) {
    self.configuration = configuration
    self.server = server
    created = server.newTime()
    store = MessageStore(configuration)
    duplicates = DuplicateWindow(
      window: configuration.duplicateWindow * Int64(server.rules.duplicateWindowPercent) / 100)
    lastSequence = store.lastSequence
    if configuration.replicas > 1 { replicas = Replicas(configuration) }
  }

  var isReplicated: Bool { configuration.replicas > 1 }

  // MARK: - Answers

  func answer(_ to: ReplyTo, _ answer: @autoclosure () -> Answer) {
    guard !to.subject.isEmpty, !configuration.noAck else { return }
    server.outputs.append(Output(to: to, answer: answer()))
  }

  /// Of fast batches also where the stream acknowledges nothing.
  func tell(_ to: ReplyTo, _ answer: Answer) { server.reply(to, answer) }

  func refuse(_ to: ReplyTo, _ refusal: Refusal) {
    answer(to, .refused(stream: configuration.name, refusal))
  }

  // MARK: - Time

  func advance() {
    duplicates.advance(to: now)
    if configuration.maxAge > 0 {
      store.expire(at: now)
      replicas?.apply { $0.expire(at: now) }
    }
    abandonBatches()
    for consumer in consumers where consumer.isAbandoned { remove(consumer) }
  }

  var leaderName: String {
    server.names.isEmpty ? "" : server.names[leader % server.names.count]
  }

  /// The earliest moment at which something here changes by itself; nil where nothing will.
  var nextChange: Int64? {
    var next: Int64?
    func consider(_ time: Int64) { next = min(next ?? time, time) }
    for batch in atomicBatches.values { consider(batch.deadline) }
    for batch in fastBatches.values { consider(batch.deadline) }
    if configuration.maxAge > 0, let first = store[store.firstSequence] {
      consider(first.time + configuration.maxAge)
    }
    for consumer in consumers { if let time = consumer.nextChange { consider(time) } }
    return next
  }

  // MARK: - Publishing

  func publish(_ message: Publication) {
    if rules.knowsFastBatches, FastReply.isFast(message.reply.subject) {
      return publishFast(message, FastReply(message.reply.subject))
    }
    let headers = ProtocolHeaders(message.headers)
    if rules.knowsAtomicBatches, !headers.batchID.isEmpty { return publishAtomic(message, headers) }
    if isReplicated { return proposeSingle(message, headers) }
    store(message, headers, checks: true)
  }

  /// Stores one message: alone (`checks`), or of a batch or proposal that was checked before. False: it was
  /// refused.
  @discardableResult
  func store(
    _ message: Publication, _ headers: ProtocolHeaders, checks: Bool, proposed: Proposed? = nil,
    batch: Answer.BatchCount? = nil, fast: FastReply? = nil
  ) -> Bool {
    if checks || !rules.checksBeforeReplicating, configuration.isSealed {
      refuse(message.reply, .sealed)
      return false
    }
    if let proposed, proposed.sequence != lastSequence + failedProposals {
      refuse(message.reply, .sequenceNotMatched)
      return false
    }
    if checks {
      switch verdict(message, headers) {
      case .store: break
      case .drop: return false
      case .answer(let stopped):
        answer(message.reply, stopped)
        return false
      }
    } else {
      switch verdictWhenApplied(message, headers) {
      case .store: break
      case .drop:
        failedProposals += 1
        return false
      case .answer(let stopped):
        failedProposals += 1
        answer(message.reply, stopped)
        return false
      }
    }
    let time = proposed?.time ?? now
    if configuration.retention == .interest, !hasInterest(message.subject) {
      lastSequence = store.skip()
      replicas?.log(.skip)
      lastMessageID = headers.messageID
      // With one replica the server notes no time for it, so the id goes with the next round of the timer.
      note(headers.messageID, at: proposed == nil ? Int64.min / 2 : time)
      if rules.rollsUpWithoutInterest { purgeRolledUp(message, headers, keep: 0) }
    } else {
      let limited = !isReplicated || rules.checksLimitsWhenApplying
      if limited,
        let failure = store.failure(
          message.subject, message.headers.count, message.payload.count,
          isRollup: !headers.rollup.isEmpty, rules)
      {
        failedProposals += 1
        refuse(message.reply, .storeFailed(failure))
        return false
      }
      lastSequence = store.append(
        message.subject, message.headers, message.payload, at: time, from: message.origin)
      replicas?.log(.message(message.subject, message.headers, message.payload, time))
      server.onStored?(
        self,
        StoredMessage(
          sequence: lastSequence, subject: message.subject, headers: message.headers,
          payload: message.payload, time: time, origin: message.origin))
      lastMessageID = headers.messageID
      note(headers.messageID, at: time)
      purgeRolledUp(message, headers, keep: 1)
    }
    if let fast, !registersEnd(of: fast, message.reply) { return true }
    answer(message.reply, .stored(stream: configuration.name, sequence: lastSequence, batch: batch))
    return true
  }

  private func note(_ id: String, at time: Int64) {
    if !id.isEmpty { duplicates.insert(id, lastSequence, at: time, now: now) }
  }

  private func purgeRolledUp(_ message: Publication, _ headers: ProtocolHeaders, keep: UInt64) {
    guard configuration.allowRollup, !configuration.denyPurge else { return }
    switch headers.rollup {
    case "sub": purge(message.subject, keep: keep)
    case "all": purge("", keep: keep)
    default: break
    }
  }

  func hasInterest(_ subject: String) -> Bool {
    interests.contains { SubjectPattern.matches($0.subject, subject) }
  }

  /// What a consumer has done with: where retention says so, the message goes when all have.
  public func acknowledge(_ sequence: UInt64, by consumer: String) {
    guard configuration.retention != .limits, let message = store[sequence] else { return }
    for index in interests.indices where interests[index].consumer == consumer {
      interests[index].acknowledged.insert(sequence)
    }
    if !isWanted(message) {
      store.remove(sequence)
      replicas?.log(.remove(sequence))
      for index in interests.indices { interests[index].acknowledged.remove(sequence) }
    }
  }

  private func isWanted(_ message: StoredMessage) -> Bool {
    interests.contains {
      SubjectPattern.matches($0.subject, message.subject)
        && !$0.acknowledged.contains(message.sequence)
    }
  }

  func dropUnwanted() {
    for message in store.messages where !isWanted(message) {
      store.remove(message.sequence)
      replicas?.log(.remove(message.sequence))
    }
  }

  @discardableResult
  func purge(_ subject: String, below: UInt64 = 0, keep: UInt64) -> Int {
    let removed = store.purge(subject, below: below, keep: keep, rules)
    replicas?.log(.purge(subject, below: below, keep: keep, rules))
    lastSequence = max(lastSequence, store.lastSequence)
    for consumer in consumers { consumer.skipPurged() }
    return removed
  }
}
