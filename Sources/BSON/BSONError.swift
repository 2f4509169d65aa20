/// Invalid BSON: what is wrong, and where.
public struct BSONError: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Reason: Equatable, Sendable {
    /// A length field is negative, too small, or doesn't fit its surroundings.
    case badLength(Int64)
    /// The final NUL of a document, string or key is missing.
    case missingTerminator
    /// A type byte that is not in the BSON specification.
    case unknownType(UInt8)
    /// The bytes end inside a value.
    case truncated
    /// A boolean that is neither 0 nor 1.
    case badBoolean(UInt8)
    /// Text that is not UTF-8.
    case invalidUTF8
    /// Nested more than `BSONView.maximumDepth` deep.
    case tooDeep
  }

  public var reason: Reason
  /// Byte offset in the argument of the failed call: the outermost view, or the text or value.
  public var offset: Int

  public init(_ reason: Reason, at offset: Int) {
    self.reason = reason
    self.offset = offset
  }

  public var description: String {
    let what =
      switch reason {
      case .badLength(let n): "length \(n) does not fit the bytes around it"
      case .missingTerminator: "a terminating NUL byte is missing"
      case .unknownType(let t): "unknown BSON type 0x\(String(t, radix: 16))"
      case .truncated: "the bytes end inside a value"
      case .badBoolean(let b): "a boolean is \(b), not 0 or 1"
      case .invalidUTF8: "text is not valid UTF-8"
      case .tooDeep: "documents are nested more than \(BSONView.maximumDepth) deep"
      }
    return "corrupt BSON at byte \(offset): \(what)"
  }

  /// The same error with its offset relative to a document in which the bytes start at `origin`.
  func moved(by origin: Int) -> BSONError { BSONError(reason, at: offset + origin) }
}
