import Foundation

/// SplitMix64: one seed, one sequence.
struct WorkloadRandom: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func below(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &self) }

  mutating func chance(_ percent: Int) -> Bool { below(100) < percent }

  mutating func pick<T>(_ values: [T]) -> T { values[below(values.count)] }
}

/// What applications do to a database and more, at random: documents of all types, updates of all
/// kinds, transactions, and commands on collections. What a server refuses is no event, so nothing
/// here has to succeed; `counts` tells what did.
struct Workload {
  private(set) var random: WorkloadRandom
  /// Commands that the server took, by kind.
  private(set) var counts: [String: Int] = [:]
  private(set) var refused = 0

  let databases: [String]
  private let writer: StreamWriter
  /// Collections are created within transactions too.
  private let createsInTransactions: Bool
  private let documents = 60

  init(_ writer: StreamWriter, seed: UInt64, createsInTransactions: Bool) {
    self.writer = writer
    self.createsInTransactions = createsInTransactions
    random = WorkloadRandom(seed: seed)
    let name = "w\(String(seed, radix: 36))\(UUID().uuidString.prefix(4))"
    databases = ["\(name)a", "\(name)b"]
  }

  mutating func run(operations: Int) async {
    for _ in 0..<operations {
      let database = random.pick(databases)
      switch random.below(1000) {
      case ..<800: await write(database)
      case ..<900: await transaction()
      case ..<995: await command(database)
      default: await attempt("dropDatabase", [("dropDatabase", 1)], database)
      }
    }
  }

  private mutating func attempt(
    _ kind: String, _ command: Value.Fields, _ database: String, retryable: Bool = false
  ) async {
    do {
      if retryable {
        try await writer.runRetryable(command, database: database)
      } else {
        try await writer.run(command, database: database)
      }
      counts[kind, default: 0] += 1
    } catch {
      refused += 1
    }
  }

  // MARK: Documents

  private mutating func write(_ database: String) async {
    let (kind, command) = writeCommand()
    await attempt(kind, command, database, retryable: random.chance(40))
  }

  private mutating func writeCommand() -> (String, Value.Fields) {
    let collection = Value.string(collection())
    switch random.below(20) {
    case ..<5:
      let documents = (0...(random.chance(70) ? 0 : random.below(20))).map { _ in document() }
      return (
        "insert",
        [
          ("insert", collection), ("documents", .array(documents)),
          ("ordered", .bool(random.chance(50))),
        ]
      )
    case ..<14:
      let updates = (0...(random.chance(80) ? 0 : random.below(5))).map { _ in update() }
      return ("update", [("update", collection), ("updates", .array(updates))])
    case ..<16:
      let many = random.chance(10)
      let query: Value = many ? ["\(field())": ["$exists": true]] : ["_id": id()]
      return (
        "delete",
        [
          ("delete", collection),
          ("deletes", [["q": query, "limit": .int32(many ? 0 : 1)]]),
        ]
      )
    default:
      var command: Value.Fields = [
        ("findAndModify", collection), ("query", ["_id": id()]),
      ]
      if random.chance(30) {
        command.append(("remove", true))
      } else {
        command += [
          ("update", random.chance(50) ? modifiers() : replacement()),
          ("upsert", .bool(random.chance(30))), ("new", .bool(random.chance(50))),
        ]
      }
      return ("findAndModify", command)
    }
  }

  private mutating func collection() -> String {
    random.pick(["c", "c", "c", "d", "e.f", "system_x", "ümlaut", "tmp"])
  }

  /// An `_id`: the same number is always the same value.
  private mutating func id() -> Value {
    let n = random.below(documents)
    return switch n % 8 {
    case 0: .string("k\(n)")
    case 1: ["a": .int32(Int32(n)), "b": .string("x")]
    case 2: .int64(Int64(n) << 40)
    case 3: .double(Double(n) + 0.5)
    case 4: .objectID([UInt8](repeating: UInt8(n), count: 12))
    default: .int32(Int32(n))
    }
  }

  private mutating func document() -> Value {
    var fields: Value.Fields = [("_id", id())]
    for _ in 0..<random.below(8) { fields.append((field(), value())) }
    // Something for updates to find.
    if random.chance(60) { fields.append(("n", ["a": ["b": 1, "c": [1, 2, 3]], "s": "x"])) }
    if random.chance(60) {
      fields.append(("arr", [["x": 1], ["x": 2], 3, "four", [5, [6]], ["x": 7, "y": ["z": 8]]]))
    }
    if random.chance(20) { fields.append(("text", .string(text(2000)))) }
    return Self.unique(fields)
  }

  /// A server that computes the difference of documents with a key twice in them crashes.
  private static func unique(_ fields: Value.Fields) -> Value {
    var seen: Set<String> = []
    return .document(fields.filter { seen.insert($0.key).inserted })
  }

  /// A replacement may not hold operators; the server keeps the `_id`.
  private mutating func replacement() -> Value {
    guard case .document(let fields) = document() else { return [:] }
    return .document(fields.filter { $0.key != "_id" })
  }

