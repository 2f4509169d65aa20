extension BSONView {
  /// Whether canonical Extended JSON is lossless for this document: reading it yields these exact bytes.
  /// It isn't for documents that look like wrappers (`{"$oid": …}`), and for values that BSON can encode
  /// in several ways.
  ///
  /// - Throws: if the BSON is invalid. Text is not validated; the JSON writer does that.
  public func isExactInExtendedJSON() throws(BSONError) -> Bool {
    try isExact(isArray: false, depth: 1)
  }

  private func isExact(isArray: Bool, depth: Int) throws(BSONError) -> Bool {
    guard depth <= Self.maximumDepth else { throw BSONError(.tooDeep, at: 0) }
    var index: Int64 = 0
    var digits = ByteWriter(capacity: isArray ? 24 : 0)
    var walk = elements()
    while let element = try walk.next() {
      if isArray {
        digits.removeAll()
        digits.append(decimal: index)
        guard element.key.equals(digits.bytes) else { return false }
        index += 1
      } else if ExtendedJSONReader.isReserved(element.key) {
        return false
      }
      if let inner = element.document {
        guard try inner.isExact(isArray: element.type == .array, depth: depth + 1) else {
          return false
        }
      } else if let scope = element.codeWithScope?.scope {
        guard try scope.isExact(isArray: false, depth: depth + 1) else { return false }
      } else if !element.isExactInExtendedJSON {
        return false
      }
    }
    return true
  }
}

extension BSONElement {
  /// For values that contain no document.
  fileprivate var isExactInExtendedJSON: Bool {
    switch type {
    case .double:
      let double = value.readDouble(at: 0)
      return !double.isNaN || double.bitPattern == Double.nan.bitPattern
    case .decimal128:
      var text = ByteWriter(capacity: 48)
      text.appendDecimal128(value)
      guard let bits = decimal128 else { return false }
      let read = Decimal128Bits(parsing: String(decoding: text.bytes, as: UTF8.self))
      return read.map { $0.high == bits.high && $0.low == bits.low } ?? false
    case .binary:
      // Reading would add the inner length of subtype 2 if it is missing or wrong.
      return value.readByte(at: 4) != 2
        || (value.count >= 9 && Int(value.readInt32(at: 5)) == value.count &- 9)
    case .regex:
      guard let options = regex?.options else { return false }
      return zip(options, options.dropFirst()).allSatisfy { $0 <= $1 }
    case .bool: return value.readByte(at: 0) <= 1
    default: return true
    }
  }
}
