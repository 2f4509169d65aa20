public import JSON

/// Identifies a message's document: its namespace and its document key from the message's JSON, in a
/// canonical form for all values that a server treats as the same `_id` (equal numbers, a symbol and a
/// string with the same text).
///
/// In canonical Extended JSON, two documents of a collection have different keys. Simplified JSON omits
/// types, so keys may collide; see `mayCoincide`.
public struct DocumentKey: Hashable, Sendable {
  /// Namespace, NUL (which no namespace contains), key.
  private let bytes: [UInt8]
  /// After the NUL.
  private let keyStart: Int
  /// Whether the key has a value without type that another value may share.
  public let mayCoincide: Bool

  /// - Parameter isTyped: the JSON preserves all types (canonical Extended JSON).
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

  /// A digest of the key without the namespace, so a rename doesn't change it. Uniform over 64 bits and
  /// the same in every process.
  public var digest: UInt64 {
    bytes.withUnsafeBytes { MessageDigest(UnsafeRawBufferPointer(rebasing: $0[keyStart...])).low }
  }

  public var byteCount: Int { bytes.count }

  public var namespace: String { String(decoding: namespaceBytes, as: UTF8.self) }

  /// Bytes, since `String` comparison ignores how characters are composed.
  var namespaceBytes: ArraySlice<UInt8> { bytes[..<(keyStart - 1)] }

  /// The key without its namespace.
  public var identity: [UInt8] { Array(bytes[keyStart...]) }

  /// The same document under another namespace.
  public func moved(to namespace: some Sequence<UInt8>) -> DocumentKey {
    DocumentKey(namespace: namespace, identity: bytes[keyStart...], mayCoincide: mayCoincide)
  }

  /// With readable numbers.
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
  /// The canonical form of a key: JSON, except for numbers and symbols.
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
