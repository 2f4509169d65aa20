/// Which documents are folded at a time: those whose keys' digests end with certain bits, or certain
/// ones of them. A collection's name does not count, so that renaming it moves no document elsewhere.
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

  /// 2^`bits` parts that are everything together.
  public static func all(bits: Int) -> [DocumentPart] {
    (0..<UInt64(1) << UInt64(bits)).map { DocumentPart(value: $0, bits: bits) }
  }

  public func contains(_ key: DocumentKey) -> Bool {
    guard key.digest & (UInt64(1) << UInt64(bits) - 1) == value else { return false }
    return identities?.contains(key.identity) ?? true
  }

  /// Halves it; the other half.
  mutating func halve() -> DocumentPart {
    var other = self
    other.value |= UInt64(1) << UInt64(bits)
    bits += 1
    other.bits = bits
    return other
  }
}
