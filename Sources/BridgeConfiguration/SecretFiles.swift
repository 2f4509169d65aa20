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
    enum Kind { case missing, folder, forbidden, special, large, encoding, other }

    var kind: Kind
    /// The system's reason.
    var reason: String
    /// The offset at which the text is not UTF-8; else 0.
    var line = 0
    var column = 0

    /// A sentence.
    func remedy(missing: String) -> String {
      switch kind {
      case .missing: missing
      case .folder: "Name a file in that folder."
      case .forbidden: "Let the user who runs tailrace read it: file, and folders above it."
      case .special: "Name a regular file; a configuration may also come through a pipe: -c -."
      case .large: "Name the right file: no file of this kind has more than 8 MiB."
      case .encoding: "Save it as UTF-8."
      case .other: "See that it is a file that can be read."
      }
    }
  }

  static func read(_ path: String) throws(Failure) -> String {
    // Neither a pipe nor a terminal may wait for somebody who writes, least of all during a reconnect.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw lastFailure() }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw lastFailure() }
    guard status.st_mode & S_IFMT != S_IFIFO else {
      throw Failure(kind: .special, reason: "it is a pipe, not a regular file")
    }
    return try read(descriptor)
  }

  /// Standard input to its end.
  static func readInput() throws(Failure) -> String { try read(STDIN_FILENO) }

  private static func read(_ descriptor: Int32) throws(Failure) -> String {
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
      guard bytes.count <= limit else {
        throw Failure(kind: .large, reason: "it is larger than 8 MiB")
      }
    }
    guard let text = String(validating: bytes, as: UTF8.self) else { throw noText(bytes) }
    return text
  }

  /// The offset of the first byte that is invalid in UTF-8.
  private static func noText(_ bytes: [UInt8]) -> Failure {
    if bytes.starts(with: [0xFF, 0xFE]) || bytes.starts(with: [0xFE, 0xFF]) {
      return Failure(kind: .encoding, reason: "it is UTF-16, not UTF-8 text", line: 1, column: 1)
    }
    var decoder = UTF8()
    var rest = bytes.makeIterator()
    var line = 1
    var column = 1
    decoding: while true {
      switch decoder.decode(&rest) {
      case .scalarValue("\n"):
        line += 1
        column = 1
      case .scalarValue: column += 1
      case .emptyInput, .error: break decoding
      }
    }
    return Failure(
      kind: .encoding, reason: "it is not UTF-8 text (line \(line), column \(column))", line: line,
      column: column)
  }

  /// Relative paths in a configuration start from its own folder.
  static func resolve(_ path: String, besideFile file: String) -> String {
    guard !path.hasPrefix("/"), let slash = file.lastIndex(of: "/") else { return path }
    return file[...slash] + path
  }

  private static func lastFailure() -> Failure {
    let code = errno
    let kind: Failure.Kind
    switch code {
    case ENOENT, ENOTDIR, ENAMETOOLONG: kind = .missing
    // A socket can't be opened.
    case ENXIO: kind = .special
    case EISDIR: kind = .folder
    case EACCES, EPERM: kind = .forbidden
    default: kind = .other
    }
    return Failure(kind: kind, reason: String(cString: strerror(code)))
  }
}

/// The C function, under a name that `SmallFile.read` doesn't hide.
private func readBytes(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int)
  -> Int
{
  read(descriptor, buffer, count)
}

/// Why a file gives no secret. Never includes its content.
public struct SecretFileError: Error, Sendable, CustomStringConvertible {
  public let file: String
  /// The problem, such as `it is empty`.
  public let reason: String

  public var description: String { "the file \(file) can't be used: \(reason)" }
}

/// Files that hold one secret each.
public enum SecretFile {
  /// The content, without a byte order mark and without white space around it.
  public static func read(_ path: String) throws(SecretFileError) -> String {
    let text: String
    do {
      text = try SmallFile.read(path)
    } catch {
      throw SecretFileError(file: path, reason: error.reason)
    }
    guard let secret = secret(in: text) else {
      throw SecretFileError(file: path, reason: "it is empty")
    }
    return secret
  }

  /// Nil if there is only white space.
  static func secret(in text: String) -> String? {
    var rest = text.unicodeScalars[...]
    if rest.first == "\u{FEFF}" { rest.removeFirst() }
    while let last = rest.last, last.properties.isWhitespace { rest.removeLast() }
    while let first = rest.first, first.properties.isWhitespace { rest.removeFirst() }
    return rest.isEmpty ? nil : String(rest)
  }
}

extension Section {
  /// `<key>`, or the trimmed content of the file that `<key>_file` names. Both at once, an
  /// unreadable file and an empty secret are problems. Also returns its position.
  func secret(_ key: String) -> (value: String, scalar: ConfigScalar, secret: Secret)? {
    let direct = scalar(key)
    let fileKey = "\(key)_file"
    guard let file = scalar(fileKey) else {
      return direct.map { ($0.text, $0, Secret($0.text)) }
    }
    if direct != nil {
      problems.add(
        position(of: fileKey), "both \(path(key)) and \(path(fileKey)) are given",
        "keep one of them")
      return nil
    }
    guard let content = content(of: file, key: fileKey, hidden: true) else { return nil }
    guard let text = SecretFile.secret(in: content) else {
      problems.add(
        file.position, "the file of \(path(fileKey)) is empty: \(file.text)",
        "write the secret into it")
      return nil
    }
    // Problems of the value are reported where the file is named.
    var place = file
    place.textColumn = nil
    return (
      text, place,
      Secret(text, file: SmallFile.resolve(file.text, besideFile: problems.file))
    )
  }

  /// The path of a file that must be readable, resolved.
  /// - Parameter hidden: it holds a secret, which people also write in place of the path.
  func readableFile(_ key: String, hidden: Bool = false) -> String? {
    guard let scalar = scalar(key), content(of: scalar, key: key, hidden: hidden) != nil else {
      return nil
    }
    return SmallFile.resolve(scalar.text, besideFile: problems.file)
  }

  private func content(of scalar: ConfigScalar, key: String, hidden: Bool) -> String? {
    let file = SmallFile.resolve(scalar.text, besideFile: problems.file)
    do {
      return try SmallFile.read(file)
    } catch {
      guard hidden, error.kind == .missing else {
        problems.add(
          scalar.position, "the file of \(path(key)) can't be read: \(file): \(error.reason)",
          error.remedy(
            missing: "correct the path; relative ones start from the configuration's folder"))
        return nil
      }
      // A text that names no file may be the secret itself.
      let direct = key.hasSuffix("_file") ? String(key.dropLast(5)) : ""
      let isKey = known(direct)
      problems.add(
        scalar.position, "the file of \(path(key)) can't be read: \(error.reason)",
        "correct the path (relative ones start from the configuration's folder)"
          + (isKey ? "; if this is the secret itself, write it as \(direct)" : ""))
      return nil
    }
  }
}
