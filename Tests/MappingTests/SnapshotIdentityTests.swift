import BSON
import Mapping
import Oplog
import Testing

/// What names a document in a snapshot: two that a collection can hold side by side never share a name.
@Suite("The name of a snapshot's document")
struct SnapshotIdentityTests {
  private func name(_ id: Value, rule name: String = "r", match: Int = 0) throws -> String {
    var change = Change.insert(["_id": id], key: ["_id": id])
    change.wallTime = nil
    change.collectionUUID = (1...16).map { $0 }
    let rule = try rule(name: name)
    return try change.with { event in
      var event = event
      event.isSnapshot = true
      var mapper = Mapper(rules: [rule], sourceName: "rs0")
      var out = ByteWriter()
      try mapper.writeHeaders(rule: 0, event: event, match: match, into: &out)
      let line = String(decoding: out.bytes, as: UTF8.self).split(separator: "\r\n").first ?? ""
      return String(line.dropFirst("Nats-Msg-Id: rs0:snapshot:".utf8.count))
    }
  }

  static let sixteen: [UInt8] = (0..<16).map { $0 &* 17 }

  /// Pairs that print alike.
  static let alike: [[Value]] = [
    [.binary(0, [120]), .binary(128, [120]), .binary(5, [120]), "eA=="],
    [
      .binary(0, sixteen), .binary(3, sixteen), .binary(4, sixteen), .binary(5, sixteen),
      "00112233-4455-6677-8899-aabbccddeeff", "ABEiM0RVZneImaq7zN3u/w==",
    ],
    [.binary(2, [1, 0, 0, 0, 120]), .binary(0, [1, 0, 0, 0, 120]), .binary(0, [120])],
    [
      .binary(0, []), .binary(4, []), .binary(128, []), "", .document([]),
      .raw(.javascript, text("")),
    ],
    [someObjectID, "56e1fc72e0c917e9c4714161"],
    ["a", .raw(.javascript, text("a")), .raw(.symbol, text("a"))],
    [1, "1", true, "true", .null, "null", .raw(.undefined, [])],
    [.date(0), "1970-01-01T00:00:00.000Z", .timestamp(0, 0), .int64(0)],
    [.date(253_402_300_800_000), "253402300800000", .int64(253_402_300_800_000)],
    [.timestamp(1, 2), .timestamp(2, 1), ["t": 1, "i": 2], .int64(1 << 32 | 2)],
    [["a": 1, "b": 2], ["b": 2, "a": 1], ["a": 1], ["a": ["b": 2]]],
    [["a": .binary(0, [120])], ["a": .binary(128, [120])]],
    [["a": "1"], ["a": 1], ["a": .null], ["a": []], [:]],
    [.raw(.minKey, []), .raw(.maxKey, []), ["$minKey": 1], ["$maxKey": 1]],
    ["\u{E9}", "e\u{301}"],
    ["a b", "a%20b", "a+b", "a\u{0}b", "a"],
    [
      .string(String(repeating: "x", count: 256)), .string(String(repeating: "x", count: 257)),
      .string(String(repeating: "x", count: 60_000)),
      .string(String(repeating: "x", count: 60_001)),
    ],
    [
      .raw(.javascriptWithScope, scoped("a", [:])),
      .raw(.javascriptWithScope, scoped("a", ["b": 1])),
      .raw(.javascript, text("a")),
    ],
  ]

  static func text(_ string: String) -> [UInt8] { Value.string(string).bytes }

  static func scoped(_ code: String, _ scope: Value) -> [UInt8] {
    let inner = text(code) + scope.bytes
    return Value.int32(Int32(inner.count + 4)).bytes + inner
  }

  @Test("is its own where others print alike", arguments: alike) func own(_ ids: [Value]) throws {
    let names = try ids.map { try name($0) }
    #expect(Set(names).count == ids.count, "\(names)")
    for name in names {
      #expect(name.utf8.count < 350 && name.utf8.allSatisfy { (0x21..<0x7F).contains($0) })
    }
  }

  @Test("of a text can't be that of a digest") func digests() throws {
    let long = Value.string(String(repeating: "long", count: 100))
    let digest = try name(long).split(separator: ":").last.map(String.init) ?? ""
    #expect(digest.hasPrefix("sha256-"))
    #expect(try name(.string(digest)) != name(long))
    #expect(try name("sha256-") != name("sha256"))
  }

