internal import JSON

/// A 128-bit digest of a message: two 64-bit mixes with different constants.
///
/// Detects faults of software and storage. Not cryptographic: collisions can be constructed.
@frozen
public struct MessageDigest: Hashable, Sendable {
  public var low: UInt64
  public var high: UInt64

  @inlinable
  public init(low: UInt64 = 0, high: UInt64 = 0) {
    self.low = low
    self.high = high
  }

  /// The digest of one text.
  @inlinable
  public init(_ bytes: UnsafeRawBufferPointer) {
    var mix = DigestMix()
    mix.add(bytes)
    mix.endPart()
    self = mix.digest
  }

  /// The digest of a text as a JSON value, whatever its form; of its bytes, if it is no JSON.
  public init(valueOf text: UnsafeRawBufferPointer) {
    if let value = JSONDigest(text) {
      self.init(low: value.low, high: value.high)
    } else {
      self.init(text)
    }
  }

  /// The digest of subject, header lines and body.
  @inlinable
  public init(subject: MessageDigest, headers: MessageDigest, body: MessageDigest) {
    var mix = DigestMix()
    for part in [subject, headers, body] { mix.add(part.low, part.high) }
    self = mix.digest
  }
}

/// An incremental digest of parts.
@frozen
public struct DigestMix {
  @usableFromInline var a: UInt64 = 0xA076_1D64_78BD_642F
  @usableFromInline var b: UInt64 = 0xE703_7ED1_A0B4_28DB
  @usableFromInline var length: UInt64 = 0

  @inlinable public init() {}

  @inlinable
  public mutating func add(_ bytes: UnsafeRawBufferPointer) {
    length &+= UInt64(bytes.count)
    var at = 0
    while bytes.count &- at >= 16 {
      add(
        bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self),
        bytes.loadUnaligned(fromByteOffset: at &+ 8, as: UInt64.self))
      at &+= 16
    }
    if at < bytes.count {
      var x: UInt64 = 0
      var y: UInt64 = 0
      for offset in at..<bytes.count {
        let byte = UInt64(bytes[offset])
        let place = offset &- at
        if place < 8 {
          x |= byte << UInt64(place &* 8)
        } else {
          y |= byte << UInt64(place &* 8 &- 64)
        }
      }
      // Includes the number of bytes, to distinguish a zero byte from none.
      add(x, y ^ (UInt64(bytes.count &- at) << 56))
    }
  }

  /// Ends a part.
  @inlinable
  public mutating func endPart() {
    add(length, 0x8EBC_6AF0_9C88_C6E3)
    length = 0
  }

  @inlinable
  mutating func add(_ x: UInt64, _ y: UInt64) {
    a = Self.fold(x ^ 0x5899_65CC_7537_4CC3, y ^ a)
    b = Self.fold(x ^ b, y ^ 0x1D8E_4E27_C47D_124F)
  }

  @inlinable
  static func fold(_ x: UInt64, _ y: UInt64) -> UInt64 {
    let product = x.multipliedFullWidth(by: y)
    return product.low ^ product.high
  }

  @inlinable
  public var digest: MessageDigest {
    MessageDigest(
      low: Self.fold(a ^ 0xEB44_ACCA_B455_D165, 0x2D35_8DCC_AA6C_78A5 ^ b),
      high: Self.fold(b ^ 0x8BB8_4B93_962E_ACC9, 0x4B33_A62E_D433_D4A3 ^ a))
  }
}
