import BSON
import Testing

/// The same documents through libbson and through this module.
@Suite struct DifferentialTests {
  @Test(arguments: [JSONStyle.canonical, .relaxed])
  func extendedJSONIsLibBSONs(style: JSONStyle) throws {
    var documents = RandomDocuments(seed: 0xB50_17, values: .asLibBSON)
    for round in 0..<8_000 {
      let bytes = documents.next()
      let theirs = try #require(LibBSON.json(bytes, style), "libbson refuses document \(round)")
      let ours = Array(try json(bytes, style).utf8)
      let difference = try Self.difference(
        try StrictJSON.tokens(ours), Self.looseTokens(theirs))
      guard difference == nil else {
        Issue.record(
          """
          document \(round), \(difference ?? ""):
          \(String(decoding: ours, as: UTF8.self))
          \(String(decoding: theirs, as: UTF8.self))
          """)
        return
      }
      // Without doubles, the bytes are equal except for whitespace.
      if !theirs.contains(UInt8(ascii: ".")), !theirs.contains(UInt8(ascii: "e")) {
        #expect(ours == Self.withoutSpace(theirs))
      }
    }
  }

  @Test func libBSONAcceptsWhatTheBuilderWrites() {
    var documents = RandomDocuments(seed: 0xACCE97)
    for round in 0..<8_000 {
      let bytes = documents.next()
      guard LibBSON.accepts(bytes) else {
        Issue.record("document \(round): \(bytes)")
        return
      }
    }
  }

  private static func looseTokens(_ bytes: [UInt8]) throws -> [JSONToken] {
    try StrictJSON.tokens(bytes)
  }

  /// Equal, with doubles compared by value: libbson writes them with twenty digits.
  private static func difference(_ ours: [JSONToken], _ theirs: [JSONToken]) -> String? {
    guard ours.count == theirs.count else { return "\(ours.count) and \(theirs.count) tokens" }
    for (index, (a, b)) in zip(ours, theirs).enumerated() where a != b {
      guard let x = double(a), let y = double(b), x == y else { return "\(a) is not \(b)" }
      if case .string = a, index < 2 || ours[index - 2] != .string(Array("$numberDouble".utf8)) {
        return "\(a) is not \(b)"
      }
    }
    return nil
  }

  private static func double(_ token: JSONToken) -> Double? {
    switch token {
    case .string(let bytes): Double(String(decoding: bytes, as: UTF8.self))
    case .literal(let text) where text.contains { ".eE".contains($0) }: Double(text)
    default: nil
    }
  }

  private static func withoutSpace(_ json: [UInt8]) -> [UInt8] {
    var isInString = false
    var isEscaped = false
    return json.filter { byte in
      defer {
        if !isEscaped, byte == UInt8(ascii: "\"") { isInString.toggle() }
        isEscaped = !isEscaped && byte == UInt8(ascii: "\\")
      }
      return isInString || byte != UInt8(ascii: " ")
    }
  }
}
