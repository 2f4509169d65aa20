import JSON

/// A consumer that is pulled from: requests wait, and what the stream has (or gets) answers them in turn.
///
/// It reads the store of one replica, which can be behind the leader's. What was not acknowledged is not
/// delivered again.
final class SimulatedConsumer {
  let name: String
  let created: Int64
  private(set) var configuration: ConsumerConfiguration
  /// 0: the leader; 1…: a follower.
  let replica: Int
  unowned let stream: SimulatedStream

  /// The next sequence of the stream, and of its own.
  private(set) var next: UInt64
  private(set) var nextDelivery: UInt64 = 1
  private(set) var unacknowledged: Set<UInt64> = []
  private(set) var requests: [PullRequest] = []
  private var lastActive: Int64
  private var count = PendingCount()
  /// Too much is not acknowledged. A purge that changes that does not wake it.
  private var isStalled = false
  private var seen: UInt64 = 0
  /// A request came since the store was last looked at.
  private var isAsked = false
  /// Of the store, when `unacknowledged` was right.
  private var removals: UInt64 = 0

  init(
    _ name: String, _ configuration: ConsumerConfiguration, of stream: SimulatedStream,
    replica: Int, created: Int64
  ) {
    self.name = name
    self.configuration = configuration
    self.stream = stream
    self.replica = replica
    self.created = created
    lastActive = stream.now
    next = 1
    next = start
  }

  private var server: SimulatedServer { stream.server }

  private var store: MessageStore {
    _read {
      if replica > 0, let replicas = stream.replicas, replica <= replicas.followers.count {
        yield replicas.followers[replica - 1].store
      } else {
        yield stream.store
      }
    }
  }

  /// Where it begins. (By time and `last_per_subject` are not in the model: they begin with the first message.)
  private var start: UInt64 {
    let (first, last) = (store.firstSequence, store.lastSequence)
    if configuration.startSequence > 0 {
      let wanted = max(configuration.startSequence, first)
      return server.rules.startsBeyondTheEnd ? wanted : min(wanted, last + 1)
    }
    switch configuration.delivery {
    case .new: return last + 1
    case .last:
      let filters = configuration.filters
      let found = filters.compactMap { store.last(on: $0)?.sequence }.max()
      return max(filters.isEmpty ? last : found ?? 0, first, 1)
    default: return max(first, 1)
    }
  }

  // MARK: - Requests

  /// `CONSUMER.MSG.NEXT`.
  func request(_ message: Publication) {
    let to = message.reply
    func refuse(_ status: Int, _ text: String) { tell(to, .ended(status, text)) }
    if configuration.isPushed { return refuse(409, "Consumer is push based") }
    guard let request = PullRequest(message, now: stream.now) else {
      return refuse(400, "Bad Request - unexpected end of JSON input")
    }
    if configuration.maxBatch > 0, request.batch > configuration.maxBatch {
      return refuse(409, "Exceeded MaxRequestBatch of \(configuration.maxBatch)")
    }
    if request.noWait {
      let pending = pendingCount
      if pending == 0, request.expires == nil {
        lastActive = stream.now
        return refuse(404, "No Messages")
      }
      if pending > 0 {
        removeEnded(atEnd: false)
        if pending < requests.reduce(0, { $0 + $1.batch }) {
          lastActive = stream.now
          return refuse(408, "Requests Pending")
        }
      }
    }
    guard requests.count < configuration.maxWaiting else {
      return refuse(409, "Exceeded MaxWaiting")
    }
    requests.append(request)
    isAsked = true
    lastActive = stream.now
    server.hasPulls = true
  }

