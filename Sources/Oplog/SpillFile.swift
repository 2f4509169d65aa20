#if canImport(Darwin)
  internal import Darwin
#elseif canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// A temporary file that is written from the front and read through a mapped window. It has no
/// name once it is open, so it is gone with this object, or with the process however that ends.
///
/// Safety invariant: `window` is a mapping of this object's own, read-only, within the file's size;
/// the file never shrinks, and nobody else can reach it. Bytes handed out are used no longer than
/// `bytes` says.
final class SpillFile {
  /// What is mapped at once, unless a single read needs more.
  private static var windowSize: Int { 1 << 20 }

  private let descriptor: Int32
  private let directory: String
  /// Bytes written so far.
  private(set) var size = 0
  private var window: UnsafeMutableRawBufferPointer?
  private var windowStart = 0

  /// Creates it in `directory`; nil: where `TMPDIR` says, or in /tmp.
  init(in directory: String?) throws(OplogError) {
    let directory = directory ?? Self.defaultDirectory
    var path = Array("\(directory)/tailrace-transaction-XXXXXX".utf8CString)
    let descriptor = path.withUnsafeMutableBufferPointer { path -> Int32 in
      guard let name = path.baseAddress else { return -1 }
      let descriptor = mkstemp(name)
      if descriptor >= 0 { unlink(name) }
      return descriptor
    }
    guard descriptor >= 0 else { throw Self.failure("creating it", directory) }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    self.descriptor = descriptor
    self.directory = directory
  }

  deinit {
    unmap()
    close(descriptor)
  }

  private static var defaultDirectory: String {
    guard let value = getenv("TMPDIR"), value.pointee != 0 else { return "/tmp" }
    return String(cString: value)
  }

  /// Of the call that has just failed.
  private static func failure(_ action: String, _ directory: String) -> OplogError {
    let code = errno
    return OplogError(
      .spillFailed(
        directory: directory, detail: "\(action): \(String(cString: strerror(code))) (\(code))"))
  }

  func append(_ bytes: UnsafeRawBufferPointer) throws(OplogError) {
    var written = 0
    while written < bytes.count {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[written...])
      let count = pwrite(descriptor, rest.baseAddress, rest.count, off_t(size + written))
      if count < 0 {
        if errno == EINTR { continue }
        throw Self.failure("writing", directory)
      }
      written += count
    }
    size += written
  }

  /// A part of what was written, valid until the next call.
  func bytes(at offset: Int, count: Int) throws(OplogError) -> UnsafeRawBufferPointer {
    precondition(offset >= 0 && count >= 0 && count <= size - offset)
    if let window, offset >= windowStart, offset - windowStart + count <= window.count {
      return Self.slice(window, offset - windowStart, count)
    }
    unmap()
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let start = offset / page * page
    let length = min(size - start, max(offset - start + count, Self.windowSize))
    let mapped = mmap(nil, length, PROT_READ, MAP_PRIVATE, descriptor, off_t(start))
    guard let mapped, mapped != UnsafeMutableRawPointer(bitPattern: -1) else {
      throw Self.failure("mapping", directory)
    }
    let window = UnsafeMutableRawBufferPointer(start: mapped, count: length)
    self.window = window
    windowStart = start
    return Self.slice(window, offset - start, count)
  }

  private static func slice(
    _ window: UnsafeMutableRawBufferPointer, _ offset: Int, _ count: Int
  ) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: window[offset..<(offset + count)])
  }

  private func unmap() {
    if let window { munmap(window.baseAddress, window.count) }
    window = nil
  }
}
