/// A partition of all documents, by the lowest bits of their keys' digests, or a set of given documents.
/// Independent of the namespace, so a rename moves no document to another part.
public struct DocumentPart: Sendable {
  public private(set) var value: UInt64
  public private(set) var bits: Int
  /// By `DocumentKey.identity`; nil: all.
  private let identities: Set<[UInt8]>?

  public init(keys: (some Sequence<DocumentKey>)? = [DocumentKey]?.none) {
    value = 0
    bits = 0
    identities = keys.map { Set($0.map(\.identity)) }
  }

  private init(value: UInt64, bits: Int) {
    self.value = value
    self.bits = bits
    identities = nil
  }

  /// 2^`bits` parts that together contain all documents.
  public static func all(bits: Int) -> [DocumentPart] {
    (0..<UInt64(1) << UInt64(bits)).map { DocumentPart(value: $0, bits: bits) }
  }

  public func contains(_ key: DocumentKey) -> Bool {
    guard key.digest & (UInt64(1) << UInt64(bits) - 1) == value else { return false }
    return identities?.contains(key.identity) ?? true
  }

  /// Halves this part and returns the other half.
  public mutating func halve() -> DocumentPart {
    var other = self
    other.value |= UInt64(1) << UInt64(bits)
    bits += 1
    other.bits = bits
    return other
  }
}
