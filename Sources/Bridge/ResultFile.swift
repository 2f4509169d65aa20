import Foundation

/// A file for a command's results.
///
/// It is written beside its path and takes the path's place complete, so that no reader sees half of it. Results
/// may hold documents: a new file is its owner's alone. Symbolic links are refused, since whoever may write to the
/// folder could lead them anywhere. What is no regular file (a device, a pipe, `/dev/stdout`) is written to
/// directly, and never replaced.
public struct ResultFile: ~Copyable, Sendable {
  /// Why results could not be written: the path, and the reason.
  public struct Failure: Error, CustomStringConvertible {
    public let path: String
    public let reason: String
    public var description: String { "\(path) can't be written: \(reason)" }

    init(_ path: String, reason: String) {
      self.path = path
      self.reason = reason
    }

    init(_ path: String, _ code: Int32) {
      self.init(path, reason: String(cString: strerror(code)))
    }
  }

  /// Who may read a new file. A file that is replaced keeps its own permissions, if it is this user's.
  public enum Readers: Sendable {
    /// The owner: for what may hold documents.
    case owner
    /// Whoever the umask permits.
    case everyone

    fileprivate var mode: mode_t { self == .owner ? 0o600 : 0o666 }
  }

  private let path: String
  private let descriptor: Int32

  /// A file that grows by lines, and can be read meanwhile. What was there is replaced, or added to.
  public init(_ path: String, appending: Bool = false) throws(Failure) {
    self.path = path
    switch try Place(path) {
    case .directly(let descriptor): self.descriptor = descriptor
    case .file where appending:
      let flags = O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC
      let descriptor = open(path, flags)
      guard descriptor >= 0 else { throw Failure(path, errno) }
      self.descriptor = descriptor
    case .file(let mode): descriptor = try Self.started(path, mode).renamed()
    case .nothing: descriptor = try Self.started(path, Readers.owner.mode).renamed()
    }
  }

  deinit { _ = Foundation.close(descriptor) }

  /// Appends all of it.
  public func append(_ text: String) throws(Failure) {
    try Self.write(Array(text.utf8), to: descriptor, path)
  }

  /// Writes the whole file.
  public static func replace(
    _ path: String, with text: String, for readers: Readers = .owner
  ) throws(Failure) {
    try replace(path, with: Array(text.utf8), for: readers)
  }

  /// Writes the whole file.
  public static func replace(
    _ path: String, with bytes: [UInt8], for readers: Readers = .owner
  ) throws(Failure) {
    let mode: mode_t?
    switch try Place(path) {
    case .directly(let descriptor):
      defer { _ = Foundation.close(descriptor) }
      return try write(bytes, to: descriptor, path)
    case .file(let kept): mode = kept
    case .nothing: mode = nil
    }
    let started = try started(path, mode ?? readers.mode, exactly: mode != nil)
    defer { _ = Foundation.close(started.descriptor) }
    do throws(Failure) {
      try write(bytes, to: started.descriptor, path)
      guard fsync(started.descriptor) == 0 else { throw Failure(path, errno) }
    } catch {
      unlink(started.temporary)
      throw error
    }
    _ = try started.renamed()
  }

  /// A file beside the path, which nobody else has made.
  private struct Started {
    let path: String
    let temporary: String
    let descriptor: Int32

    /// Gives it the path. Returns the descriptor, which stays open.
    func renamed() throws(Failure) -> Int32 {
      guard rename(temporary, path) == 0 else {
        let code = errno
        unlink(temporary)
        _ = Foundation.close(descriptor)
        throw Failure(path, code)
      }
      return descriptor
    }
  }

  /// - Parameter exactly: whatever the umask.
  private static func started(
    _ path: String, _ mode: mode_t, exactly: Bool = true
  ) throws(Failure) -> Started {
    let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
    for _ in 0..<16 {
      let temporary = "\(path).\(String(UInt64.random(in: 0 ... .max), radix: 36)).tmp"
      let descriptor = open(temporary, flags, mode)
      if descriptor < 0, errno == EEXIST { continue }
      guard descriptor >= 0 else { throw Failure(path, errno) }
      if exactly { _ = fchmod(descriptor, mode) }
      return Started(path: path, temporary: temporary, descriptor: descriptor)
    }
    throw Failure(path, EEXIST)
  }

  private static func write(
    _ bytes: [UInt8], to descriptor: Int32, _ path: String
  ) throws(Failure) {
    var left = bytes[...]
    while !left.isEmpty {
      let count = left.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
      if count > 0 {
        left = left.dropFirst(count)
      } else if errno != EINTR {
        throw Failure(path, errno)
      }
    }
  }
}

extension ResultFile {
  /// What a path leads to.
  private enum Place {
    case nothing
    /// A regular file. Its permissions, if it is this user's, else the owner's alone.
    case file(mode_t)
    /// Something that is written to as it is; open.
    case directly(Int32)

    init(_ path: String) throws(Failure) {
      // These are links, on some systems to a regular file.
      if let own = Self.standard(path) {
        let descriptor = dup(own)
        guard descriptor >= 0 else { throw Failure(path, errno) }
        self = .directly(descriptor)
        return
      }
      var found = stat()
      guard lstat(path, &found) == 0 else {
        guard errno == ENOENT else { throw Failure(path, errno) }
        self = .nothing
        return
      }
      switch found.st_mode & S_IFMT {
      case S_IFREG:
        self = .file(found.st_uid == geteuid() ? found.st_mode & 0o777 : Readers.owner.mode)
      case S_IFLNK:
        throw Failure(path, reason: "it is a symbolic link; name the file itself")
      case S_IFDIR: throw Failure(path, EISDIR)
      default:
        let descriptor = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure(path, errno) }
        self = .directly(descriptor)
      }
    }

    /// The descriptor that a path stands for.
    private static func standard(_ path: String) -> Int32? {
      switch path {
      case "/dev/stdout": STDOUT_FILENO
      case "/dev/stderr": STDERR_FILENO
      case _ where path.hasPrefix("/dev/fd/"): Int32(path.dropFirst("/dev/fd/".count))
      default: nil
      }
    }
  }
}