  /// Names that look like sections of a diff, like indexes, paths or operators, and odd ones.
  private mutating func field() -> String {
    random.pick([
      "a", "b", "c", "s", "sa", "ss", "sss", "u", "i", "d", "l", "o", "ua", "u0", "s0", "0", "1",
      "01", "10", "diff", "n", "arr", "v", "", " ", "x.y", "a.b", "$v", "$x", "_x", "日本", "é",
      "€uro",
      "lang/Straße", "quote\"d", "back\\slash", "tab\t", "null", "true", "_id2", "updatedFields",
    ])
  }

  private mutating func text(_ limit: Int) -> String {
    String((0..<random.below(limit)).map { _ in random.pick(Array("abc äß日😀\u{0}\n\"\\")) })
  }

  private mutating func value(depth: Int = 0) -> Value {
    switch random.below(depth < 4 ? 28 : 22) {
    case 0:
      return .double(
        random.pick([0, -0.0, 1, -1.5, .pi, 1e300, .infinity, .nan, .leastNonzeroMagnitude]))
    case 1...3: return .string(text(20))
    case 4: return .binary(0, bytes())
    case 5: return .binary(random.pick([1, 2, 5, 6, 0x80]), bytes())
    case 6: return .binary(4, bytes(exactly: 16))
    case 7: return .undefined
    case 8: return .objectID(bytes(exactly: 12))
    case 9: return .bool(random.chance(50))
    case 10: return .date(random.pick([0, -1, 1_795_433_959_674, .min, .max]))
    case 11: return .null
    case 12: return .regex("^a.*/\\d", random.pick(["", "i", "imx"]))
    case 13: return .pointer("x.y", bytes(exactly: 12))
    case 14: return .code("function() { return 1 }")
    case 15: return .symbol("sym")
    case 16: return .codeWithScope("x + 1", [("x", 1), ("y", [1])])
    case 17: return .int32(Int32(truncatingIfNeeded: random.next()))
    case 18: return .timestamp(UInt32(random.below(2)) * 7, 3)
    case 19: return .int64(Int64(bitPattern: random.next()))
    case 20:
      return random.pick([
        .decimal(high: 0x3040_0000_0000_0000, low: 15),
        .decimal(high: 0x7C00_0000_0000_0000, low: 0),
      ])
    case 21: return random.chance(50) ? .minKey : .maxKey
    case 22...24:
      return .array((0..<random.below(6)).map { _ in value(depth: depth + 1) })
    default:
      return Self.unique((0..<random.below(5)).map { _ in (field(), value(depth: depth + 1)) })
    }
  }

  private mutating func bytes(exactly count: Int? = nil) -> [UInt8] {
    (0..<(count ?? random.below(20))).map { _ in UInt8(truncatingIfNeeded: random.next()) }
  }

  // MARK: Updates

  private mutating func update() -> Value {
    let many = random.chance(10)
    var statement: Value.Fields = [
      ("q", many ? ["arr": ["$exists": true]] : ["_id": id()])
    ]
    switch random.below(10) {
    case ..<6:
      statement.append(("u", modifiers()))
      if many { statement.append(("multi", true)) }
    case ..<7:
      statement += [
        ("u", ["$set": ["arr.$[e].x": value(depth: 3)], "$unset": ["arr.$[e].y.z": 1]]),
        ("arrayFilters", [["e.x": ["$gte": .int32(Int32(random.below(8)))]]]),
      ]
    case ..<9: statement.append(("u", pipeline()))
    default: statement.append(("u", replacement()))
    }
    if random.chance(20) { statement.append(("upsert", true)) }
    return .document(statement)
  }

  private mutating func path() -> String {
    random.pick([
      "a", "b", "s", "u", "n", "n.a", "n.a.b", "n.a.c", "n.a.c.1", "n.a.c.7", "n.s",
      "n.new.deep.er",
      "arr.0", "arr.0.x", "arr.5.y.z", "arr.9", "arr.4.1", "x.y", "0", "0.1", "日本", "ss.s", "d.i.u",
      "v",
    ])
  }

  private mutating func modifiers() -> Value {
    var fields: Value.Fields = []
    for _ in 0...random.below(3) {
      switch random.below(16) {
      case ..<5: fields.append(("$set", .document(some { ($0.path(), $0.value(depth: 2)) })))
      case 5: fields.append(("$unset", .document(some { ($0.path(), "") })))
      case 6: fields.append(("$inc", [path(): .int32(Int32(random.below(3)))]))
      case 7: fields.append(("$mul", [path(): .double(1.5)]))
      case 8: fields.append(("$rename", [path(): .string(path())]))
      case 9: fields.append(("$push", ["arr": value(depth: 3)]))
      case 10:
        let values: [Value] = [["x": 0], value(depth: 3)]
        fields.append(
          ("$push", ["arr": ["$each": .array(values), "$position": 1, "$slice": .int32(-7)]]))
      case 11: fields.append(("$pull", ["arr": ["x": ["$lte": 1]]]))
      case 12: fields.append(("$pop", [random.pick(["arr", "n.a.c"]): random.pick([1, -1])]))
      case 13: fields.append(("$addToSet", ["n.a.c": value(depth: 4)]))
      case 14:
        fields.append(("$currentDate", ["when": true, "stamp": ["$type": "timestamp"]]))
      default:
        fields += [
          ("$max", [path(): value(depth: 4)]), ("$setOnInsert", ["born": true]),
          ("$bit", ["bits": ["or": 5]]),
        ]
      }
    }
    return .document(fields)
  }

