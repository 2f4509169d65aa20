import BSON
import Oplog

/// A BSON value of a test's documents.
indirect enum Value: Equatable, Sendable {
  case scalar(BSONType, [UInt8])
  case document([Field])
  case array([Value])

  struct Field: Equatable, Sendable {
    var name: String
    var value: Value

    init(_ name: String, _ value: Value) {
      self.name = name
      self.value = value
    }
  }

  static func int32(_ number: Int32) -> Value {
    .scalar(.int32, withUnsafeBytes(of: number.littleEndian, Array.init))
  }
  static func int64(_ number: Int64) -> Value {
    .scalar(.int64, withUnsafeBytes(of: number.littleEndian, Array.init))
  }
  static func double(_ number: Double) -> Value {
    .scalar(.double, withUnsafeBytes(of: number.bitPattern.littleEndian, Array.init))
  }
  static func timestamp(_ seconds: UInt32, _ increment: UInt32) -> Value {
    .scalar(
      .timestamp,
      withUnsafeBytes(of: increment.littleEndian, Array.init)
        + withUnsafeBytes(of: seconds.littleEndian, Array.init))
  }
  static func string(_ text: String) -> Value {
    .scalar(
      .string,
      withUnsafeBytes(of: Int32(text.utf8.count + 1).littleEndian, Array.init) + Array(text.utf8)
        + [0])
  }
  static func binary(_ subtype: UInt8, _ bytes: [UInt8]) -> Value {
    .scalar(
      .binary, withUnsafeBytes(of: Int32(bytes.count).littleEndian, Array.init) + [subtype] + bytes)
  }
  static func bool(_ flag: Bool) -> Value { .scalar(.bool, [flag ? 1 : 0]) }
  static let null = Value.scalar(.null, [])

  var fields: [Field]? {
    guard case .document(let fields) = self else { return nil }
    return fields
  }

  subscript(name: String) -> Value? {
    fields?.first { $0.name.utf8.elementsEqual(name.utf8) }?.value
  }

  /// As an element of `writer`.
  func write(_ name: String, to writer: inout ByteWriter) {
    var name = name
    name.withUTF8 { key in
      let key = UnsafeRawBufferPointer(key)
      switch self {
      case .scalar(let type, let bytes):
        bytes.withUnsafeBytes { writer.appendElement(type: type, key: key, value: $0) }
      case .document(let fields):
        let mark = writer.beginDocument(key: key)
        for field in fields { field.value.write(field.name, to: &writer) }
        writer.endDocument(mark)
      case .array(let list):
        let mark = writer.beginArray(key: key)
        for (index, value) in list.enumerated() { value.write("\(index)", to: &writer) }
        writer.endDocument(mark)
      }
    }
  }

  /// As a document by itself.
  var bson: [UInt8] {
    var writer = ByteWriter()
    let mark = writer.beginDocument()
    for field in fields ?? [] { field.value.write(field.name, to: &writer) }
    writer.endDocument(mark)
    return Array(writer.bytes)
  }
}

/// What a server writes into its oplog for an update: `$v: 2`.
enum Diff {
  static func between(
    _ old: [Value.Field], _ new: [Value.Field], _ random: inout Dice
  ) -> Value {
    var deleted: [Value.Field] = []
    var updated: [Value.Field] = []
    var inserted: [Value.Field] = []
    var within: [Value.Field] = []
    for field in old where Value.document(new)[field.name] == nil {
      deleted.append(.init(field.name, .bool(false)))
    }
    for field in new {
      guard let before = Value.document(old)[field.name] else {
        inserted.append(field)
        continue
      }
      if before == field.value { continue }
      if let inner = inner(before, field.value, &random) {
        within.append(.init("s\(field.name)", inner))
      } else {
        updated.append(field)
      }
    }
    var diff: [Value.Field] = []
    if !deleted.isEmpty { diff.append(.init("d", .document(deleted))) }
    if !updated.isEmpty { diff.append(.init("u", .document(updated))) }
    if !inserted.isEmpty { diff.append(.init("i", .document(inserted))) }
    return .document(diff + within)
  }

  private static func inner(_ old: Value, _ new: Value, _ random: inout Dice) -> Value? {
    if random.below(5) == 0 { return nil }
    switch (old, new) {
    case (.document(let old), .document(let new)): return between(old, new, &random)
    case (.array(let old), .array(let new)):
      var diff: [Value.Field] = [.init("a", .bool(true))]
      if new.count < old.count { diff.append(.init("l", .int32(Int32(new.count)))) }
      for (index, value) in new.enumerated() {
        guard old.indices.contains(index) else {
          diff.append(.init("u\(index)", value))
          continue
        }
        if old[index] == value { continue }
        if let inner = inner(old[index], value, &random) {
          diff.append(.init("s\(index)", inner))
        } else {
          diff.append(.init("u\(index)", value))
        }
      }
      return .document(diff)
    default: return nil
    }
  }
}

