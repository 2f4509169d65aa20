public import NIOCore

/// The headers of a message: ordered, with duplicates, and with case-sensitive names as in the server
/// (`Nats-Msg-Id` is not `nats-msg-id`).
public struct NATSHeaders: Sendable, Hashable, RandomAccessCollection {
  public struct Field: Sendable, Hashable {
    public var name: String
    public var value: String
    public init(name: String, value: String) {
      self.name = name
      self.value = value
    }
  }

  private var fields: [Field] = []
  /// The status in the first line (503 no responders, 404, 408…).
  public private(set) var status: Int?
  public private(set) var statusDescription: String?

  public init() {}

  public init(_ fields: KeyValuePairs<String, String>) {
    self.fields = fields.map { Field(name: $0.key, value: $0.value) }
  }

  /// The first value of that name. Setting replaces all values of the name, at the position of the first,
  /// or appends one; setting nil removes them.
  public subscript(name: String) -> String? {
    get { fields.first { $0.name == name }?.value }
    set {
      guard let newValue else {
        fields.removeAll { $0.name == name }
        return
      }
      guard let at = fields.firstIndex(where: { $0.name == name }) else {
        append(name, newValue)
        return
      }
      fields[at].value = newValue
      var index = 0
      fields.removeAll { field in
        defer { index += 1 }
        return index > at && field.name == name
      }
    }
  }

  /// All values of that name, in order.
  public func values(_ name: String) -> [String] {
    fields.compactMap { $0.name == name ? $0.value : nil }
  }

  public mutating func append(_ name: String, _ value: String) {
    fields.append(Field(name: name, value: value))
  }

  public var startIndex: Int { 0 }
  public var endIndex: Int { fields.count }
  public subscript(position: Int) -> Field { fields[position] }
}

extension NATSHeaders: ExpressibleByDictionaryLiteral {
  public init(dictionaryLiteral elements: (String, String)...) {
    fields = elements.map { Field(name: $0.0, value: $0.1) }
  }
}

// MARK: - The wire

extension NATSHeaders {
  static let version: StaticString = "NATS/1.0"

  /// Reads a header block, from `NATS/1.0` to its empty line. White space around values is removed; lines
  /// without a colon, which servers don't reject, are skipped.
  ///
  /// - Returns: nil if the block doesn't start with `NATS/1.0`.
  public init?(parsing bytes: UnsafeRawBufferPointer) {
    guard let rest = Self.afterVersion(bytes) else { return nil }
    var first = true
    var at = rest
    while at < bytes.count {
      var end = at
      while end < bytes.count, bytes[end] != 0x0A { end += 1 }
      var line = bytes[at..<end]
      if line.last == 0x0D { line.removeLast() }
      at = end + 1
      if first {
        first = false
        (status, statusDescription) = Self.statusLine(line)
      } else if let colon = line.firstIndex(of: UInt8(ascii: ":")), colon > line.startIndex {
        fields.append(
          Field(
            name: String(decoding: line[..<colon], as: UTF8.self),
            value: String(decoding: trimmed(line[(colon + 1)...]), as: UTF8.self)))
      }
    }
  }

  /// Reads only the status in the first line.
  @inlinable
  public static func status(of bytes: UnsafeRawBufferPointer) -> Int? {
    // NATS/1.0 503
    guard bytes.count >= 12, bytes[8] == 0x20 else { return nil }
    var value = 0
    for i in 9..<12 {
      let digit = bytes[i] &- 48
      guard digit <= 9 else { return nil }
      value = value &* 10 &+ Int(digit)
    }
    if bytes.count > 12, bytes[12] != 0x20, bytes[12] != 0x0D { return nil }
    return value
  }

  /// The size of the block that `encode` writes.
  public var encodedLength: Int {
    // Version, two line ends, and ": " and a line end per field.
    fields.reduce(12) { $0 + $1.name.utf8.count + $1.value.utf8.count + 4 }
  }

  /// Writes the block, from `NATS/1.0` to its empty line, without a status: only servers set it.
  public func encode(into buffer: inout ByteBuffer) {
    buffer.writeStaticString(Self.version)
    buffer.writeStaticString("\r\n")
    for field in fields {
      buffer.writeString(field.name)
      buffer.writeStaticString(": ")
      buffer.writeString(field.value)
      buffer.writeStaticString("\r\n")
    }
    buffer.writeStaticString("\r\n")
  }

  /// - Throws: `invalidHeader` if a name or value can't be encoded.
  func validate() throws(NATSError) {
    for field in fields {
      let name = field.name.utf8
      guard !name.isEmpty, name.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: ":") })
      else {
        throw NATSError(
          .invalidHeader,
          "the header name '\(field.name)' must be printable ASCII without spaces and colons")
      }
      guard !field.value.utf8.contains(where: { $0 == 0x0A || $0 == 0x0D }) else {
        throw NATSError(.invalidHeader, "the header \(field.name) has a line end in its value")
      }
    }
  }

  private static func afterVersion(_ bytes: UnsafeRawBufferPointer) -> Int? {
    let length = version.utf8CodeUnitCount
    guard bytes.count >= length else { return nil }
    for i in 0..<length where bytes[i] != version.utf8Start[i] { return nil }
    return length
  }

  private static func statusLine(_ line: Slice<UnsafeRawBufferPointer>) -> (Int?, String?) {
    let text = trimmed(line)
    let digits = text.prefix { $0 > 0x20 }
    guard digits.count == 3, let status = Int(String(decoding: digits, as: UTF8.self)) else {
      return (nil, nil)
    }
    let rest = trimmed(text[digits.endIndex...])
    return (status, rest.isEmpty ? nil : String(decoding: rest, as: UTF8.self))
  }
}

private func trimmed(_ bytes: Slice<UnsafeRawBufferPointer>) -> Slice<UnsafeRawBufferPointer> {
  var bytes = bytes
  while let c = bytes.first, c == 0x20 || c == 0x09 { bytes.removeFirst() }
  while let c = bytes.last, c == 0x20 || c == 0x09 { bytes.removeLast() }
  return bytes
}