  @Test("of a further match can't be that of a text that ends like a rule") func further() throws {
    for text in ["a", "a:other", "other", ":other", "sha256-:other"] {
      let first = try name(.string(text + ":other"))
      let further = try name(.string(text), rule: "other", match: 1)
      #expect(first != further && further.hasSuffix(":other"))
    }
    let typed = try name(someObjectID, rule: "other", match: 1)
    #expect(typed.hasSuffix("7:56e1fc72e0c917e9c4714161:other"))
  }

  @Test("of plain values reads as it always did") func plain() throws {
    let prefix = "1732360000.42:0102030405060708090a0b0c0d0e0f10:"
    let wanted: [(Value, String)] = [
      ("m 1", "2:m%201"), (someObjectID, "7:56e1fc72e0c917e9c4714161"), (17, "16:17"),
      (.int64(-3), "18:-3"), (.double(1.5), "1:1.5"), (true, "8:true"),
      (.binary(0, [120]), "5:eA=="),
      (.binary(4, Self.sixteen), "5:00112233-4455-6677-8899-aabbccddeeff"),
      (.date(0), "9:1970-01-01T00:00:00.000Z"),
    ]
    for (id, text) in wanted { #expect(try name(id) == prefix + text) }
  }

  @Test("differs exactly where the value does", arguments: 0..<8) func property(_ seed: Int) throws
  {
    var random = RandomIdentities(seed: UInt64(seed))
    var known: [String: Value] = [:]
    for _ in 0..<4000 {
      let id = random.next()
      let name = try name(id)
      if let before = known[name] {
        #expect(before.type == id.type && before.bytes == id.bytes, "\(before) and \(id): \(name)")
      }
      known[name] = id
      #expect(try self.name(id) == name)
    }
    #expect(known.count > 500)
  }
}

/// Values of all types from few parts, so that many look alike and some are the same.
private struct RandomIdentities {
  private var state: UInt64

  init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

  private mutating func below(_ bound: Int) -> Int {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int((state >> 33) % UInt64(bound))
  }

  private mutating func text() -> String {
    let parts = [
      "a", "1", ":", "sha256-", "null", "true", "é", "e\u{301}", " ", "%20", "eA==", "\0", "r",
    ]
    return (0..<below(4)).map { _ in parts[below(parts.count)] }.joined()
  }

  private mutating func bytes() -> [UInt8] {
    let lengths = [0, 1, 2, 12, 16]
    let fill = UInt8(below(3))
    return Array(repeating: fill, count: lengths[below(lengths.count)])
  }

  mutating func next(depth: Int = 0) -> Value {
    switch below(depth < 3 ? 20 : 16) {
    case 0: return .string(text())
    case 1: return .raw(.symbol, SnapshotIdentityTests.text(text()))
    case 2: return .raw(.javascript, SnapshotIdentityTests.text(text()))
    case 3: return .int32(Int32(below(5) - 2))
    case 4: return .int64(Int64(below(5) - 2))
    case 5: return .double([-1, 0, 0.5, 1, .infinity, -.infinity, .nan, 1e300][below(8)])
    case 6: return .bool(below(2) == 0)
    case 7: return below(2) == 0 ? .null : .raw(.undefined, [])
    case 8: return .objectID(Array(repeating: UInt8(below(4)), count: 12))
    case 9: return .date([0, 1, -1, 253_402_300_800_000, .min, .max][below(6)])
    case 10: return .timestamp(UInt32(below(3)), UInt32(below(3)))
    case 11, 12: return .binary([0, 3, 4, 5, 6, 7, 128, 255][below(8)], bytes())
    case 13: return .regex(["a", "ai", ""][below(3)], ["", "i", "im"][below(3)])
    case 14: return .raw(below(2) == 0 ? .minKey : .maxKey, [])
    case 15:
      // 1.0, 1.00, -1, 10 and NaN as decimals.
      let high: [UInt64] = [0x303E_0000_0000_0000, 0x303C_0000_0000_0000, 0xB040_0000_0000_0000]
      let low: [UInt64] = [1, 10, 100]
      return .raw(
        .decimal128,
        Value.int64(Int64(bitPattern: low[below(3)])).bytes
          + Value.int64(Int64(bitPattern: high[below(3)])).bytes)
    case 16:
      return .raw(.javascriptWithScope, SnapshotIdentityTests.scoped(text(), nested(depth)))
    case 17: return .array((0..<below(3)).map { _ in next(depth: depth + 1) })
    default: return nested(depth)
    }
  }

  private mutating func nested(_ depth: Int) -> Value {
    let keys = ["a", "b", "$minKey", "t", "é", "e\u{301}"]
    return .document(
      (0..<below(4)).map { _ in
        Value.Field(key: keys[below(keys.count)], value: next(depth: depth + 1))
      })
  }
}
