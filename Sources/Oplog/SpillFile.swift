#if canImport(Darwin)
  internal import Darwin
#elseif canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// A temporary file that is appended to and read through a mapped window. It is unlinked as soon as it
/// is open, so it disappears with this object or with the process.
///
/// Safety invariant: `window` is this object's own read-only mapping within the file's size. The file
/// never shrinks and no one else can open it, so its bytes stay valid until the window is unmapped: by
/// the next `bytes(at:count:)` or in `deinit`. Callers don't use the bytes longer than that.
final class SpillFile {
  /// The size of the window, unless a single read needs more.
  private static var windowSize: Int { 1 << 20 }

  private let descriptor: Int32
  private let directory: String
  /// Bytes written so far.
  private(set) var size = 0
  private var window: UnsafeMutableRawBufferPointer?
  private var windowStart = 0

  /// Creates the file in `directory`; nil: `TMPDIR`, or /tmp.
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

  /// Describes `errno` of the last call.
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

  /// A range of the written bytes, valid until the next call.
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
