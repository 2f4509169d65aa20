import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Standard error, to which writes may fail at any time: the disk is full, the reader is gone or doesn't read,
/// it is closed. A line that can't be written is dropped and counted; nothing waits for it or fails because of
/// it. Thread-safe.
public enum StandardError {
  private struct State {
    /// A line was cut short: the next one begins on a line of its own.
    var isCut = false
    /// The last line could not be written, so the next one doesn't wait.
    var isStuck = false
  }

  private static let state = Mutex(State())
  private static let lines = Atomic<UInt64>(0)

  /// Lines dropped since the process began.
  public static var dropped: UInt64 { lines.load(ordering: .relaxed) }

  /// Writes a whole line, with its line end.
  public static func write(_ line: String) {
    let written = state.withLock { state in
      var bytes = Array(line.utf8)
      if state.isCut { bytes.insert(0x0A, at: 0) }
      let count = write(bytes, waiting: state.isStuck ? .zero : .milliseconds(50))
      state.isStuck = count < bytes.count
      if count > 0 { state.isCut = count < bytes.count }
      return count == bytes.count
    }
    if !written { lines.add(1, ordering: .relaxed) }
  }

  /// What a pipe accepts without blocking once it has any room.
  private static let piece = 4096

  /// - Parameter patience: how long to wait for room, in all.
  /// - Returns: how many bytes were written.
  private static func write(_ bytes: [UInt8], waiting patience: Duration) -> Int {
    let deadline = ContinuousClock.now + patience
    var written = 0
    while written < bytes.count {
      let left = max((deadline - .now).components.attoseconds / 1_000_000_000_000_000, 0)
      var descriptor = pollfd(fd: STDERR_FILENO, events: Int16(POLLOUT), revents: 0)
      let ready = poll(&descriptor, 1, Int32(left))
      if ready < 0, errno == EINTR { continue }
      guard ready > 0 else { return written }
      let count = bytes.withUnsafeBytes { buffer in
        put(UnsafeRawBufferPointer(rebasing: buffer[written...].prefix(piece)))
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return written }
      written += count
    }
    return written
  }

  /// A socket, as systemd's journal gives, would wait in spite of `poll`.
  private static func put(_ bytes: UnsafeRawBufferPointer) -> Int {
    let sent = send(
      STDERR_FILENO, bytes.baseAddress, bytes.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
    guard sent < 0, errno == ENOTSOCK else { return sent }
    return putBytes(STDERR_FILENO, bytes.baseAddress, bytes.count)
  }
}

/// The C function, under a name that `StandardError.write` doesn't hide.
private func putBytes(_ descriptor: Int32, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int {
  write(descriptor, bytes, count)
}