  /// Gives what there is to the requests that wait.
  func deliver() {
    let isTime = requests.contains { $0.isOver(stream.now) }
    if isTime { removeEnded(atEnd: true) }
    // Only what it gets, or is asked for, makes it look.
    var looks = isAsked || isTime
    if forgetRemoved() || looks || store.lastSequence > seen { isStalled = false }
    isAsked = false
    seen = store.lastSequence
    if isStalled { return }
    while !requests.isEmpty {
      if configuration.maxAckPending > 0, unacknowledged.count >= configuration.maxAckPending {
        isStalled = true
        return removeEnded(atEnd: false)
      }
      guard let message = nextMessage else {
        if looks, pendingCount > 0 { count.reset() }
        break
      }
      let pending = pendingCount - 1
      var delivery = Delivery(
        message, headersOnly: configuration.headersOnly,
        reply: "$JS.ACK.\(stream.configuration.name).\(name).1.\(message.sequence)."
          + "\(nextDelivery).\(message.time).\(pending)")
      guard let request = take(delivery.size) else { break }
      looks = true
      next = message.sequence + 1
      count.took()
      nextDelivery += 1
      delivery.count = nextDelivery - 1
      lastActive = stream.now
      tell(request.reply, .delivered(delivery))
      if request.batch <= 0, request.bytes > 0 {
        tell(
          request.reply,
          .ended(409, "Batch Completed", messages: request.batch, bytes: request.bytes))
      }
      if configuration.ackPolicy == .none {
        stream.acknowledge(message.sequence, by: name)
      } else {
        unacknowledged.insert(message.sequence)
      }
    }
    removeEnded(atEnd: true)
  }

  private var nextMessage: StoredMessage? {
    switch configuration.filters.count {
    case 0: store.next(from: next, on: "")
    case 1: store.next(from: next, on: configuration.filters[0])
    default:
      configuration.filters.compactMap { store.next(from: next, on: $0) }
        .min { $0.sequence < $1.sequence }
    }
  }

  /// The request that gets the next message; one with more to come goes behind the others.
  private func take(_ size: Int) -> PullRequest? {
    while var request = requests.first {
      if request.isOver(stream.now) {
        requests.removeFirst()
        tell(request.reply, request.timeout)
        continue
      }
      if request.bytes > 0 {
        guard size <= request.bytes else {
          requests.removeFirst()
          tell(
            request.reply,
            .ended(
              409, "Message Size Exceeds MaxBytes", messages: request.batch, bytes: request.bytes))
          continue
        }
        request.bytes -= size
        if request.bytes == 0 { request.batch = 1 }
      }
      requests.removeFirst()
      guard server.hasInterest(request.reply.subject) else { continue }
      request.batch -= 1
      request.delivered += 1
      if request.batch > 0 {
        if requests.isEmpty { requests = [request] } else { requests.append(request) }
      }
      return request
    }
    return nil
  }

  /// Requests that have expired, and those that wait for nothing more; `atEnd`: all messages are delivered.
  private func removeEnded(atEnd: Bool) {
    guard !requests.isEmpty else { return }
    let now = stream.now
    var kept: [PullRequest] = []
    for request in requests {
      if request.isOver(now) {
        tell(request.reply, request.timeout)
      } else if atEnd, request.noWait, request.delivered > 0 {
        let times = server.rules.endsNoWaitAsTimeout
        tell(request.reply, times ? request.timeout : .ended(404, "No Messages"))
      } else if atEnd, request.noWait, request.expires == nil, !server.rules.endsNoWaitAsTimeout {
        tell(request.reply, .ended(404, "No Messages"))
      } else if server.hasInterest(request.reply.subject) {
        kept.append(request)
      }
    }
    if kept.count < requests.count { requests = kept }
  }

  /// What it still has to deliver.
  var pendingCount: Int { count.value(store, from: next, configuration.filters) }

  /// Nobody has to acknowledge what is gone.
  @discardableResult
  private func forgetRemoved() -> Bool {
    guard !unacknowledged.isEmpty, removals != stream.store.removals else { return false }
    removals = stream.store.removals
    let before = unacknowledged.count
    unacknowledged = unacknowledged.filter { stream.store[$0] != nil }
    return unacknowledged.count < before
  }

  func acknowledge(_ sequence: UInt64) {
    lastActive = stream.now
    isStalled = false
    if configuration.ackPolicy == .all {
      for known in unacknowledged.sorted() where known <= sequence { settle(known) }
    } else if unacknowledged.contains(sequence) {
      settle(sequence)
    }
  }

  private func settle(_ sequence: UInt64) {
    unacknowledged.remove(sequence)
    stream.acknowledge(sequence, by: name)
  }

  func change(_ configuration: ConsumerConfiguration) {
    self.configuration = configuration
    recount()
  }

  private func recount() {
    count = PendingCount()
    _ = pendingCount
  }