/// Collections under random operations, and the oplog's entries of those.
struct StateWorld {
  struct Document {
    var id: Value
    var fields: [Value.Field]

    var whole: Value { .document([.init("_id", id)] + fields) }
  }

  var random: Dice
  /// By name, and by the number of the id.
  var collections: [[UInt8]: [Int: Document]] = [:]
  var increment: UInt32 = 1
  private(set) var entries: [[UInt8]] = []
  /// Some of all, so that most operations meet a document that is there.
  private(set) var ids: [Value]
  private var names: [String]

  private static let allNames = [
    "d.c", "d.my coll", "d.x.y", "d.\u{E9}", "d.e\u{301}", "d.\u{301}", "d. {\"_id\":1}", "e.c",
    "e.per%20cent",
  ]
  private static let fieldNames = [
    "a", "b", "c", "a.b", "0", "7", "x y", "\u{E9}", "e\u{301}", "a.0", "$p", "b.c.d",
  ]

  init(seed: UInt64) {
    random = Dice(state: seed)
    let all: [Value] =
      (0..<4).map { .int32($0) } + (0..<4).map { .string("s\($0)") }
      + [
        .double(0.5), .int64(1 << 40), .bool(true), .null, .binary(0, [1, 2, 3]),
        .scalar(.objectID, [UInt8](1...12)), .document([.init("x.y", .int32(1))]),
        .scalar(.date, [UInt8](repeating: 1, count: 6) + [0, 0]), .string("\u{E9}"),
        .string("e\u{301}"), .document([.init("x", .string("1"))]),
      ]
    ids = []
    for _ in 0..<6 {
      let id = all[random.below(all.count)]
      if !ids.contains(id) { ids.append(id) }
    }
    names = ["d.my coll"]
    for _ in 0..<3 { names.append(Self.allNames[random.below(Self.allNames.count)]) }
  }

  var position: OplogPosition { OplogPosition(seconds: 1000, increment: increment) }

  // MARK: Values

  mutating func value(_ depth: Int = 0) -> Value {
    switch random.below(depth > 3 ? 9 : 14) {
    case 0: return .int32(Int32(random.below(5)))
    case 1: return .int64(Int64(random.below(5)) << 33)
    case 2: return .double(Double(random.below(9)) / 4)
    case 3: return .string(["", "x", "\u{E9}", "a.b", "\"\\"][random.below(5)])
    case 4: return .bool(random.below(2) == 0)
    case 5: return .null
    case 6: return .binary([0, 4, 5, 128][random.below(4)], [UInt8](repeating: 7, count: 16))
    case 7: return .timestamp(UInt32(random.below(9)), 1)
    case 8:
      return [
        .scalar(.minKey, []), .scalar(.regex, Array("a\0i\0".utf8)),
        .scalar(.decimal128, [UInt8](repeating: 0, count: 14) + [0x40, 0x30]),
        .scalar(.objectID, [UInt8](repeating: UInt8(random.below(9)), count: 12)),
        .scalar(.date, withUnsafeBytes(of: Int64(random.below(99)).littleEndian, Array.init)),
      ][random.below(5)]
    case 9...11: return .document(fields(depth + 1))
    default:
      var list: [Value] = []
      for _ in 0..<random.below(4) { list.append(value(depth + 1)) }
      return .array(list)
    }
  }

  mutating func fields(_ depth: Int = 0) -> [Value.Field] {
    var fields: [Value.Field] = []
    for _ in 0..<random.below(5) {
      let name = Self.fieldNames[random.below(Self.fieldNames.count)]
      if Value.document(fields)[name] == nil { fields.append(.init(name, value(depth))) }
    }
    return fields
  }

  /// The value with something in it changed.
  mutating func changed(_ given: Value, _ depth: Int = 0) -> Value {
    switch given {
    case .document(var fields) where depth == 0 || random.below(6) > 0:
      let name = Self.fieldNames[random.below(Self.fieldNames.count)]
      let index =
        fields.isEmpty
        ? nil
        : random.below(2) == 0
          ? random.below(fields.count)
          : fields.firstIndex { $0.name.utf8.elementsEqual(name.utf8) }
      if let index {
        if random.below(4) == 0 {
          fields.remove(at: index)
        } else {
          fields[index].value = changed(fields[index].value, depth + 1)
        }
      } else if Value.document(fields)[name] == nil {
        fields.append(.init(name, value(depth + 1)))
      }
      return .document(fields)
    case .array(var list) where random.below(6) > 0:
      if list.isEmpty || random.below(3) == 0 {
        list.append(value(depth + 1))
      } else if random.below(3) == 0 {
        list.removeLast(1 + random.below(list.count))
      } else {
        let index = random.below(list.count)
        list[index] = changed(list[index], depth + 1)
      }
      return .array(list)
    default: return value(depth + 1)
    }
  }

