import JSON

/// A hash of a value's JSON, the same in every run: the cost of validation must not depend on chance. Equal
/// values have equal hashes, even if their BSON types differ.
struct StableHash {
  private(set) var value: UInt64 = 0x9E37_79B9_7F4A_7C15

  static let nullMark: UInt64 = 2
  static let arrayMark: UInt64 = 3
  static let objectMark: UInt64 = 4
  static func mark(_ flag: Bool) -> UInt64 { flag ? 1 : 0 }

  @inline(__always)
  mutating func combine(_ word: UInt64) {
    let product = (value ^ word).multipliedFullWidth(by: 0xD6E8_FEB8_6659_FD93)
    value = product.high ^ product.low &+ 0x2545_F491_4F6C_DD1D
  }

  @inline(__always)
  mutating func combine(number: Double) {
    // Zeros are equal regardless of their sign.
    combine(number == 0 ? 5 : number.bitPattern)
  }

  @inline(__always)
  mutating func combine(text: UnsafeRawBufferPointer) {
    combine(UInt64(truncatingIfNeeded: text.count))
    guard let base = text.baseAddress else { return }
    var at = 0
    while at &+ 8 <= text.count {
      combine(base.loadUnaligned(fromByteOffset: at, as: UInt64.self))
      at &+= 8
    }
    var last: UInt64 = 0
    while at < text.count {
      last = last &<< 8 | UInt64(base.load(fromByteOffset: at, as: UInt8.self))
      at &+= 1
    }
    combine(last)
  }
}

extension JSONValue {
  var stableHash: UInt64 {
    var hash = StableHash()
    combine(into: &hash)
    return hash.value
  }

  private func combine(into hash: inout StableHash) {
    switch self {
    case .null: hash.combine(StableHash.nullMark)
    case .bool(let flag): hash.combine(StableHash.mark(flag))
    case .number(let text): hash.combine(number: ExactDecimal(text)?.nearestDouble ?? 0)
    case .string(var text): text.withUTF8 { hash.combine(text: UnsafeRawBufferPointer($0)) }
    case .array(let items):
      hash.combine(StableHash.arrayMark)
      for item in items { item.combine(into: &hash) }
    case .object(let members):
      var sum: UInt64 = 0
      for member in members {
        var own = StableHash()
        var key = member.key
        key.withUTF8 { own.combine(text: UnsafeRawBufferPointer($0)) }
        member.value.combine(into: &own)
        sum &+= own.value
      }
      hash.combine(StableHash.objectMark &+ sum)
    }
  }
}
