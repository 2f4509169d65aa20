import JSON
import Mapping
import Oplog
import Parity
import TestRandom
import Testing

/// Insert and update mean the same: a consumer that applies a published update to what was published of the
/// document before has what would be published of the document as it is now.
@Suite("Insert and update mean the same")
struct InsertAndUpdateTests {
  @Test("random documents, updates and filters") func property() throws {
    var counts: [Verdict: Int] = [:]
    for seed in 0..<6000 {
      var world = FilteredUpdate(chance: SeededRandom(seed: UInt64(seed)))
      counts[try judge(&world, seed), default: 0] += 1
    }
    #expect(counts[.same, default: 0] > 3000, "\(counts)")
    #expect(counts[.untold, default: 0] > 300, "\(counts)")
  }

  private enum Verdict {
    /// The update has a message, and it says the same.
    case same
    /// It has none, and need not have one.
    case untold
    /// What docs/mapping.md calls undecidable.
    case exception
  }

  private func judge(_ world: inout FilteredUpdate, _ seed: Int) throws -> Verdict {
    let rule = try world.rule()
    let old = world.document()
    var new = old
    for _ in 0...world.chance.below(2) { new = world.changed(new) }
    if new == old { return .untold }
    let description = UpdateDescriptions.between(old, new, &world.chance)
    // Which of two fields with one path is meant, nothing tells.
    guard let description else { return .exception }
    let written = Written(rule)
    let before = try shown(written.body(.insert(old)), "fullDocument")
    let after = try shown(written.body(.insert(new)), "fullDocument")
    let change = Change.update(description)
    let isSkipped = try change.with { event in
      var mapper = Mapper(rules: [rule], sourceName: "rs0")
      return mapper.skips(event, rule: 0)
    }
    let update = try shown(written.body(change), "updateDescription")
    // Of a shortened array nobody knows which elements are left.
    if world.isShortened(old, before) || world.isShortened(new, after) { return .exception }
    // An update of a part of a hashed value doesn't tell the new hash.
    if world.hashes, String(decoding: update.utf8, as: UTF8.self).contains("***") {
      return .exception
    }
    let folded = isSkipped ? before : DocumentFold.apply(update, to: before)
    #expect(
      DocumentFold.sorted(folded) == DocumentFold.sorted(after),
      """
      seed \(seed), \(isSkipped ? "skipped" : "published"), \(world.filter): \(text(before)) and \
      \(text(update)) make \(text(folded)), not \(text(after))
      """)
    return isSkipped ? .untold : .same
  }

  private func text(_ value: JSONValue) -> String { String(decoding: value.utf8, as: UTF8.self) }

  private func shown(_ body: String, _ member: String) throws -> JSONValue {
    let value = try JSONValue(parsing: Array(body.utf8), maximumDepth: DocumentFold.maximumDepth)
    return value[member] ?? .object([])
  }
}

/// Random documents, changes of them, and a filter over the same names.
private struct FilteredUpdate {
  struct Filter {
    var include: [String] = []
    var exclude: [String] = []
    var rename: [String: String] = [:]
    var redact: [String: Redaction] = [:]
  }

  var chance: SeededRandom
  private(set) var filter = Filter()
  /// Names with dots look like the insides of redacted values.
  private var names = ["a", "b", "c", "7", "0"]

  init(chance: SeededRandom) {
    self.chance = chance
    let redacts = self.chance.below(2) == 0
    if !redacts, self.chance.below(3) == 0 { names += ["a.b", "b.0", "c.a.b"] }
    for _ in 0..<self.chance.below(4) { filter.include.append(path()) }
    for _ in 0..<self.chance.below(3) { filter.exclude.append(path()) }
    for number in 0..<self.chance.below(3) { filter.rename[path()] = "n\(number)" }
    guard redacts else { return }
    for _ in 0...self.chance.below(2) {
      filter.redact[path()] = self.chance.pick([.mask, .hash, .drop])
    }
  }

  var hashes: Bool { filter.redact.values.contains(.hash) }

  private mutating func path() -> String {
    (0...chance.below(3)).map { _ in chance.pick(["a", "b", "c", "a", "b", "7", "0"]) }
      .joined(separator: ".")
  }

  func rule() throws -> Rule {
    func full(_ paths: some Sequence<String>) -> [String] { paths.map { "fullDocument." + $0 } }
    let dropped = filter.redact.filter { $0.value == .drop }.keys
    var rule = try MappingTests.rule(
      include: full(filter.include), exclude: full(filter.exclude) + full(dropped))
    rule.changes.renames = try filter.rename.sorted { $0.key < $1.key }.map {
      .init(path: try .init(include: "fullDocument." + $0), name: $1)
    }
    rule.changes.redactions = try filter.redact.sorted { $0.key < $1.key }.map {
      .init(path: try .init(include: "fullDocument." + $0), redaction: $1)
    }
    return rule
  }

  // MARK: Documents

  mutating func document() -> Value { .document(fields(3)) }

