#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Reads small files: the configuration and the secrets it names.
enum SmallFile {
  static let limit = 8 << 20

  struct Failure: Error {
    /// Why, in the system's words.
    var reason: String
  }

  static func read(_ path: String) throws(Failure) -> String {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw lastFailure() }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = chunk.withUnsafeMutableBytes { buffer in
        readBytes(descriptor, buffer.baseAddress, buffer.count)
      }
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw lastFailure() }
      if count == 0 { break }
      bytes.append(contentsOf: chunk[..<count])
      guard bytes.count <= limit else { throw Failure(reason: "it is larger than 8 MiB") }
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw Failure(reason: "it is not UTF-8 text")
    }
    return text
  }

  /// Relative paths in a configuration start from its own folder.
  static func resolve(_ path: String, besideFile file: String) -> String {
    guard !path.hasPrefix("/"), let slash = file.lastIndex(of: "/") else { return path }
    return file[...slash] + path
  }

  private static func lastFailure() -> Failure {
    Failure(reason: String(cString: strerror(errno)))
  }
}

/// The C function, under a name that `SmallFile.read` doesn't hide.
private func readBytes(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int)
  -> Int
{
  read(descriptor, buffer, count)
}

extension Section {
  /// `<key>`, or the trimmed content of the file that `<key>_file` names. Both at once, an
  /// unreadable file and an empty secret are problems. Also where it stands.
  func secret(_ key: String) -> (value: String, scalar: ConfigScalar)? {
    let direct = scalar(key)
    let fileKey = "\(key)_file"
    guard let file = scalar(fileKey) else { return direct.map { ($0.text, $0) } }
    if direct != nil {
      problems.add(
        position(of: fileKey), "both \(path(key)) and \(path(fileKey)) are given",
        "keep one of them")
      return nil
    }
    guard let content = content(of: file, key: fileKey) else { return nil }
    var trimmed = content[...]
    while let last = trimmed.last, last.isWhitespace { trimmed.removeLast() }
    while let first = trimmed.first, first.isWhitespace { trimmed.removeFirst() }
    guard !trimmed.isEmpty else {
      problems.add(
        file.position, "the file of \(path(fileKey)) is empty: \(file.text)",
        "write the secret into it")
      return nil
    }
    // Problems of the value are reported where the file is named.
    var place = file
    place.textColumn = nil
    return (String(trimmed), place)
  }

  /// The path of a file that must be readable, resolved.
  func readableFile(_ key: String) -> String? {
    guard let scalar = scalar(key), content(of: scalar, key: key) != nil else { return nil }
    return SmallFile.resolve(scalar.text, besideFile: problems.file)
  }

  private func content(of scalar: ConfigScalar, key: String) -> String? {
    let file = SmallFile.resolve(scalar.text, besideFile: problems.file)
    do {
      return try SmallFile.read(file)
    } catch {
      problems.add(
        scalar.position, "the file of \(path(key)) can't be read: \(file): \(error.reason)",
        "correct the path or its permissions")
      return nil
    }
  }
}
