import JSON
import TestRandom

/// Documents of a made-up chat: messages of several kinds, with what such documents have: ids, dates, optional and
/// nullable fields, maps by user and by name, arrays of objects, rare fields.
struct Population {
  var random: SeededRandom

  init(seed: UInt64) { random = SeededRandom(seed: seed) }

  static let states = ["active", "muted", "archived"]

  private mutating func hex(_ count: Int) -> String {
    String((0..<count).map { _ in random.pick(Array("0123456789abcdef")) })
  }

  private mutating func word() -> String {
    String((0..<(1 + random.below(12))).map { _ in random.pick(Array("abcdefghijklmnopqr ")) })
  }

  private mutating func two(_ below: Int) -> String {
    let number = random.below(below)
    return number < 10 ? "0\(number)" : "\(number)"
  }

  private mutating func date() -> JSONValue {
    .string("2026-1\(random.below(3))-1\(random.below(10))T\(two(24)):\(two(60)):\(two(60)).123Z")
  }

  private mutating func user() -> JSONValue {
    var user: JSONValue = ["_id": .string(hex(24)), "username": .string(word())]
    if random.chance(1, in: 3) { user["name"] = random.chance(1, in: 5) ? .null : .string(word()) }
    return user
  }

  mutating func document() -> JSONValue {
    var document: JSONValue = [
      "_id": .string(hex(24)), "room": .string("room\(random.below(5_000))"), "ts": date(),
      "u": user(), "state": .string(random.pick(Self.states)), "n": .int(random.below(1_000)),
    ]
    let kind = random.pick(["text", "text", "text", "file", "call"])
    document["kind"] = .string(kind)
    switch kind {
    case "text":
      document["text"] = .string(word())
      document["mentions"] = .array((0..<random.below(4)).map { _ in user() })
    case "file":
      document["url"] = .string("https://example.org/\(hex(6))")
      document["size"] = .int(random.below(1 << 20))
      document["meta"] = [
        "width": .int(random.below(4_000)), "ratio": .number("1.\(random.below(9))5"),
      ]
    default:
      document["seconds"] = .number("\(random.below(600)).5")
      document["ended"] = .bool(random.chance(1, in: 2))
      document["session"] = .string(
        "\(hex(8))-\(hex(4))-4\(hex(3))-8\(hex(3))-\(hex(12))")
    }
    if random.chance(1, in: 4) { document["editedAt"] = date() }
    if random.chance(1, in: 4) {
      var reactions = JSONValue.object([])
      for _ in 0..<(1 + random.below(3)) {
        reactions[":\(word())\(hex(2)):"] = ["usernames": [.string(word())]]
      }
      document["reactions"] = reactions
    }
    if random.chance(1, in: 4) {
      var read = JSONValue.object([])
      for _ in 0..<random.below(4) { read[hex(24)] = date() }
      document["readBy"] = read
    }
    if random.chance(1, in: 500) { document["legacy"] = true }
    return document
  }

  // MARK: Damage

  /// A document with a type changed, a field that all have dropped, or a value that no enumeration has.
  mutating func corrupted() -> JSONValue {
    var document = document()
    switch random.below(3) {
    case 0:
      let name = random.pick(["_id", "room", "ts", "u", "n", "state", "kind"])
      let wrong: [JSONValue] = [.null, true, .array([1]), .number("7.25")]
      document[name] = random.pick(wrong)
    case 1:
      document[random.pick(["_id", "room", "ts", "u", "n", "state", "kind"])] = nil
    default:
      document[random.pick(["state", "kind"])] = .string(random.pick(["invented", "", "Active"]))
    }
    return document
  }
}