  private mutating func some(
    _ field: (inout Workload) -> (key: String, value: Value)
  ) -> Value.Fields {
    (0...random.below(4)).map { _ in field(&self) }
  }

  private mutating func pipeline() -> Value {
    var stages: [Value] = []
    for _ in 0...random.below(2) {
      switch random.below(7) {
      case 0:
        stages.append(["$set": Self.unique(some { ($0.path(), ["$literal": $0.value(depth: 3)]) })])
      case 1: stages.append(["$unset": .array(some { ("", .string($0.path())) }.map(\.value))])
      case 2:
        stages.append(["$set": ["arr": ["$slice": ["$arr", .int32(Int32(1 + random.below(4)))]]]])
      case 3: stages.append(["$set": ["n.a.c": ["$slice": ["$n.a.c", 2]]]])
      case 4: stages.append(["$set": ["arr": ["$concatArrays": ["$arr", [1, 2]]]]])
      case 5:
        stages.append(["$replaceWith": ["$mergeObjects": ["$$ROOT", ["m": value(depth: 3)]]]])
      default: stages.append(["$set": ["arr": ["$reverseArray": "$arr"], "n": ["a": ["b": "$a"]]]])
      }
    }
    return .array(stages)
  }

  // MARK: Transactions

  private mutating func transaction() async {
    var commands: [(command: Value.Fields, database: String)] = []
    for _ in 0...random.below(12) {
      let database = random.pick(databases)
      let collection = Value.string(
        createsInTransactions && random.chance(10) ? "t\(random.below(1_000_000))" : "c")
      let command: Value.Fields
      // Nothing that fails: that would end the transaction.
      switch random.below(4) {
      case 0:
        let fresh = Value.binary(0, bytes(exactly: 12))
        command = [("insert", collection), ("documents", [["_id": fresh, "v": value()]])]
      case 1:
        command = [
          ("update", collection),
          ("updates", [["q": ["_id": id()], "u": [["$set": ["v": ["$literal": value()]]]]]]),
        ]
      case 2:
        let upsert = random.chance(30)
        command = [
          ("update", collection),
          ("updates", [["q": ["_id": id()], "u": ["w": value()], "upsert": .bool(upsert)]]),
        ]
      default:
        command = [("delete", collection), ("deletes", [["q": ["_id": id()], "limit": 1]])]
      }
      commands.append((command, database))
    }
    let commit = random.chance(90)
    do {
      try await writer.transaction(commands, commit: commit)
      counts[commit ? "transaction" : "aborted transaction", default: 0] += 1
    } catch {
      refused += 1
    }
  }

  // MARK: Commands on collections

  private mutating func command(_ database: String) async {
    let collection = collection()
    let name = Value.string(collection)
    let other = "o\(random.below(4))"
    switch random.below(12) {
    case 0: await attempt("create", [("create", .string(other))], database)
    case 1:
      await attempt(
        "create",
        [("create", .string("cap\(random.below(50))")), ("capped", true), ("size", 4096)], database)
    case 2, 3:
      let index: Value = ["key": [random.pick(["a", "b", "n.s"]): 1], "name": .string(other)]
      await attempt("createIndexes", [("createIndexes", name), ("indexes", [index])], database)
    case 4:
      let index: Value = random.chance(20) ? "*" : .string(other)
      await attempt("dropIndexes", [("dropIndexes", name), ("index", index)], database)
    case 5:
      await attempt(
        "collMod", [("collMod", name), ("validator", ["a": ["$ne": "never"]])], database)
    case 6: await attempt("drop", [("drop", .string(other))], database)
    case 7, 8:
      await attempt(
        "renameCollection",
        [
          ("renameCollection", "\(database).\(collection)"), ("to", "\(database).\(other)"),
          ("dropTarget", .bool(random.chance(70))),
        ], "admin")
    case 9:
      await attempt(
        "create view", [("create", "view"), ("viewOn", name), ("pipeline", [])], database)
    case 10:
      await attempt(
        "change view", [("collMod", "view"), ("viewOn", name), ("pipeline", [])], database)
      if random.chance(30) { await attempt("drop view", [("drop", "view")], database) }
    default:
      let stage: Value =
        random.chance(50) ? ["$out": .string(other)] : ["$merge": ["into": .string(other)]]
      await attempt(
        "aggregate",
        [("aggregate", name), ("pipeline", [["$limit": 5], stage]), ("cursor", [:])], database)
    }
  }
}