  // MARK: Operations

  private func operation(
    _ op: String, _ namespace: [UInt8], _ o: Value, _ o2: Value? = nil
  ) -> [Value.Field] {
    var fields: [Value.Field] = [
      .init("op", .string(op)), .init("ns", .string(String(decoding: namespace, as: UTF8.self))),
      .init("o", o),
    ]
    if let o2 { fields.append(.init("o2", o2)) }
    return fields
  }

  mutating func append(_ fields: [Value.Field]) {
    increment += 1 + UInt32(random.below(8) / 7)
    let head: [Value.Field] = [
      .init("ts", .timestamp(position.seconds, position.increment)), .init("t", .int64(1)),
      .init("v", .int64(2)),
      .init("wall", .scalar(.date, [UInt8](repeating: 1, count: 5) + [0, 0, 0])),
    ]
    entries.append(Value.document(head + fields).bson)
  }

  private mutating func pick() -> [UInt8] {
    Array(names[random.below(names.count)].utf8)
  }

  /// One change of a document; nil where there is none to change.
  private mutating func documentChange() -> [Value.Field] {
    let name = pick()
    let number = random.below(ids.count)
    guard let known = collections[name]?[number] else {
      let new = Document(id: ids[number], fields: fields())
      collections[name, default: [:]][number] = new
      return operation("i", name, new.whole, .document([.init("_id", new.id)]))
    }
    let key = Value.document([.init("_id", known.id)])
    switch random.below(8) {
    case 0:
      collections[name]?[number] = nil
      return operation("d", name, key)
    case 1:
      let new = Document(id: known.id, fields: fields())
      collections[name]?[number] = new
      return operation("u", name, new.whole, key)
    default:
      var new = Value.document(known.fields)
      for _ in 0...random.below(3) { new = changed(new) }
      collections[name]?[number] = Document(id: known.id, fields: new.fields ?? [])
      let diff = Diff.between(known.fields, new.fields ?? [], &random)
      return operation("u", name, .document([.init("$v", .int32(2)), .init("diff", diff)]), key)
    }
  }

  private mutating func command(_ name: [UInt8], _ o: [Value.Field]) {
    let database = name.prefix { $0 != UInt8(ascii: ".") }
    append(operation("c", Array(database) + Array(".$cmd".utf8), .document(o)))
  }

  private static func collection(_ name: [UInt8]) -> Value {
    .string(String(decoding: name.drop { $0 != UInt8(ascii: ".") }.dropFirst(), as: UTF8.self))
  }

  mutating func step() {
    switch random.below(60) {
    case 0:
      let name = pick()
      guard collections.removeValue(forKey: name) != nil else { return }
      command(name, [.init("drop", Self.collection(name))])
    case 1, 2:
      let from = pick()
      let to = pick()
      guard from != to, let moved = collections.removeValue(forKey: from) else { return }
      var o: [Value.Field] = [
        .init("renameCollection", .string(String(decoding: from, as: UTF8.self))),
        .init("to", .string(String(decoding: to, as: UTF8.self))),
      ]
      if collections[to] != nil {
        o.append(.init("dropTarget", .binary(4, [UInt8](repeating: 9, count: 16))))
      }
      collections[to] = moved
      command(from, o)
    case 3:
      let database = random.below(2) == 0 ? "d." : "e."
      for name in collections.keys.sorted(by: { $0.lexicographicallyPrecedes($1) })
      where name.starts(with: Array(database.utf8)) {
        collections[name] = nil
        command(name, [.init("drop", Self.collection(name))])
      }
      command(Array("\(database)x".utf8), [.init("dropDatabase", .int32(1))])
    case 4...8:
      var operations: [Value] = []
      for _ in 0...random.below(4) { operations.append(.document(documentChange())) }
      let session = Value.document([.init("id", .binary(4, [UInt8](repeating: 1, count: 16)))])
      append(
        [
          .init("lsid", session), .init("txnNumber", .int64(Int64(increment))),
          .init(
            "prevOpTime", .document([.init("ts", .timestamp(0, 0)), .init("t", .int64(-1))])),
        ]
          + operation(
            "c", Array("admin.$cmd".utf8), .document([.init("applyOps", .array(operations))])))
    default: append(documentChange())
    }
  }
}

/// Repeatable: the same seed, the same numbers (SplitMix64).
struct Dice {
  var state: UInt64

  mutating func below(_ limit: Int) -> Int {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return Int((z ^ (z >> 31)) >> 1) % limit
  }
}
