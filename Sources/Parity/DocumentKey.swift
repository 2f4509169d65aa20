public import JSON

/// Which document of which collection a message is about: its namespace and its document key as the
/// message's JSON shows it, in one form for all spellings of values that a server takes for the same
/// `_id` (numbers that are equal, a symbol and a string of the same text).
///
/// Two documents of one collection have different keys in canonical Extended JSON. Simplified JSON
/// leaves types out, so that keys may coincide there: see `mayCoincide`.
public struct DocumentKey: Hashable, Sendable {
  /// Namespace, a zero byte (which no namespace holds), the key.
  private let bytes: [UInt8]
  /// Behind the zero byte.
  private let keyStart: Int
  /// Whether the key holds a value that, without types, may be the text of another one too.
  public let mayCoincide: Bool

  /// - Parameter isTyped: the JSON tells all types apart (canonical Extended JSON).
  public init(namespace: String, key: JSONValue, isTyped: Bool) {
    var form = Form()
    form.bytes.append(contentsOf: namespace.utf8)
    form.bytes.append(0)
    keyStart = form.bytes.count
    form.append(key, isTop: true)
    bytes = form.bytes
    mayCoincide = !isTyped && form.hasUntyped
  }

  private init(
    namespace: some Sequence<UInt8>, identity: ArraySlice<UInt8>, mayCoincide: Bool
  ) {
    var bytes = Array(namespace)
    bytes.append(0)
    keyStart = bytes.count
    bytes.append(contentsOf: identity)
    self.bytes = bytes
    self.mayCoincide = mayCoincide
  }

  public static func == (one: Self, other: Self) -> Bool { one.bytes == other.bytes }

  public func hash(into hasher: inout Hasher) {
    bytes.withUnsafeBytes { hasher.combine(bytes: $0) }
  }

  /// Of the key alone, so that a renamed collection's documents keep theirs. Spread over all 64 bits;
  /// the same in every process.
  public var digest: UInt64 {
    bytes.withUnsafeBytes { MessageDigest(UnsafeRawBufferPointer(rebasing: $0[keyStart...])).low }
  }

  public var byteCount: Int { bytes.count }

  public var namespace: String { String(decoding: namespaceBytes, as: UTF8.self) }

  /// Strings compare by what they look like, names byte by byte.
  var namespaceBytes: ArraySlice<UInt8> { bytes[..<(keyStart - 1)] }

  /// The key without its namespace.
  public var identity: [UInt8] { Array(bytes[keyStart...]) }

  /// The same document in a collection that has another name.
  public func moved(to namespace: some Sequence<UInt8>) -> DocumentKey {
    DocumentKey(namespace: namespace, identity: bytes[keyStart...], mayCoincide: mayCoincide)
  }

  /// For people: numbers as they are written.
  public var description: String {
    guard bytes[keyStart...].contains(UInt8(ascii: "p")) else {
      return "\(namespace) \(String(decoding: bytes[keyStart...], as: UTF8.self))"
    }
    var text = Array(namespaceBytes) + [UInt8(ascii: " ")]
    var token: [UInt8] = []
    var isText = false
    var isEscaped = false
    for byte in bytes[keyStart...] {
      if isText || "\"{}[],:".utf8.contains(byte) {
        text += EqualNumber.readable(token)
        token = []
        text.append(byte)
        if byte == UInt8(ascii: "\""), !isEscaped { isText.toggle() }
        isEscaped = byte == UInt8(ascii: "\\") && !isEscaped
      } else {
        token.append(byte)
      }
    }
    return String(decoding: text + EqualNumber.readable(token), as: UTF8.self)
  }
}

extension DocumentKey: Comparable, CustomStringConvertible {
  public static func < (one: Self, other: Self) -> Bool {
    one.bytes.lexicographicallyPrecedes(other.bytes)
  }
}

extension DocumentKey {
  /// A key as bytes: JSON, but for numbers and symbols.
  private struct Form {
    var bytes: [UInt8] = []
    var hasUntyped = false

    mutating func append(_ value: JSONValue, isTop: Bool = false) {
      switch value {
      case .null, .bool: bytes.append(contentsOf: value.utf8)
      case .number(let digits): append(EqualNumber(json: digits)?.text ?? digits)
      case .string:
        hasUntyped = true
        bytes.append(contentsOf: value.utf8)
      case .array(let list):
        hasUntyped = true
        append("[")
        for (index, element) in list.enumerated() {
          if index > 0 { append(",") }
          append(element)
        }
        append("]")
      case .object(let members):
        if members.count == 1, let member = members.first, appendWrapped(member) { return }
        // The document key itself is a document in every style.
        if !isTop { hasUntyped = true }
        append("{")
        for (index, member) in members.enumerated() {
          if index > 0 { append(",") }
          bytes.append(contentsOf: JSONValue.string(member.key).utf8)
          append(":")
          append(member.value)
        }
        append("}")
      }
    }

    /// Numbers and symbols of Extended JSON; false for anything else.
    private mutating func appendWrapped(_ member: JSONValue.Member) -> Bool {
      guard let text = member.value.stringValue else { return false }
      switch member.key {
      case "$numberInt", "$numberLong", "$numberDouble":
        guard let number = EqualNumber(json: text) else { return false }
        append(number.text)
      case "$numberDecimal":
        guard let number = EqualNumber(decimal: text) else { return false }
        append(number.text)
      case "$symbol": bytes.append(contentsOf: member.value.utf8)
      default: return false
      }
      return true
    }

    private mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }
  }
}
