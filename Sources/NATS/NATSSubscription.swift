internal import NIOCore
import Synchronization

/// The messages of one subscription as a sequence.
///
/// Messages are held in a bounded buffer. If it overflows, the subscription ends: buffered messages are
/// still delivered, then the sequence throws `slowConsumer`, so no message is lost silently. The sequence
/// ends with nil after `unsubscribe`, `drain` or `close`, and throws if the connection fails. Releasing
/// the subscription unsubscribes.
public final class NATSSubscription: AsyncSequence, Sendable {
  public typealias Element = NATSMessage
  public typealias Failure = NATSError

  public let subject: String
  public let queue: String?
  /// The subscription's id in the protocol.
  public let sid: UInt64
  let buffer: MessageBuffer
  let connection: NATSConnection

  init(
    subject: String, queue: String?, sid: UInt64, buffer: MessageBuffer,
    connection: NATSConnection
  ) {
    self.subject = subject
    self.queue = queue
    self.sid = sid
    self.buffer = buffer
    self.connection = connection
  }

  deinit { connection.dropSubscription(sid) }

  /// Ends the subscription, with `max` after this many messages in total. Buffered messages can still be
  /// read.
  public func unsubscribe(max: Int? = nil) async {
    await connection.unsubscribe(sid, max: max)
  }

  /// The next message; nil after the end. With several concurrent readers, each message goes to one.
  public func next() async throws(NATSError) -> NATSMessage? { try await buffer.next() }

  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(subscription: self) }

  public struct AsyncIterator: AsyncIteratorProtocol {
    let subscription: NATSSubscription

    public mutating func next() async throws(NATSError) -> NATSMessage? {
      try await subscription.buffer.next()
    }

    public mutating func next(isolation actor: isolated (any Actor)?) async throws(NATSError)
      -> NATSMessage?
    {
      try await subscription.buffer.next()
    }
  }
}

/// The buffer between the event loop and a subscription's readers.
final class MessageBuffer: NATSRawHandler, Sendable {
  private typealias Outcome = Result<NATSMessage?, NATSError>

  private struct State {
    var messages = CircularBuffer<(message: NATSMessage, size: Int)>()
    var bytes = 0
    /// How the sequence ends after the buffered messages; set once.
    var end: Outcome?
    var waiters: [(id: UInt64, continuation: CheckedContinuation<Outcome, Never>)] = []
    var nextWaiter: UInt64 = 0
  }

  private let state = Mutex(State())
  private let maximumCount: Int
  private let maximumBytes: Int
  private let subject: String
  private let onOverflow: @Sendable () -> Void

  /// - Parameter onOverflow: called once, on the event loop, if the buffer is full.
  init(
    subject: String, maximumCount: Int, maximumBytes: Int,
    onOverflow: @escaping @Sendable () -> Void
  ) {
    self.onOverflow = onOverflow
    self.subject = subject
    self.maximumCount = maximumCount
    self.maximumBytes = maximumBytes
  }

  func received(_ view: borrowing NATSMessageView) {
    let message = NATSMessage(view)
    let size = view.payload.count + view.headers.count
    let (waiter, overflow) = state.withLock {
      state -> (CheckedContinuation<Outcome, Never>?, Bool) in
      guard state.end == nil else { return (nil, false) }
      if !state.waiters.isEmpty { return (state.waiters.removeFirst().continuation, false) }
      guard state.messages.count < maximumCount, state.bytes + size <= maximumBytes else {
        state.end = .failure(
          NATSError(
            .slowConsumer,
            "the subscription to '\(subject)' ended: \(state.messages.count) messages "
              + "(\(state.bytes) bytes) are buffered; read faster or allow a larger buffer"))
        return (nil, true)
      }
      state.messages.append((message, size))
      state.bytes += size
      return (nil, false)
    }
    waiter?.resume(returning: .success(message))
    if overflow { onOverflow() }
  }

  /// Ends the sequence; nil for a regular end.
  func finish(_ error: NATSError?) {
    let outcome: Outcome = error.map { .failure($0) } ?? .success(nil)
    let waiters = state.withLock { state in
      if state.end == nil { state.end = outcome }
      defer { state.waiters.removeAll() }
      return state.waiters
    }
    for waiter in waiters { waiter.continuation.resume(returning: outcome) }
  }

  func next() async throws(NATSError) -> NATSMessage? {
    let id = state.withLock { state in
      state.nextWaiter += 1
      return state.nextWaiter
    }
    let outcome = await withTaskCancellationHandler {
      await withCheckedContinuation { (continuation: CheckedContinuation<Outcome, Never>) in
        let ready = state.withLock { state -> Outcome? in
          if let (message, size) = state.messages.popFirst() {
            state.bytes -= size
            return .success(message)
          }
          if let end = state.end { return end }
          state.waiters.append((id, continuation))
          return nil
        }
        if let ready {
          continuation.resume(returning: ready)
        } else if Task.isCancelled {
          cancel(id)
        }
      }
    } onCancel: {
      cancel(id)
    }
    return try outcome.get()
  }

  /// A cancelled reader gets nil; buffered messages remain for other readers.
  private func cancel(_ id: UInt64) {
    let waiter = state.withLock { state -> CheckedContinuation<Outcome, Never>? in
      guard let at = state.waiters.firstIndex(where: { $0.id == id }) else { return nil }
      return state.waiters.remove(at: at).continuation
    }
    waiter?.resume(returning: .success(nil))
  }
}
