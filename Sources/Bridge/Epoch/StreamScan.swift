import JSON
package import JetStream
package import NATS
import NIOCore

/// Reads a stretch of a stream in order, by pulls of a consumer that asks for no acks, as fast as the
/// server gives it. Whatever breaks (the consumer gone, a sequence skipped, no answer) is mended by
/// another consumer from the next message on.
///
/// Sendable invariant: every stored property below `eventLoop` is touched on the connection's event
/// loop only; `run` hops there.
package final class StreamScan: NATSRawHandler, @unchecked Sendable {
  private let jetStream: JetStreamClient
  private let stream: String
  private var eventLoop: any EventLoop { jetStream.connection.eventLoop }
  /// Whether what is handed on has to be `consumed`.
  private let isGated: Bool
  private let headersOnly: Bool
  /// Reads on at the stream's end, until `stopReading`.
  private let follows: Bool
  private let take: (borrowing NATSMessageView, UInt64) -> Void
  private let onRest: () -> Void
  private let onBreak: () -> Void

  private var next: UInt64
  private var last: UInt64
  private var consumer = ""
  private var inbox = ""
  private var subscription: UInt64?
  private var deliveries: UInt64 = 0
  private var outstanding = 0
  /// The next message is larger than a request may take: it is asked for alone.
  private var asksForLarge = false
  private var waiting = 0
  private var handedOn: UInt64 = 0
  private var moved = false
  private var isStopped = false
  private var end: EventLoopPromise<Outcome>?

  private enum Outcome: Sendable {
    case done
    case broken(String)
  }

  /// Messages asked for at once; twice as many may be on their way.
  private static let batch = 1000
  /// Their bytes, likewise: a server that can't get rid of what it sends (while large bodies are read here, say)
  /// takes its client for gone.
  private static let batchBytes = 4 << 20
  /// Messages that were handed on and not consumed yet.
  private static let mostWaiting = 20_000

  /// - Parameters:
  ///   - follows: waits for further messages at the stream's end, until `stopReading`; `last` doesn't count.
  ///   - take: called on the connection's event loop for each message, in order.
  ///   - onRest: called there when what had come is handed on.
  ///   - onBreak: called there before another consumer takes the place of one that broke.
  package init(
    _ jetStream: JetStreamClient, stream: String, from first: UInt64, through last: UInt64,
    isGated: Bool = false, headersOnly: Bool = false, follows: Bool = false,
    onRest: @escaping @Sendable () -> Void = {}, onBreak: @escaping @Sendable () -> Void = {},
    take: @escaping @Sendable (borrowing NATSMessageView, UInt64) -> Void
  ) {
    self.jetStream = jetStream
    self.stream = stream
    self.isGated = isGated
    self.headersOnly = headersOnly
    self.follows = follows
    self.take = take
    self.onRest = onRest
    self.onBreak = onBreak
    next = max(first, 1)
    self.last = follows ? .max : last
  }

  /// Returns when the message at `last`, or what of the stretch is there, has been handed out.
  package func run() async throws(JetStreamError) {
    var failures = 0
    while await place().isOpen {
      let before = await place().next
      let outcome: Outcome
      do throws(JetStreamError) {
        outcome = try await attempt(from: before)
      } catch {
        outcome = .broken("\(error)")
        if error.code == JetStreamCode.streamNotFound { throw error }
      }
      guard case .broken(let why) = outcome else { return }
      await onLoop { $0.onBreak() }
      failures = await place().next > before ? 0 : failures + 1
      if failures >= 5 {
        throw JetStreamError(
          code: 0, operation: "reading stream \(stream)", message: why, remedy: .backOff)
      }
      try? await eventLoop.sleep(for: .milliseconds(100 << failures))
    }
  }

  /// So many messages that were handed on have been dealt with.
  package func consumed(_ count: Int) {
    eventLoop.execute {
      self.waiting -= count
      self.pull()
    }
  }

  /// Nothing more is wanted.
  package func stopReading() {
    eventLoop.execute {
      self.isStopped = true
      self.finish(.done)
    }
  }

  private func place() async -> (next: UInt64, isOpen: Bool) {
    await onLoop { ($0.next, $0.next <= $0.last && !$0.isStopped) }
  }

  private func attempt(from first: UInt64) async throws(JetStreamError) -> Outcome {
    let answer = try await jetStream.request(
      "CONSUMER.CREATE.\(stream)",
      [
        "stream_name": .string(stream),
        "config": [
          "deliver_policy": "by_start_sequence", "opt_start_seq": .int(first),
          "ack_policy": "none", "replay_policy": "instant", "mem_storage": true,
          "headers_only": .bool(headersOnly), "num_replicas": 1,
          "inactive_threshold": .int(30_000_000_000),
        ],
      ])
    guard let name = answer["name"]?.stringValue else {
      return .broken("the consumer that was made has no name")
    }
    if !follows, answer["num_pending"]?.integer(UInt64.self) == 0 { return .done }
    let promise = eventLoop.makePromise(of: Outcome.self)
    await onLoop { $0.begin(name, promise) }
    let ticker = eventLoop.scheduleRepeatedTask(
      initialDelay: patience, delay: patience
    ) { _ in self.checkProgress() }
    let outcome = (try? await promise.futureResult.get()) ?? .broken("connection lost")
    ticker.cancel()
    await onLoop { $0.stop() }
    _ = try? await jetStream.request("CONSUMER.DELETE.\(stream).\(name)")
    return outcome
  }

  /// At a stream's end, requests end unanswered after 5 s, and that is an answer.
  private var patience: TimeAmount { follows ? .seconds(8) : .seconds(3) }

  private func begin(_ name: String, _ promise: EventLoopPromise<Outcome>) {
    guard !isStopped else { return promise.succeed(.done) }
    consumer = name
    end = promise
    inbox = jetStream.connection.newInbox()
    deliveries = 0
    outstanding = 0
    asksForLarge = false
    moved = true
    // Not by the connection's own end: what waits for that stays until then, stretch after stretch.
    subscription = jetStream.connection.subscribeRaw(inbox, handler: self) { [weak self] in
      self?.finish(.broken("connection lost"))
    }
    pull()
  }

  private func stop() {
    if let subscription { jetStream.connection.unsubscribeRaw(subscription) }
    subscription = nil
    end = nil
  }

  private func pull() {
    guard subscription != nil, end != nil else { return }
    while outstanding <= Self.batch, waiting < Self.mostWaiting {
      if asksForLarge {
        // Behind requests that are open, or it would be theirs.
        guard outstanding == 0 else { break }
        asksForLarge = false
        ask(1, "")
        break
      }
      ask(Self.batch, ",\"max_bytes\":\(Self.batchBytes)")
    }
    jetStream.connection.flushWrites()
  }

  private func ask(_ count: Int, _ limit: String) {
    outstanding += count
    let request = "{\"batch\":\(count),\"expires\":5000000000\(limit)}"
    var buffer = ByteBuffer()
    buffer.writeString(
      "PUB \(jetStream.prefix).CONSUMER.MSG.NEXT.\(stream).\(consumer) \(inbox) \(request.utf8.count)\r\n\(request)\r\n"
    )
    jetStream.connection.writeRaw(buffer)
  }

  /// A request is over.
  private func ended(_ headers: NATSHeaders) {
    let left = headers["Nats-Pending-Messages"].flatMap { Int($0) } ?? Self.batch
    outstanding = max(0, outstanding - left)
    if headers.status == 409, left >= Self.batch { asksForLarge = true }
    pull()
  }

  private func checkProgress() {
    if !moved, waiting < Self.mostWaiting {
      finish(.broken("stream \(stream) sent nothing for \(patience.nanoseconds / 1_000_000_000) s"))
    }
    moved = false
  }

  private func finish(_ outcome: Outcome) {
    onRest()
    end?.succeed(outcome)
    end = nil
  }

  package func received(_ message: borrowing NATSMessageView) {
    guard end != nil else { return }
    if let status = message.status {
      guard status != 100 else { return }  // A heartbeat.
      // 404 and 408 end a request that found nothing more, a 409 one that has had its bytes, or (of those with a
      // limit of bytes, from 2.10 on) its messages.
      let headers = NATSHeaders(parsing: message.headers) ?? [:]
      let words = headers.statusDescription ?? ""
      let hasHadAll = words.contains("Size Exceeds") || words.contains("Batch Completed")
      if status == 404 || status == 408 || (status == 409 && hasHadAll) {
        if follows { moved = true }
        ended(headers)
      } else {
        finish(.broken("stream \(stream): status \(status) \(headers.statusDescription ?? "")"))
      }
      return
    }
    guard let place = Delivery(message.reply) else {
      return finish(.broken("stream \(stream): a message came without its place"))
    }
    guard place.consumer == deliveries &+ 1, place.stream >= next,
      place.stream <= StreamInfo.highestSequence
    else {
      return finish(.broken("stream \(stream): a delivery is missing"))
    }
    deliveries = place.consumer
    moved = true
    outstanding -= 1
    if place.stream > last { return finish(.done) }
    next = place.stream &+ 1
    handedOn += 1
    if isGated { waiting += 1 }
    take(message, place.stream)
    if place.stream >= last || (place.pending == 0 && !follows) { return finish(.done) }
    if handedOn & 1023 == 0 { onRest() }
    if outstanding <= Self.batch { pull() }
  }

  /// When the server stored a delivered message, by its clock; milliseconds since 1970.
  package static func storedAt(_ message: borrowing NATSMessageView) -> Int64? {
    Delivery(message.reply).map { Int64($0.time / 1_000_000) }
  }

  private func onLoop<T: Sendable>(_ body: @escaping @Sendable (StreamScan) -> T) async -> T {
    await withCheckedContinuation { continuation in
      eventLoop.execute { continuation.resume(returning: body(self)) }
    }
  }
}

