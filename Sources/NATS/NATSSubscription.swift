internal import NIOCore
import Synchronization

/// The messages of one subscription, as a sequence.
///
/// Messages wait in a bounded buffer. When it is full the subscription ends: what is buffered is
/// still delivered, then the sequence throws `slowConsumer`. Nothing is lost unnoticed.
/// The sequence ends with nil after `unsubscribe` or `drain`, and throws why the connection ended
/// when that was not our doing. Dropping the subscription unsubscribes.
public final class NATSSubscription: AsyncSequence, Sendable {
  public typealias Element = NATSMessage
  public typealias Failure = NATSError

  public let subject: String
  public let queue: String?
  /// The subscription's number on the wire.
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

  /// Ends the subscription; with `max` once so many messages have arrived in all, else now.
  /// Messages that are buffered already can still be read.
  public func unsubscribe(max: Int? = nil) async {
    await connection.unsubscribe(sid, max: max)
  }

  /// The next message; nil after the end. Several tasks may ask, each message goes to one.
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

/// Buffer between the event loop and the tasks that read a subscription.
final class MessageBuffer: NATSRawHandler, Sendable {
  private typealias Outcome = Result<NATSMessage?, NATSError>

  private struct State {
    var messages = CircularBuffer<(message: NATSMessage, size: Int)>()
    var bytes = 0
    /// Set once: how the sequence ends after the buffered messages.
    var end: Outcome?
    var waiters: [(id: UInt64, continuation: CheckedContinuation<Outcome, Never>)] = []
    var nextWaiter: UInt64 = 0
  }

  private let state = Mutex(State())
  private let maximumCount: Int
  private let maximumBytes: Int
  private let subject: String
  private let onOverflow: @Sendable () -> Void

  /// - Parameter onOverflow: called once, on the event loop, when the buffer had no room.
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
              + "(\(state.bytes) bytes) wait to be read; read faster or allow a larger buffer"))
        return (nil, true)
      }
      state.messages.append((message, size))
      state.bytes += size
      return (nil, false)
    }
    waiter?.resume(returning: .success(message))
    if overflow { onOverflow() }
  }

  /// No more messages come; nil for a regular end.
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

  /// A cancelled reader sees the end of the sequence; messages stay for the others.
  private func cancel(_ id: UInt64) {
    let waiter = state.withLock { state -> CheckedContinuation<Outcome, Never>? in
      guard let at = state.waiters.firstIndex(where: { $0.id == id }) else { return nil }
      return state.waiters.remove(at: at).continuation
    }
    waiter?.resume(returning: .success(nil))
  }
}
