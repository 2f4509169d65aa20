/// What is wrong with a run of bytes that should be BSON, and where.
public struct BSONError: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Reason: Equatable, Sendable {
    /// A length field is negative, too small, or does not fit the bytes that hold it.
    case badLength(Int64)
    /// The closing NUL of a document, string or key is missing.
    case missingTerminator
    /// A type byte that the BSON specification doesn't know.
    case unknownType(UInt8)
    /// The bytes end inside a value.
    case truncated
    /// A boolean that is neither 0 nor 1.
    case badBoolean(UInt8)
    /// Text that is not UTF-8.
    case invalidUTF8
    /// More than `BSONView.maximumDepth` documents inside each other.
    case tooDeep
  }

  public var reason: Reason
  /// Byte offset from the start of what was being read: the view (the outermost one, where a call
  /// goes into nested documents), or the text or value where a call takes only that.
  public var offset: Int

  public init(_ reason: Reason, at offset: Int) {
    self.reason = reason
    self.offset = offset
  }

  public var description: String {
    let what =
      switch reason {
      case .badLength(let n): "length \(n) does not fit the bytes around it"
      case .missingTerminator: "a closing NUL byte is missing"
      case .unknownType(let t): "unknown BSON type 0x\(String(t, radix: 16))"
      case .truncated: "the bytes end inside a value"
      case .badBoolean(let b): "a boolean holds \(b), not 0 or 1"
      case .invalidUTF8: "text is not valid UTF-8"
      case .tooDeep: "documents are nested more than \(BSONView.maximumDepth) deep"
      }
    return "corrupt BSON at byte \(offset): \(what)"
  }

  /// The same error, seen from a document in which the bytes read start at `origin`.
  func moved(by origin: Int) -> BSONError { BSONError(reason, at: offset + origin) }
}