  private mutating func fields(_ depth: Int) -> [Value.Field] {
    var fields: [Value.Field] = []
    for _ in 0..<chance.below(5) {
      let name = chance.pick(names)
      if fields.contains(where: { $0.key == name }) { continue }
      fields.append(.init(key: name, value: value(depth - 1)))
    }
    return fields
  }

  private mutating func value(_ depth: Int) -> Value {
    switch depth > 0 ? chance.below(7) : 6 {
    case 0, 1, 2: .document(fields(depth))
    // Mostly of documents: shortened ones say little.
    case 3: .array((0..<chance.below(4)).map { _ in .document(fields(depth)) })
    case 4: .array((0..<chance.below(4)).map { _ in value(depth - 1) })
    default: chance.pick([1, 2, .null, "x", .bool(true)])
    }
  }

  /// The value with something in it changed: set, removed, added, replaced by something of any kind.
  mutating func changed(_ value: Value, depth: Int = 3) -> Value {
    switch value {
    case .document(var fields) where depth == 3 || chance.below(4) > 0:
      let name = chance.pick(names)
      if let index = fields.firstIndex(where: { $0.key == name }) ?? fields.indices.first {
        if chance.below(5) == 0 {
          fields.remove(at: index)
        } else {
          fields[index].value = changed(fields[index].value, depth: depth - 1)
        }
      } else {
        fields.append(.init(key: name, value: self.value(depth - 1)))
      }
      return .document(fields)
    case .array(var list) where chance.below(4) > 0:
      if list.isEmpty || chance.below(3) == 0 {
        list.append(self.value(depth - 1))
      } else if chance.below(3) == 0 {
        list.removeLast(1 + chance.below(list.count))
      } else {
        let index = chance.below(list.count)
        list[index] = changed(list[index], depth: depth - 1)
      }
      return .array(list)
    default: return self.value(depth - 1)
    }
  }

  /// Whether an array is shown with fewer elements than it has.
  func isShortened(_ value: Value, _ shown: JSONValue) -> Bool {
    switch (value, shown) {
    case (.array(let list), .array(let left)):
      list.count != left.count || zip(list, left).contains { isShortened($0, $1) }
    case (.document(let fields), .object(let members)):
      members.contains { member in
        fields.contains { $0.key == original(member.key) && isShortened($0.value, member.value) }
      }
    default: false
    }
  }

  /// Of a name that may be a new one: each is given once.
  private func original(_ name: String) -> String {
    name.split(separator: ".", omittingEmptySubsequences: false).map { part in
      filter.rename.first { $0.value == part }?.key.split(separator: ".").last.map(String.init)
        ?? String(part)
    }.joined(separator: ".")
  }
}

/// Descriptions of updates as change streams have them.
private struct UpdateDescriptions {
  private var set: [Value.Field] = []
  private var removed: [Value] = []
  private var truncated: [Value] = []
  private var paths: [Value.Field] = []

  /// Nil: two fields have one path.
  static func between(_ old: Value, _ new: Value, _ chance: inout SeededRandom) -> Value? {
    guard case .document(let before) = old, case .document(let after) = new else { return nil }
    var made = Self()
    made.compare(before, after, [], &chance)
    guard Set(made.paths.map(\.key)).count == made.paths.count else { return nil }
    return [
      "updatedFields": .document(made.set), "removedFields": .array(made.removed),
      "truncatedArrays": .array(made.truncated), "disambiguatedPaths": .document(made.paths),
    ]
  }

  private mutating func name(_ way: [Value]) -> String {
    let path = way.map { part in
      if case .string(let name) = part { return name }
      if case .int32(let index) = part { return String(index) }
      return ""
    }.joined(separator: ".")
    // Paths that can be read in one way only may stand there, too.
    paths.append(.init(key: path, value: .array(way)))
    return path
  }

  private mutating func compare(
    _ old: [Value.Field], _ new: [Value.Field], _ way: [Value], _ chance: inout SeededRandom
  ) {
    for field in old where !new.contains(where: { $0.key == field.key }) {
      removed.append(.string(name(way + [.string(field.key)])))
    }
    for field in new {
      change(
        old.first { $0.key == field.key }?.value, field.value, way + [.string(field.key)], &chance)
    }
  }

  private mutating func change(
    _ old: Value?, _ new: Value, _ way: [Value], _ chance: inout SeededRandom
  ) {
    if old == new { return }
    switch (old, new) {
    case (.document(let before)?, .document(let after)) where chance.below(4) > 0:
      compare(before, after, way, &chance)
    case (.array(let before)?, .array(let after)) where chance.below(4) > 0:
      if after.count < before.count {
        truncated.append(
          ["field": .string(name(way)), "newSize": .int32(Int32(after.count))])
      }
      for (index, value) in after.enumerated() {
        change(
          before.indices.contains(index) ? before[index] : nil, value,
          way + [.int32(Int32(index))], &chance)
      }
    default: set.append(.init(key: name(way), value: new))
    }
  }
}
