import Bytes
import JSON

/// Walks over a JSON text and takes note of its values, without building them.
///
/// Safety invariant: the text that it points into is valid within the call that gave it.
struct StatisticsReader {
  var memory: InferenceMemory
  private var base = UnsafeRawBufferPointer(start: nil, count: 0)

  init(memory: InferenceMemory) { self.memory = memory }

  /// Reads one text.
  mutating func document(
    _ text: UnsafeRawBufferPointer, _ statistics: ValueStatistics
  ) throws(JSONError) {
    base = text
    var scanner = JSONScanner(text)
    scanner.skipMark()
    try value(&scanner, statistics)
    try scanner.finish()
  }

  /// Reads another text in between.
  mutating func within(
    _ text: [UInt8],
    _ body: (inout JSONScanner, inout StatisticsReader) throws(JSONError) -> Void
  ) throws(JSONError) {
    let outer = base
    defer { base = outer }
    var failure: JSONError?
    text.withUnsafeBytes { bytes in
      base = bytes
      var scanner = JSONScanner(bytes)
      do throws(JSONError) { try body(&scanner, &self) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  func text(from start: Int, to end: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: base[start..<end])
  }

  mutating func value(
    _ scanner: inout JSONScanner, _ statistics: ValueStatistics
  ) throws(JSONError) {
    scanner.skipSpace()
    guard !scanner.isAtEnd else {
      throw scanner.fail("expected a value, but the text ends")
    }
    if statistics.depth >= ValueStatistics.maximumDepth {
      statistics.opaque += 1
      return try skip(&scanner, depth: statistics.depth)
    }
    switch scanner.current {
    case UInt8(ascii: "{"):
      _ = scanner.eat("{")
      try statistics.objectStatistics.observe(&scanner, &self)
    case UInt8(ascii: "["):
      _ = scanner.eat("[")
      var length = 0
      var isFirst = true
      while try scanner.hasNext(&isFirst, until: "]") {
        length += 1
        try value(&scanner, statistics.itemStatistics)
      }
      statistics.observeArray(length)
    case UInt8(ascii: "\""):
      try text(&scanner) { (text, _, _) throws(JSONError) in statistics.strings.observe(text) }
    case UInt8(ascii: "t"):
      try scanner.literal("true")
      statistics.trues += 1
    case UInt8(ascii: "f"):
      try scanner.literal("false")
      statistics.falses += 1
    case UInt8(ascii: "n"):
      try scanner.literal("null")
      statistics.nulls += 1
    default:
      let (digits, isInteger) = try scanner.number()
      statistics.numbers.observe(digits, isInteger: isInteger)
    }
  }

  /// A string, which has to be UTF-8.
  private mutating func text(
    _ scanner: inout JSONScanner,
    _ body: (UnsafeRawBufferPointer, inout JSONScanner, inout StatisticsReader)
      throws(JSONError) -> Void
  ) throws(JSONError) {
    if let plain = try scanner.plainString() {
      guard Self.isUTF8(plain) else { throw scanner.fail("a string that is not UTF-8") }
      return try body(plain, &scanner, &self)
    }
    var decoded = ByteWriter(capacity: 64)
    try scanner.string(into: &decoded)
    let copy = Array(decoded.bytes)
    var failure: JSONError?
    copy.withUnsafeBytes { bytes in
      do throws(JSONError) {
        guard Self.isUTF8(bytes) else { throw scanner.fail("a string that is not UTF-8") }
        try body(bytes, &scanner, &self)
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
  }

  private static func isUTF8(_ text: UnsafeRawBufferPointer) -> Bool {
    var bits: UInt8 = 0
    for byte in text { bits |= byte }
    return bits < 0x80 || String(validating: text, as: UTF8.self) != nil
  }

  /// The name of a member.
  mutating func name(
    _ scanner: inout JSONScanner,
    _ body: (UnsafeRawBufferPointer, inout JSONScanner, inout StatisticsReader)
      throws(JSONError) -> Void
  ) throws(JSONError) {
    try text(&scanner, body)
  }

  /// The string that an object has under a name; the scanner stands behind its opening bracket.
  mutating func string(
    named name: [UInt8], in scanner: inout JSONScanner
  ) throws(JSONError) -> [UInt8]? {
    var isFirst = true
    while try scanner.hasNext(&isFirst, until: "}") {
      try scanner.beginName()
      var isWanted = false
      try text(&scanner) { (text, _, _) throws(JSONError) in
        isWanted = text.count == name.count && text.elementsEqual(name)
      }
      try scanner.endName()
      guard isWanted else {
        try skip(&scanner, depth: 0)
        continue
      }
      scanner.skipSpace()
      guard scanner.current == UInt8(ascii: "\"") else { return nil }
      var found: [UInt8] = []
      try text(&scanner) { (text, _, _) throws(JSONError) in found = Array(text) }
      return found.count <= StringStatistics.longestValue ? found : nil
    }
    return nil
  }

  /// A value that is not looked at.
  private mutating func skip(_ scanner: inout JSONScanner, depth: Int) throws(JSONError) {
    guard depth < JSONValue.maximumDepth else { throw scanner.fail("nested too deep") }
    scanner.skipSpace()
    switch scanner.current {
    case UInt8(ascii: "{"):
      _ = scanner.eat("{")
      var isFirst = true
      while try scanner.hasNext(&isFirst, until: "}") {
        try scanner.beginName()
        try text(&scanner) { (_, _, _) throws(JSONError) in }
        try scanner.endName()
        try skip(&scanner, depth: depth + 1)
      }
    case UInt8(ascii: "["):
      _ = scanner.eat("[")
      var isFirst = true
      while try scanner.hasNext(&isFirst, until: "]") { try skip(&scanner, depth: depth + 1) }
    case UInt8(ascii: "\""): try text(&scanner) { (_, _, _) throws(JSONError) in }
    case UInt8(ascii: "t"): try scanner.literal("true")
    case UInt8(ascii: "f"): try scanner.literal("false")
    case UInt8(ascii: "n"): try scanner.literal("null")
    default: _ = try scanner.number()
    }
  }
}
