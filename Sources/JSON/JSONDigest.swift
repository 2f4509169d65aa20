internal import Bytes

/// A 128-bit digest of a JSON value: equal for texts of the same value, whatever the order of members, white space,
/// escapes and the spelling of numbers (`1`, `1.0` and `10e-1` are the same number).
///
/// Detects what differs by mistake. Not cryptographic: collisions can be constructed.
public struct JSONDigest: Hashable, Sendable {
  public let low: UInt64
  public let high: UInt64

  /// Nil if the text is not one JSON value, or nested deeper than `JSONValue.maximumDepth`.
  public init?(_ text: UnsafeRawBufferPointer) {
    var reading = DigestReading(scanner: JSONScanner(text))
    guard let digest = reading.document() else { return nil }
    self = digest
  }

  public init?(_ text: [UInt8]) {
    guard let digest = text.withUnsafeBytes({ JSONDigest($0) }) else { return nil }
    self = digest
  }

  fileprivate init(low: UInt64, high: UInt64) {
    self.low = low
    self.high = high
  }
}

/// Two 64-bit mixes with different constants.
private struct ValueMix {
  private var a: UInt64
  private var b: UInt64

  init(kind: UInt64) {
    a = 0xA076_1D64_78BD_642F ^ kind
    b = 0xE703_7ED1_A0B4_28DB &+ kind
  }

  mutating func add(_ x: UInt64, _ y: UInt64) {
    a = Self.fold(x ^ 0x5899_65CC_7537_4CC3, y ^ a)
    b = Self.fold(x ^ b, y ^ 0x1D8E_4E27_C47D_124F)
  }

  mutating func add(_ bytes: UnsafeRawBufferPointer) {
    var at = 0
    while bytes.count &- at >= 16 {
      add(
        bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self),
        bytes.loadUnaligned(fromByteOffset: at &+ 8, as: UInt64.self))
      at &+= 16
    }
    var (x, y): (UInt64, UInt64) = (0, 0)
    for offset in at..<bytes.count {
      let place = UInt64(offset &- at)
      let byte = UInt64(bytes[offset])
      if place < 8 { x |= byte << (place &* 8) } else { y |= byte << (place &* 8 &- 64) }
    }
    add(x, y)
    add(UInt64(bytes.count), 0x8EBC_6AF0_9C88_C6E3)
  }

  static func fold(_ x: UInt64, _ y: UInt64) -> UInt64 {
    let product = x.multipliedFullWidth(by: y)
    return product.low ^ product.high
  }

  var digest: JSONDigest {
    JSONDigest(
      low: Self.fold(a ^ 0xEB44_ACCA_B455_D165, 0x2D35_8DCC_AA6C_78A5 ^ b),
      high: Self.fold(b ^ 0x8BB8_4B93_962E_ACC9, 0x4B33_A62E_D433_D4A3 ^ a))
  }
}

/// Borrows the text of its scanner.
private struct DigestReading: ~Copyable {
  private var scanner: JSONScanner
  private var scratch = ByteWriter(capacity: 64)

  private enum Kind {
    static let object: UInt64 = 1
    static let array: UInt64 = 2
    static let string: UInt64 = 3
    static let number: UInt64 = 4
    static let literal: UInt64 = 5
  }

  init(scanner: JSONScanner) { self.scanner = scanner }

  mutating func document() -> JSONDigest? {
    do throws(JSONError) {
      scanner.skipMark()
      let digest = try value(depth: 0)
      try scanner.finish()
      return digest
    } catch {
      return nil
    }
  }

  private mutating func value(depth: Int) throws(JSONError) -> JSONDigest {
    guard depth < JSONValue.maximumDepth else { throw scanner.fail("nested too deep") }
    scanner.skipSpace()
    switch scanner.current {
    case UInt8(ascii: "{"): return try object(depth)
    case UInt8(ascii: "["): return try array(depth)
    case UInt8(ascii: "\""): return try string()
    case UInt8(ascii: "t"): return try literal("true", 1)
    case UInt8(ascii: "f"): return try literal("false", 2)
    case UInt8(ascii: "n"): return try literal("null", 3)
    default: return try number()
    }
  }

  private mutating func literal(_ word: StaticString, _ number: UInt64) throws(JSONError)
    -> JSONDigest
  {
    try scanner.literal(word)
    var mix = ValueMix(kind: Kind.literal)
    mix.add(number, 0)
    return mix.digest
  }

