import BSON

// How values become part of a subject, an id or a header.
//
// Subjects and headers: RFC 3986 percent-encoding of UTF-8 bytes with upper-case digits, so that any URL
// decoder reverses them; they differ only in what stays as it is. Keys of KV buckets can't hold a percent
// sign: there it is an equals sign.

/// Subject tokens: letters, digits, `-`, `_` and `~` stay (RFC 3986's unreserved characters less
/// the dot, which separates tokens). So a value is always exactly one token, never a wildcard.
@inline(__always)
func staysInToken(_ byte: UInt8) -> Bool {
  // Bit n of each word: ASCII n, and 64 + n.
  let low: UInt64 = 0x03FF_2000_0000_0000  // 0-9 -
  let high: UInt64 = 0x47FF_FFFE_87FF_FFFE  // A-Z _ a-z ~
  let word: UInt64 = byte < 64 ? low : byte < 128 ? high : 0
  return (word >> UInt64(byte & 63)) & 1 == 1
}

/// Header values: printable ASCII stays, except space, `"` and `%`, as the CloudEvents HTTP
/// protocol binding (3.1.3.2) asks.
@inline(__always)
func staysInHeader(_ byte: UInt8) -> Bool {
  byte > 0x20 && byte < 0x7F && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "%")
}

/// Keys of KV buckets: letters, digits, `-`, `_` and `/` stay (ADR-8's alphabet less the dot, which separates
/// tokens, and `=`, which escapes).
@inline(__always)
func staysInKey(_ byte: UInt8) -> Bool {
  let low: UInt64 = 0x03FF_A000_0000_0000  // 0-9 / -
  let high: UInt64 = 0x07FF_FFFE_87FF_FFFE  // A-Z _ a-z
  let word: UInt64 = byte < 64 ? low : byte < 128 ? high : 0
  return (word >> UInt64(byte & 63)) & 1 == 1
}

/// Where a value is going.
enum Escaping {
  case token, header, key
}

@inline(__always)
func stays(_ byte: UInt8, in place: Escaping) -> Bool {
  switch place {
  case .token: staysInToken(byte)
  case .header: staysInHeader(byte)
  case .key: staysInKey(byte)
  }
}

extension ByteWriter {
  mutating func append(escaping bytes: UnsafeRawBufferPointer, for place: Escaping) {
    var at = 0
    while at < bytes.count {
      // Most values stay as they are, as one run.
      var end = at
      while end < bytes.count, stays(bytes.readByte(at: end), in: place) { end &+= 1 }
      append(UnsafeRawBufferPointer(rebasing: bytes[at..<end]))
      guard end < bytes.count else { return }
      append(
        escape: place == .key ? UInt8(ascii: "=") : UInt8(ascii: "%"), bytes.readByte(at: end))
      at = end &+ 1
    }
  }

  mutating func append(percent byte: UInt8) { append(escape: UInt8(ascii: "%"), byte) }

  private mutating func append(escape sign: UInt8, _ byte: UInt8) {
    append(sign)
    append(hexDigit(byte >> 4))
    append(hexDigit(byte & 15))
  }
}

/// Upper case, as RFC 3986 asks.
@inline(__always)
func hexDigit(_ nibble: UInt8) -> UInt8 { nibble < 10 ? 48 &+ nibble : 55 &+ nibble }

/// A value as one token of a subject, and back. For cold paths; the mapper has its own.
public enum SubjectToken {
  /// The longest a token may be, in bytes, escaped.
  public static let maximumLength = 255

  public static func escape(_ value: String) -> String {
    var writer = ByteWriter(capacity: 64)
    var value = value
    value.withUTF8 { writer.append(escaping: UnsafeRawBufferPointer($0), for: .token) }
    return String(decoding: writer.bytes, as: UTF8.self)
  }

  /// Nil if the text can't be a result of `escape`: a bare `%`, or bytes that are not UTF-8.
  public static func unescape(_ token: String) -> String? {
    var bytes: [UInt8] = []
    var rest = token.utf8[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard let high = rest.popFirst(), let low = rest.popFirst(),
        let h = Character(Unicode.Scalar(high)).hexDigitValue,
        let l = Character(Unicode.Scalar(low)).hexDigitValue
      else { return nil }
      bytes.append(UInt8(h << 4 | l))
    }
    return String(validating: bytes, as: UTF8.self)
  }
}
