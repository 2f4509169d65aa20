import Synchronization

/// What was read and is not printed yet: a bounded number of bytes. Who prints slowly makes the streams wait, not
/// the memory grow.
final class TapQueue: Sendable {
  let messages: AsyncStream<TapMessage>
  private let input: AsyncStream<TapMessage>.Continuation
  private let bytes = Mutex(0)

  static let mostBytes = 8 << 20

  init() {
    (messages, input) = AsyncStream.makeStream(of: TapMessage.self)
  }

  /// False: there is no room, and it was not taken. One message always fits.
  func offer(_ message: TapMessage) -> Bool {
    let fits = bytes.withLock { bytes in
      guard bytes == 0 || bytes + message.size <= Self.mostBytes else { return false }
      bytes += message.size
      return true
    }
    if fits { input.yield(message) }
    return fits
  }

  func printed(_ message: TapMessage) { bytes.withLock { $0 -= message.size } }

  var hasRoom: Bool { bytes.withLock { $0 <= Self.mostBytes / 2 } }
}

/// How far a stream was read. It outlives connections, so that another one continues without gap or repetition.
final class TapPlace: Sendable {
  private struct State {
    /// The stream's creation time; nil: it was not there yet.
    var created: String?
    var next: UInt64 = 1
    /// The queue was full: what is delivered now is read again later.
    var isPaused = false
  }
  private let state = Mutex(State())

  /// Where the stream was not there when reading began, or is another one now, reading begins with its first message.
  ///
  /// - Parameter next: where it begins in the stream that was there when the command began.
  /// - Returns: whether it was made again.
  func meet(created: String, first: UInt64, next: UInt64) -> Bool {
    state.withLock { state in
      guard state.created != created else { return false }
      let isAnother = state.created != nil
      state.next = isAnother ? max(first, 1) : next
      state.created = created
      return isAnother
    }
  }

  var created: String? { state.withLock { $0.created } }

  /// Begins to read; the next sequence.
  func resume() -> UInt64 {
    state.withLock { state in
      state.isPaused = false
      return state.next
    }
  }

  /// - Parameter offer: false: the message is not taken, nor is one after it until `resume`.
  /// - Returns: whether to read on.
  func take(_ sequence: UInt64, _ offer: () -> Bool) -> Bool {
    state.withLock { state in
      guard !state.isPaused, sequence >= state.next else { return !state.isPaused }
      guard offer() else {
        state.isPaused = true
        return false
      }
      state.next = sequence + 1
      return true
    }
  }
}
