internal import NIOCore
import Synchronization

/// Protocol lines from any thread that the event loop will write.
///
/// Lines are encoded directly into one buffer, in the order of the calls; the loop takes the whole buffer
/// once per tick and writes it with one flush. The pending bytes are bounded.
final class Outbox: Sendable {
  private struct State {
    var bytes = ByteBuffer()
    /// Whether the loop is already scheduled to take the buffer.
    var scheduled = false
    /// Set once when the connection has ended.
    var ended: NATSError?
    var waiters: [UInt64: CheckedContinuation<Void, Never>] = [:]
    var nextWaiter: UInt64 = 0
  }

  private let state = Mutex(State())
  private let limit: Int

  init(limit: Int) { self.limit = limit }

  /// Appends the protocol lines that `encode` writes.
  ///
  /// - Parameter bounded: throw if too many bytes are pending. False for control lines.
  /// - Returns: whether the event loop must be scheduled.
  func append(bounded: Bool, _ encode: (inout ByteBuffer) -> Void) throws(NATSError) -> Bool {
    try state.withLock { state throws(NATSError) -> Bool in
      if let ended = state.ended { throw ended }
      if bounded, state.bytes.readableBytes >= limit {
        throw NATSError(
          .outboundFull,
          "\(state.bytes.readableBytes) bytes are pending already; await publish instead")
      }
      encode(&state.bytes)
      defer { state.scheduled = true }
      return !state.scheduled
    }
  }

  /// Takes all pending bytes, if any.
  func take() -> ByteBuffer? {
    let (bytes, waiters) = state.withLock { state in
      state.scheduled = false
      var taken = ByteBuffer()
      swap(&taken, &state.bytes)
      let waiters = Array(state.waiters.values)
      state.waiters.removeAll()
      return (taken, waiters)
    }
    for waiter in waiters { waiter.resume() }
    return bytes.readableBytes > 0 ? bytes : nil
  }

  /// Discards pending bytes and fails all further calls with `error`.
  func end(_ error: NATSError) {
    let waiters = state.withLock { state in
      if state.ended == nil { state.ended = error }
      state.bytes = ByteBuffer()
      let waiters = Array(state.waiters.values)
      state.waiters.removeAll()
      return waiters
    }
    for waiter in waiters { waiter.resume() }
  }

  /// Returns when fewer bytes are pending than the limit.
  ///
  /// - Throws: `cancelled`, or the reason why the connection ended.
  func waitForSpace() async throws(NATSError) {
    while true {
      let ready = try state.withLock { state throws(NATSError) -> Bool in
        if let ended = state.ended { throw ended }
        return state.bytes.readableBytes < limit
      }
      if ready { return }
      if Task.isCancelled { throw Self.cancelled }
      let id = state.withLock { state in
        state.nextWaiter += 1
        return state.nextWaiter
      }
      await withTaskCancellationHandler {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
          let registered = state.withLock { state in
            guard state.ended == nil, state.bytes.readableBytes >= limit else { return false }
            state.waiters[id] = continuation
            return true
          }
          if !registered { continuation.resume() }
          // The task may have been cancelled before it was registered, unnoticed by the handler below.
          if registered, Task.isCancelled { release(id) }
        }
      } onCancel: {
        release(id)
      }
    }
  }

  private func release(_ id: UInt64) {
    state.withLock { $0.waiters.removeValue(forKey: id) }?.resume()
  }

  private static let cancelled = NATSError(
    .cancelled, "the task was cancelled while it waited to publish; nothing was sent")
}
