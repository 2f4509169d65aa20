import Foundation

/// A file for a command's results. Anything but a regular file (a device, a pipe) is written to directly, and
/// never replaced by a file.
public struct ResultFile: ~Copyable, Sendable {
  /// Why results could not be written: the path, and the system's reason.
  public struct Failure: Error, CustomStringConvertible {
    public let path: String
    public let reason: String
    public var description: String { "\(path) can't be written: \(reason)" }

    init(_ path: String, _ code: Int32) {
      self.path = path
      reason = String(cString: strerror(code))
    }
  }

  private let path: String
  private let descriptor: Int32

  /// Creates or opens the file, to overwrite it or to append to it.
  public init(_ path: String, appending: Bool = false) throws(Failure) {
    let flags = O_WRONLY | O_CREAT | O_CLOEXEC | (appending ? O_APPEND : O_TRUNC)
    let descriptor = open(path, flags, 0o644)
    guard descriptor >= 0 else { throw Failure(path, errno) }
    self.path = path
    self.descriptor = descriptor
  }

  deinit { _ = Foundation.close(descriptor) }

  /// Appends all of it.
  public func append(_ text: String) throws(Failure) {
    var left = Array(text.utf8)[...]
    while !left.isEmpty {
      let count = left.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
      if count > 0 {
        left = left.dropFirst(count)
      } else if errno != EINTR {
        throw Failure(path, errno)
      }
    }
  }

  /// Writes all of it to the disk.
  private func synchronize() throws(Failure) {
    guard fsync(descriptor) == 0 else { throw Failure(path, errno) }
  }

  /// Writes the whole file.
  public static func write(_ text: String, to path: String) throws(Failure) {
    try ResultFile(path).append(text)
  }

  /// Replaces the file atomically.
  public static func replace(_ path: String, with text: String) throws(Failure) {
    let attributes = try? FileManager.default.attributesOfItem(atPath: path)
    if let type = attributes?[.type] as? FileAttributeType, type != .typeRegular {
      return try write(text, to: path)
    }
    let temporary = "\(path).\(getpid()).tmp"
    do throws(Failure) {
      let file = try ResultFile(temporary)
      try file.append(text)
      try file.synchronize()
    } catch {
      unlink(temporary)
      throw error
    }
    guard rename(temporary, path) == 0 else {
      let code = errno
      unlink(temporary)
      throw Failure(path, code)
    }
  }
}