  /// Members are summed up, so that their order makes no difference.
  private mutating func object(_ depth: Int) throws(JSONError) -> JSONDigest {
    _ = scanner.eat("{")
    var (low, high, count): (UInt64, UInt64, UInt64) = (0, 0, 0)
    var isFirst = true
    while try scanner.hasNext(&isFirst, until: "}") {
      try scanner.beginName()
      let name = try string()
      try scanner.endName()
      let value = try value(depth: depth + 1)
      var member = ValueMix(kind: Kind.object)
      member.add(name.low, name.high)
      member.add(value.low, value.high)
      let digest = member.digest
      low &+= digest.low
      high &+= digest.high
      count &+= 1
    }
    var mix = ValueMix(kind: Kind.object)
    mix.add(low, high)
    mix.add(count, 0)
    return mix.digest
  }

  private mutating func array(_ depth: Int) throws(JSONError) -> JSONDigest {
    _ = scanner.eat("[")
    var mix = ValueMix(kind: Kind.array)
    var isFirst = true
    while try scanner.hasNext(&isFirst, until: "]") {
      let element = try value(depth: depth + 1)
      mix.add(element.low, element.high)
    }
    return mix.digest
  }

  private mutating func string() throws(JSONError) -> JSONDigest {
    var mix = ValueMix(kind: Kind.string)
    if let plain = try scanner.plainString() {
      mix.add(plain)
    } else {
      scratch.removeAll()
      try scanner.string(into: &scratch)
      mix.add(scratch.bytes)
    }
    return mix.digest
  }

  private mutating func number() throws(JSONError) -> JSONDigest {
    let (digits, _) = try scanner.number()
    var mix = ValueMix(kind: Kind.number)
    scratch.removeAll()
    mix.add(PlainNumber.write(digits, into: &scratch), 0)
    mix.add(scratch.bytes)
    return mix.digest
  }
}

/// A number's sign, significant digits and exponent, however it is written.
enum PlainNumber {
  /// Writes sign and significant digits, without zeros at either end; nothing for zero.
  ///
  /// - Returns: the power of ten of the last digit.
  static func write(_ text: UnsafeRawBufferPointer, into out: inout ByteWriter) -> UInt64 {
    var exponent: Int64 = 0
    var isFraction = false
    var zeros: Int64 = 0
    var isNegative = false
    var at = 0
    while at < text.count {
      let byte = text[at]
      switch byte {
      case UInt8(ascii: "-"): isNegative = true
      case UInt8(ascii: "."): isFraction = true
      case UInt8(ascii: "e"), UInt8(ascii: "E"):
        let rest = UnsafeRawBufferPointer(rebasing: text[(at + 1)...])
        let power = String(decoding: rest, as: UTF8.self)
        exponent &+= Int64(power) ?? (power.hasPrefix("-") ? -1 << 60 : 1 << 60)
        at = text.count
        continue
      default:
        if isFraction { exponent -= 1 }
        if byte == UInt8(ascii: "0") {
          zeros += 1
        } else {
          if out.count == 0 {
            if isNegative { out.append(UInt8(ascii: "-")) }
          } else {
            for _ in 0..<zeros { out.append(UInt8(ascii: "0")) }
          }
          zeros = 0
          out.append(byte)
        }
      }
      at += 1
    }
    // Zero has neither sign nor exponent.
    return out.count == 0 ? 0 : UInt64(bitPattern: exponent &+ zeros)
  }
}

extension JSONValue {
  /// Whether both are the same value: members in any order, numbers in any spelling.
  public func isSameValue(as other: JSONValue) -> Bool {
    switch (self, other) {
    case (.number(let a), .number(let b)): return a.isSame(as: b) || Self.plain(a) == Self.plain(b)
    case (.array(let a), .array(let b)):
      return a.count == b.count && zip(a, b).allSatisfy { $0.isSameValue(as: $1) }
    case (.object(let a), .object(let b)):
      return a.count == b.count
        && a.allSatisfy { member in other[member.key].map(member.value.isSameValue) ?? false }
        && b.allSatisfy { member in self[member.key] != nil }
    default: return self == other
    }
  }

  private static func plain(_ digits: String) -> String {
    var out = ByteWriter(capacity: 32)
    let text = Array(digits.utf8)
    let exponent = text.withUnsafeBytes { PlainNumber.write($0, into: &out) }
    return "\(String(decoding: out.bytes, as: UTF8.self))e\(Int64(bitPattern: exponent))"
  }
}
