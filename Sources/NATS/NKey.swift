import Cryptography

/// An Ed25519 key pair in the NKeys format (github.com/nats-io/nkeys): base32 with a type prefix and a
/// CRC-16.
public struct NKey: Sendable, CustomStringConvertible, CustomReflectable {
  /// The public key as text; it starts with `U` for users, `A` for accounts and `O` for operators.
  public let publicKey: String
  private let keyPair: Ed25519Key

  /// - Throws: `badCredentials`; the message never contains the seed.
  public init(seed: String) throws(NATSError) {
    func bad(_ what: String) -> NATSError {
      NATSError(.badCredentials, "the nkey seed \(what); expected one that starts with SU")
    }
    let text = seed.utf8.filter { $0 != 0x20 && $0 != 0x0A && $0 != 0x0D && $0 != 0x09 }
    guard let raw = Base32.decode(text) else { throw bad("is not base32") }
    // Prefix (2 bytes), seed (32), CRC (2).
    guard raw.count == 36 else { throw bad("has the wrong length") }
    let crc = UInt16(raw[34]) | UInt16(raw[35]) << 8
    guard CRC16.checksum(raw[..<34]) == crc else { throw bad("has a wrong checksum") }
    guard raw[0] & 0xF8 == Self.seedPrefix else {
      throw bad("is not a seed, perhaps a public key")
    }
    // The first five bits are the prefix S; the next eight are the key's type.
    let type = (raw[0] & 7) << 5 | raw[1] >> 3
    do {
      keyPair = try Ed25519Key(seed: raw[2..<34])
    } catch {
      throw bad("cannot be used as an Ed25519 key")
    }
    var key = [type]
    key.append(contentsOf: keyPair.publicKey)
    let check = CRC16.checksum(key[...])
    key.append(UInt8(truncatingIfNeeded: check))
    key.append(UInt8(truncatingIfNeeded: check >> 8))
    self.publicKey = Base32.encode(key)
  }

  /// The Ed25519 signature, 64 bytes.
  public func sign(_ message: some Sequence<UInt8>) throws(NATSError) -> [UInt8] {
    do {
      return try keyPair.signature(of: Array(message))
    } catch {
      throw NATSError(.badCredentials, "the nkey cannot sign: \(error)")
    }
  }

  /// The public key.
  public var description: String { publicKey }
  public var customMirror: Mirror { Mirror(self, children: ["publicKey": publicKey]) }

  private static let seedPrefix: UInt8 = 18 << 3
}

/// CRC-16/XMODEM: polynomial 0x1021, initial value 0.
package enum CRC16 {
  package static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt16 {
    var crc: UInt16 = 0
    for byte in bytes {
      crc ^= UInt16(byte) << 8
      for _ in 0..<8 {
        crc = crc & 0x8000 != 0 ? crc << 1 ^ 0x1021 : crc << 1
      }
    }
    return crc
  }
}

/// RFC 4648 base32, without padding.
package enum Base32 {
  package static func encode(_ bytes: [UInt8]) -> String {
    var out: [UInt8] = []
    var bits: UInt32 = 0
    var count = 0
    for byte in bytes {
      bits = bits << 8 | UInt32(byte)
      count += 8
      while count >= 5 {
        count -= 5
        out.append(letter(UInt8(truncatingIfNeeded: bits >> count) & 31))
      }
    }
    if count > 0 { out.append(letter(UInt8(truncatingIfNeeded: bits << (5 - count)) & 31)) }
    return String(decoding: out, as: UTF8.self)
  }

  /// Nil if the text is not base32.
  package static func decode(_ text: [UInt8]) -> [UInt8]? {
    var out: [UInt8] = []
    var bits: UInt32 = 0
    var count = 0
    for c in text {
      let value: UInt8
      switch c {
      case 65...90: value = c - 65
      case 50...55: value = c - 50 + 26
      default: return nil
      }
      bits = (bits << 5 | UInt32(value)) & 0xFFFF
      count += 5
      if count >= 8 {
        count -= 8
        out.append(UInt8(truncatingIfNeeded: bits >> count))
      }
    }
    // Five or more bits left mean an extra letter.
    return count < 5 ? out : nil
  }

  private static func letter(_ value: UInt8) -> UInt8 {
    value < 26 ? 65 + value : 50 + value - 26
  }
}

/// RFC 4648 base64 with the URL alphabet, without padding, for signatures and JWTs.
package enum Base64URL {
  package static func encode(_ bytes: some Sequence<UInt8>) -> String {
    var out: [UInt8] = []
    var bits: UInt32 = 0
    var count = 0
    for byte in bytes {
      bits = (bits << 8 | UInt32(byte)) & 0xFFFF
      count += 8
      while count >= 6 {
        count -= 6
        out.append(alphabet[Int(bits >> count) & 63])
      }
    }
    if count > 0 { out.append(alphabet[Int(bits << (6 - count)) & 63]) }
    return String(decoding: out, as: UTF8.self)
  }

  /// Nil if it is not base64url. Padding is optional.
  package static func decode(_ text: some StringProtocol) -> [UInt8]? {
    var out: [UInt8] = []
    var bits: UInt32 = 0
    var count = 0
    for byte in text.utf8 where byte != UInt8(ascii: "=") {
      guard let value = alphabet.firstIndex(of: byte) else { return nil }
      bits = (bits << 6 | UInt32(value)) & 0xFFFF
      count += 6
      if count >= 8 {
        count -= 8
        out.append(UInt8(truncatingIfNeeded: bits >> count))
      }
    }
    return out
  }

  private static let alphabet = Array(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
}