  /// Messages were purged.
  func skipPurged() {
    if next < store.firstSequence { next = store.firstSequence }
    recount()
    forgetRemoved()
  }

  // MARK: - Time and end

  /// Servers add a random part of a second.
  private static let jitter: Int64 = 500_000_000

  /// Nobody has asked for so long that the server removes it.
  var isAbandoned: Bool {
    guard let due = abandonedAt else { return false }
    return due <= stream.now && requests.isEmpty
  }

  private var abandonedAt: Int64? {
    configuration.inactiveThreshold > 0 && unacknowledged.isEmpty
      ? lastActive + configuration.inactiveThreshold + Self.jitter : nil
  }

  var nextChange: Int64? {
    if requests.isEmpty { return abandonedAt }
    return requests.compactMap(\.expires).min()
  }

  /// It, or its stream, is deleted.
  func end() {
    for request in requests { tell(request.reply, .ended(409, "Consumer Deleted")) }
    requests = []
  }

  /// Its server stopped and started again.
  func restart() {
    requests = []
    next = min(next, stream.store.lastSequence + 1)
    count = PendingCount()
    lastActive = stream.now
  }

  private func tell(_ to: ReplyTo, _ answer: Answer) { server.reply(to, answer) }

  var state: ConsumerState {
    forgetRemoved()
    // The server corrects itself when it is asked.
    let most = store.lastSequence < next ? 0 : Int(store.lastSequence - next + 1)
    if pendingCount > 0 { count.limit(to: min(most, store.count)) }
    return ConsumerState(
      stream: stream.configuration.name, name: name, created: created, asked: stream.now,
      configuration: configuration, delivered: nextDelivery - 1, deliveredThrough: next - 1,
      pending: pendingCount, waiting: requests.count, unacknowledged: unacknowledged.count)
  }
}

/// `CONSUMER.MSG.NEXT` that waits for messages.
struct PullRequest {
  var reply: ReplyTo
  var batch: Int
  var bytes: Int
  var noWait: Bool
  var expires: Int64?
  var delivered = 0

  /// Nil: not JSON.
  init?(_ message: Publication, now: Int64) {
    reply = message.reply
    batch = 1
    bytes = 0
    noWait = false
    guard let first = message.payload.first(where: { $0 > 32 }) else { return }
    guard first == UInt8(ascii: "{") else {
      batch = Int(String(decoding: message.payload, as: UTF8.self)) ?? 1
      return
    }
    guard let json = try? JSONValue(parsing: message.payload) else { return nil }
    batch = json["batch"]?.integer() ?? 0
    bytes = json["max_bytes"]?.integer() ?? 0
    noWait = json["no_wait"]?.boolValue ?? false
    if let patience: Int64 = json["expires"]?.integer(), patience != 0 { expires = now + patience }
  }

  func isOver(_ now: Int64) -> Bool { expires.map { $0 <= now } ?? false }

  var timeout: Answer { .ended(408, "Request Timeout", messages: batch, bytes: bytes) }
}

/// How many messages a consumer has before it, as the server counts: what is stored before its beginning counts,
/// too, until it finds that it has nothing to deliver.
private struct PendingCount {
  /// What there is; nil: not counted yet.
  private var known: Int?
  private var tooMany = 0
  // The store, when that was counted.
  private var last: UInt64 = 0
  private var appends: UInt64 = 0
  private var removals: UInt64 = 0

  mutating func took() { if let count = known { known = count - 1 } }

  /// There is nothing to deliver.
  mutating func reset() { tooMany = 0 }

  mutating func limit(to most: Int) {
    guard let count = known, count + tooMany > most else { return }
    tooMany = most - count
  }

  mutating func value(_ store: MessageStore, from next: UInt64, _ filters: [String]) -> Int {
    if let count = known, removals == store.removals, appends == store.appends {
      return count + tooMany
    }
    let new = last + 1
    if let count = known {
      if new < next {
        tooMany += store.count(from: new, on: filters) - store.count(from: next, on: filters)
      }
      known =
        removals == store.removals ? count + store.count(from: max(new, next), on: filters) : nil
    }
    let count = known ?? store.count(from: next, on: filters)
    known = count
    last = store.lastSequence
    appends = store.appends
    removals = store.removals
    return count + tooMany
  }
}
