import JSON
import TestRandom

/// Documents out of few names and values, of all types at all places.
struct AnyValues {
  var random: SeededRandom
  /// Some runs have names that are data.
  private let manyNames: Bool

  init(seed: UInt64) {
    random = SeededRandom(seed: seed)
    manyNames = random.chance(1, in: 4)
  }

  static let names = ["a", "b", "type", "kind", "\u{E9}", "e\u{301}", "", "a/b", "x~y"]
  static let texts = [
    "", "a", "b", "text", "\u{E9}", "e\u{301}", "2026-11-23T13:00:00Z", "2026-11-23", "42", "a@b.c",
    "56e1fc72e0c917e9c4714161", "73ffd264-44b3-4c69-90e8-e7d1dfc035d4", "http://a/b",
    "\u{1F600}\n\"",
    "a longer text than what is kept of values of enumerations, which is 64 bytes long",
  ]
  static let numbers = [
    "0", "1", "-1", "1.0", "1.5", "1e3", "9007199254740993", "9223372036854775807", "1e300", "-0.0",
    "123456789012345678901234567890", "1e-300", "-7", "0.1", "99999999999999999999999999.5",
  ]

  mutating func document() -> JSONValue {
    random.chance(1, in: 40) ? value(depth: 0) : object(depth: 0)
  }

  private mutating func object(depth: Int) -> JSONValue {
    var object = JSONValue.object([])
    for _ in 0..<random.below(6) {
      object[random.pick(Self.names)] = value(depth: depth + 1)
    }
    if random.chance(2, in: 3) {
      let kind = random.pick(["a", "b"])
      object["type"] = .string(kind)
      object[kind == "a" ? "only a" : "only b"] = value(depth: depth + 3)
    }
    if manyNames { object["\(random.below(100_000))"] = .int(random.below(10)) }
    return object
  }

  private mutating func value(depth: Int) -> JSONValue {
    switch random.below(depth < 4 ? 9 : 6) {
    case 0: return .null
    case 1: return .bool(random.chance(1, in: 2))
    case 2, 3: return .number(random.pick(Self.numbers))
    case 4, 5: return .string(random.pick(Self.texts))
    case 6: return .array((0..<random.below(4)).map { _ in value(depth: depth + 1) })
    default: return object(depth: depth + 1)
    }
  }
}
