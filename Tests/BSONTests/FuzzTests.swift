import BSON
import TestRandom
import Testing

/// Valid documents, randomly corrupted: always an error or valid output.
@Suite struct FuzzTests {
  private static let styles = [JSONStyle.simplified, .relaxed, .canonical]

  @Test(arguments: 0..<4)
  func brokenDocumentsAreRefusedOrWrittenCleanly(seed: Int) throws {
    var documents = RandomDocuments(seed: UInt64(seed) &+ 0xF022)
    var refused = 0
    var accepted = 0
    for round in 0..<1_000 {
      let original = documents.next()
      for _ in 0..<60 {
        let bytes = Self.mutated(original, &documents.random)
        // A heap buffer of the exact size, so that ASan detects reads beyond it.
        let raw = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        defer { raw.deallocate() }
        raw.copyBytes(from: bytes)
        guard let view = try? BSONView(UnsafeRawBufferPointer(raw)) else {
          refused += 1
          continue
        }
        let problem = Self.problem(view, style: documents.random.pick(Self.styles))
        guard problem == nil else {
          Issue.record("seed \(seed), document \(round), \(problem ?? ""): \(bytes)")
          return
        }
        if (try? view.validate(utf8: true)) == nil { refused += 1 } else { accepted += 1 }
      }
    }
    // Both outcomes must occur often.
    #expect(refused > 10_000 && accepted > 10_000, "\(refused) refused, \(accepted) accepted")
  }

  /// Every truncation of a document, with and without a corrected length.
  @Test func everyTruncation() throws {
    var documents = RandomDocuments(seed: 0x7235)
    for _ in 0..<100 {
      let original = documents.next()
      for length in 0..<original.count {
        var bytes = Array(original.prefix(length))
        #expect(error { try bytes.withUnsafeBytes { _ = try BSONView($0) } } != nil)
        guard length >= 5 else { continue }
        bytes.replaceSubrange(0..<4, with: littleEndian(Int32(length)))
        bytes[length - 1] = 0
        let style = documents.random.pick(Self.styles)
        let problem = try bytes.withUnsafeBytes { Self.problem(try BSONView($0), style: style) }
        guard problem == nil else {
          Issue.record("\(problem ?? ""): \(bytes)")
          return
        }
      }
    }
  }

  /// Checks validation and writing of `view`. The grammar and libbson must accept everything that is
  /// accepted; libbson accepts a little more (`docs/types.md`).
  private static func problem(_ view: BSONView, style: JSONStyle) -> String? {
    let shape = error { try view.validate(utf8: false) }
    let strict = error { try view.validate(utf8: true) }
    if let shape, strict?.offset ?? .max > shape.offset { return "validate is not consistent" }
    if shape == nil, let strict, strict.reason != .invalidUTF8 { return "utf8 found \(strict)" }

    let bytes = Array(view.bytes)
    if ReferenceReader.accepts(bytes) != (shape == nil) {
      return "the grammar doesn't say \(String(describing: shape))"
    }
    if strict == nil, !LibBSON.accepts(bytes), !ReferenceReader.hasWrongOldBinary(bytes) {
      return "libbson refuses it"
    }

    var writer = ByteWriter(capacity: 64)
    writer.append("before")
    let writing = error { try writer.appendJSON(view, style: style) }
    if let writing {
      if strict == nil { return "valid but not written, \(writing)" }
      return writer.bytes.equals("before") ? nil : "something left after an error"
    }
    // Array keys aren't written, so the writer doesn't validate them.
    if let strict, strict.reason != .invalidUTF8 { return "written in spite of \(strict)" }
    do {
      _ = try StrictJSON.tokens(Array(writer.bytes.dropFirst(6)))
      return nil
    } catch {
      return "malformed JSON \(String(decoding: writer.bytes, as: UTF8.self))"
    }
  }

  private static func mutated(_ original: [UInt8], _ random: inout SeededRandom) -> [UInt8] {
    var bytes = original
    for _ in 0..<(1 + random.below(3)) where bytes.count > 5 {
      let at = 4 + random.below(bytes.count - 5)
      switch random.below(8) {
      case 0: bytes[at] = UInt8(truncatingIfNeeded: random.next())
      case 1: bytes[at] ^= 1 << UInt8(random.below(8))
      case 2: bytes[at] = random.pick([0, 1, 2, 0x7F, 0x80, 0xFF, 0x22, 0x5C])
      case 3: bytes[at] = random.pick(BSONType.allCases).rawValue
      case 4:
        let lengths: [Int32] = [
          0, -1, .max, .min, 4, 5, Int32(bytes.count), Int32(bytes.count - at),
        ]
        let end = min(at + 4, bytes.count - 1)
        bytes.replaceSubrange(at..<end, with: littleEndian(random.pick(lengths)).prefix(end - at))
      case 5: bytes.insert(contentsOf: random.bytes(1 + random.below(4)), at: at)
      case 6: bytes.removeSubrange(at..<min(bytes.count - 1, at + 1 + random.below(4)))
      default: bytes.removeSubrange(at..<(bytes.count - 1))
      }
    }
    // Mostly with a valid outer length; otherwise the rest would never be read.
    if bytes.count >= 4, random.chance(15, in: 16) {
      bytes.replaceSubrange(0..<4, with: littleEndian(Int32(bytes.count)))
    }
    return bytes
  }
}
