import BSON
import TestRandom

/// Documents of all types: nested, with unusual keys, text from many scripts and extreme values.
struct RandomDocuments {
  /// Whether to include values that libbson doesn't write as specified.
  enum Values { case any, asLibBSON }

  var random: SeededRandom
  let values: Values

  init(seed: UInt64, values: Values = .any) {
    random = SeededRandom(seed: seed)
    self.values = values
  }

  mutating func next() -> [UInt8] {
    var writer = ByteWriter(capacity: 64)
    let mark = writer.beginDocument()
    appendMembers(to: &writer, depth: 0)
    writer.endDocument(mark)
    return Array(writer.bytes)
  }

  private mutating func appendMembers(to writer: inout ByteWriter, depth: Int) {
    for _ in 0..<random.below(depth == 0 ? 12 : 5) {
      let type = random.pick(BSONType.allCases)
      key().withUnsafeBytes { writer.appendHeader(type, key: $0) }
      appendValue(type, to: &writer, depth: depth)
    }
  }

  private mutating func appendValue(_ type: BSONType, to writer: inout ByteWriter, depth: Int) {
    switch type {
    case .null, .undefined, .minKey, .maxKey: break
    case .bool: writer.append(UInt8(random.below(2)))
    case .int32: writer.append(littleEndian(Int32(truncatingIfNeeded: integer())))
    case .int64: writer.append(littleEndian: integer())
    case .double: writer.append(littleEndian(double()))
    case .date: writer.append(littleEndian: date())
    case .timestamp: writer.append(random.bytes(8))
    case .objectID: writer.append(random.bytes(12))
    case .decimal128: writer.append(decimal())
    case .string, .javascript, .symbol: append(string: text(nul: true), to: &writer)
    case .regex:
      writer.append(text(nul: false) + [0])
      writer.append(options() + [0])
    case .dbPointer:
      append(string: text(nul: false), to: &writer)
      writer.append(random.bytes(12))
    case .binary: appendBinary(to: &writer)
    case .document:
      let mark = writer.beginDocument()
      if depth < 6 { appendMembers(to: &writer, depth: depth + 1) }
      writer.endDocument(mark)
    case .array:
      let mark = writer.beginDocument()
      for index in 0..<(depth < 6 ? random.below(4) : 0) {
        let type = random.pick(BSONType.allCases)
        writer.appendHeader(type, index: index)
        appendValue(type, to: &writer, depth: depth + 1)
      }
      writer.endDocument(mark)
    case .javascriptWithScope:
      let whole = writer.appendPlaceholder(4, fill: 0)
      append(string: text(nul: true), to: &writer)
      let scope = writer.beginDocument()
      if depth < 6 { appendMembers(to: &writer, depth: depth + 1) }
      writer.endDocument(scope)
      writer.patch(littleEndian: Int32(writer.count - whole), at: whole)
    }
  }

  private func append(string: [UInt8], to writer: inout ByteWriter) {
    string.withUnsafeBytes { writer.appendStringValue($0) }
  }

  private mutating func key() -> [UInt8] {
    let odd = [
      "", "_id", "a.b", "$set", "$", ".", "0", "\"", "\\", "a\"b", "/", "\u{1}", "\n", "é",
    ]
    return random.chance(1, in: 4) ? Array(random.pick(odd).utf8) : text(nul: false)
  }

  /// Mostly plain, sometimes any Unicode text.
  mutating func text(nul: Bool) -> [UInt8] {
    var text = ""
    let length = random.chance(1, in: 30) ? random.below(300) : random.below(24)
    let isPlain = random.chance(2, in: 3)
    while text.unicodeScalars.count < length {
      let code: Int =
        switch isPlain ? 0 : random.below(8) {
        case 0...3: 0x20 + random.below(0x5F)
        case 4: random.below(0x20)
        case 5: random.below(0x800)
        case 6: random.below(0x10000)
        default: random.below(0x110000)
        }
      if let scalar = Unicode.Scalar(UInt32(code)), nul || code != 0 {
        text.unicodeScalars.append(scalar)
      }
    }
    return Array(text.utf8)
  }

  private mutating func options() -> [UInt8] {
    let alphabet: [UInt8] = Array("ilmsux".utf8)
    switch values {
    case .asLibBSON: return alphabet.filter { _ in random.chance(1, in: 3) }
    case .any: return (0..<random.below(5)).map { _ in random.pick(alphabet + [0x22, 0x7A]) }
    }
  }

  private mutating func integer() -> Int64 {
    switch random.below(4) {
    case 0: random.pick([0, -1, .max, .min, Int64(Int32.max), Int64(Int32.min), 10, 99, 100])
    case 1: Int64(random.below(2000)) - 1000
    default: Int64(bitPattern: random.next()) >> Int64(random.below(63))
    }
  }

  private mutating func double() -> Double {
    switch random.below(4) {
    case 0:
      random.pick([
        0, -0.0, 1, -1, .nan, .infinity, -.infinity, .greatestFiniteMagnitude,
        .leastNonzeroMagnitude, .leastNormalMagnitude, 0x1p53, -0x1p53, 0x1p54, 1e15, 1e16, 1e22,
      ])
    case 1: Double(random.below(2_000_000) - 1_000_000) / 100
    case 2: Double(integer())
    default: Double(bitPattern: random.next())
    }
  }

  private mutating func date() -> Int64 {
    let last: Int64 = 253_402_300_799_999
    switch random.below(4) {
    case 0: return random.pick([0, -1, 1, 999, 1000, last, -62_167_219_200_000, .min])
    case 1 where values == .any: return integer()
    default: return Int64(random.next() % UInt64(last)) - (random.chance(1, in: 3) ? last / 2 : 0)
    }
  }

  private mutating func decimal() -> [UInt8] {
    if random.chance(1, in: 4) {
      // libbson treats a coefficient from 10^34 on as a number.
      let high = values == .asLibBSON ? random.next() & ~(1 << 48) : random.next()
      return littleEndian(random.next()) + littleEndian(high)
    }
    let exponent = UInt64(6176 + random.below(60) - 40)
    let sign = UInt64(random.below(2))
    return littleEndian(random.next() >> UInt64(random.below(64)))
      + littleEndian(sign << 63 | exponent << 49 | random.next() >> UInt64(17 + random.below(47)))
  }

  private mutating func appendBinary(to writer: inout ByteWriter) {
    let subtype = random.pick([0, 1, 2, 3, 4, 5, 6, 0x80, 0xFF] as [UInt8])
    let payload = random.bytes(subtype == 4 ? 16 : random.below(20))
    let inner = subtype == 2 ? littleEndian(Int32(payload.count)) : []
    writer.append(littleEndian(Int32(inner.count + payload.count)) + [subtype] + inner + payload)
  }
}