/// What a delivered message's reply subject tells:
/// `$JS.ACK.<stream>.<consumer>.<tries>.<stream seq>.<consumer seq>.<time>.<pending>`, in newer servers
/// with domain and account before the stream (ADR-15).
private struct Delivery {
  var stream: UInt64
  var consumer: UInt64
  var pending: UInt64
  /// Nanoseconds since 1970.
  var time: UInt64

  init?(_ reply: UnsafeRawBufferPointer) {
    let dot = UInt8(ascii: ".")
    var dots = 0
    for byte in reply where byte == dot { dots += 1 }
    guard dots == 8 || dots >= 10 else { return nil }
    let first = dots == 8 ? 5 : 7
    var token = 0
    var value: UInt64 = 0
    (stream, consumer, pending, time) = (0, 0, 0, 0)
    for byte in reply {
      guard byte == dot else {
        guard token >= first, token <= first + 3 else { continue }
        let digit = byte &- 48
        guard digit <= 9 else { return nil }
        value = value &* 10 &+ UInt64(digit)
        continue
      }
      if token == first { stream = value }
      if token == first + 1 { consumer = value }
      if token == first + 2 { time = value }
      if token == first + 3 { pending = value }
      token += 1
      value = 0
    }
    if token == first + 3 { pending = value }
  }
}
