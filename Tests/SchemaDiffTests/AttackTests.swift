import Foundation
import JSON
import JSONSchema
import SchemaDiff
import TestRandom
import Testing

/// Verdicts attacked with values. Of each pair of a random schema and one that was changed, or that says the same in other
/// words, each direction that is called compatible is attacked with `DIFF_VALUES` values along the border of what the
/// writer's version accepts. `DIFF_PAIRS` pairs, from the seed `DIFF_SEED` on. That such an attack would find something is
/// seen where directions are called incompatible: most of them it refutes, without their witnesses.
@Suite("Attacks on verdicts") struct AttackTests {
  static func setting(_ name: String, _ standard: Int) -> Int {
    ProcessInfo.processInfo.environment[name].flatMap { Int($0) } ?? standard
  }

  static let pairs = setting("DIFF_PAIRS", 250)
  static let values = setting("DIFF_VALUES", 60)
  static let seed = UInt64(setting("DIFF_SEED", 1))
  /// From this pair on, and no others but it: to look at one again.
  static let only = setting("DIFF_ONLY", -1)

  private struct Pair {
    var number: Int
    var old: JSONValue
    var new: JSONValue
    var compiledOld: CompiledSchema
    var compiledNew: CompiledSchema

    var text: String { "\(number): \(old) => \(new)" }
  }

  private func pair(_ number: Int) -> Pair? {
    var schemas = RandomSchemas(seed: Self.seed &* 1_000_003 &+ UInt64(number))
    let old = schemas.schema()
    var new = old
    let kind = schemas.random.below(6)
    if kind < 3 { new = schemas.disguised(new) }
    if kind != 0 { new = schemas.changed(new) }
    if kind == 5 { new = schemas.changed(new) }
    guard new != old, let compiledOld = try? CompiledSchema(old),
      let compiledNew = try? CompiledSchema(new)
    else { return nil }
    return Pair(
      number: number, old: old, new: new, compiledOld: compiledOld, compiledNew: compiledNew)
  }

  @Test func `no value refutes a verdict`() {
    var counts: [String: Int] = [:]
    var tried = 0
    var accepted = 0
    var refuted = 0
    for number in Self.only >= 0 ? Self.only..<(Self.only + 1) : 0..<Self.pairs {
      guard let pair = pair(number) else { continue }
      let comparison = SchemaComparison(old: pair.compiledOld, new: pair.compiledNew)
      for (direction, writer, reader, documents) in [
        (comparison.backward, pair.compiledOld, pair.compiledNew, [pair.old, pair.old, pair.new]),
        (comparison.forward, pair.compiledNew, pair.compiledOld, [pair.new, pair.new, pair.old]),
      ] {
        counts[direction.word, default: 0] += 1
        for difference in direction.differences + direction.caveats {
          #expect(writer.explain(difference.witness).isValid, "\(pair.text)")
          #expect(!reader.explain(difference.witness).isValid, "\(pair.text)")
        }
        guard direction.verdict != .undecided else { continue }
        var attack = Attack(
          direction, writer, reader,
          Instances(SeededRandom(seed: Self.seed &+ UInt64(number)), documents))
        let value = attack.run(Self.values)
        guard direction.verdict == .compatible else {
          if value != nil { refuted += 1 }
          continue
        }
        if let value { Issue.record("\(value) refutes \(pair.text)") }
        tried += attack.tried
        accepted += attack.accepted
      }
    }
    let incompatible = counts["no", default: 0]
    print(
      "attacks: \(Self.pairs) pairs, \(tried) values, \(accepted) accepted; verdicts \(counts); "
        + "found for \(refuted) of \(incompatible) that are incompatible")
    // Nearly everything is decided, and many values are such as the writer's version accepts.
    #expect(counts["?", default: 0] * 12 < counts.values.reduce(0, +), "\(counts)")
    #expect(Self.only >= 0 || accepted * 8 > tried, "\(accepted) of \(tried)")
    #expect(Self.only >= 0 || refuted * 2 > incompatible, "\(refuted) of \(incompatible)")
  }

  /// Of a new optional property, wherever it is declared: values without it refute no verdict.
  @Test func `an added optional property is compatible for those who don't write it`() {
    var schemas = RandomSchemas(seed: Self.seed &+ 2)
    var counts: [String: Int] = [:]
    for number in 0..<(Self.pairs / 2) {
      let old = schemas.schema()
      let new = schemas.withProperty("fresh", in: old)
      guard new != old, let compiledOld = try? CompiledSchema(old),
        let compiledNew = try? CompiledSchema(new)
      else { continue }
      let backward = SchemaComparison(old: compiledOld, new: compiledNew).backward
      counts[backward.word, default: 0] += 1
      guard backward.verdict == .compatible else { continue }
      var attack = Attack(
        backward, compiledOld, compiledNew, Instances(schemas.random, [old, old, new]))
      if let value = attack.run(Self.values) {
        Issue.record("\(number): \(value) refutes \(old) => \(new)")
      }
    }
    print("added properties: verdicts \(counts)")
    #expect(counts["yes*", default: 0] > counts["no", default: 0], "\(counts)")
  }

  /// A writer's schema that names members by other means than `properties`, or demands more than it names: a property that
  /// the reader adds under such a name is no addition, and nothing is excused.
  @Test func `what a writer names in other ways is not undeclared`() {
    var schemas = RandomSchemas(seed: Self.seed &+ 4)
    var counts: [String: Int] = [:]
    for number in 0..<Self.pairs {
      let (old, name) = schemas.naming()
      var new = old
      var properties = new["properties"] ?? .object([])
      properties[name] = ["type": .string(schemas.random.pick(RandomSchemas.types))]
      new["properties"] = properties
      guard let compiledOld = try? CompiledSchema(old), let compiledNew = try? CompiledSchema(new)
      else { continue }
      let backward = SchemaComparison(old: compiledOld, new: compiledNew).backward
      counts[backward.word, default: 0] += 1
      guard backward.verdict == .compatible else { continue }
      var attack = Attack(
        backward, compiledOld, compiledNew, Instances(schemas.random, [old, old, new]),
        excuses: false)
      if let value = attack.run(Self.values) {
        Issue.record("\(number): \(value) refutes \(old) => \(new)")
      }
    }
    print("named in other ways: verdicts \(counts)")
    #expect(counts["no", default: 0] > Self.pairs / 4, "\(counts)")
  }

  /// Each kind of decision the other way: a value that one version accepts and the other refuses is found by the
  /// comparison, too.
  @Test func `what values show is seen`() {
    var shown = 0
    for number in 0..<(Self.pairs / 2) {
      guard let pair = pair(number + 10_000_000) else { continue }
      var instances = Instances(
        SeededRandom(seed: Self.seed &+ UInt64(number)), [pair.old, pair.new])
      let value = (0..<30).lazy.map { _ in instances.value() }.first {
        pair.compiledOld.explain($0).isValid && !pair.compiledNew.explain($0).isValid
      }
      guard let value else { continue }
      shown += 1
      let backward = SchemaComparison(old: pair.compiledOld, new: pair.compiledNew).backward
      #expect(backward.strictVerdict != .compatible, "\(value) refutes \(pair.text)")
    }
    #expect(shown > Self.pairs / 25, "\(shown)")
  }
}

/// Values against one direction that is called compatible.
private struct Attack {
  private let writer: CompiledSchema
  private let reader: CompiledSchema
  private var instances: Instances
  private let excused: [String]
  private(set) var tried = 0
  private(set) var accepted = 0

  init(
    _ direction: SchemaComparison.Direction, _ writer: CompiledSchema, _ reader: CompiledSchema,
    _ instances: Instances, excuses: Bool = true
  ) {
    excused = excuses ? direction.caveats.map(\.instance) : []
    self.writer = writer
    self.reader = reader
    self.instances = instances
  }

  /// Returns a value that refutes the verdict.
  mutating func run(_ count: Int) -> JSONValue? {
    var present: JSONValue?
    while tried < count {
      if tried == 30, present == nil {
        // Perhaps there is none at all.
        guard let start else { return nil }
        present = start
      }
      var value = instances.value()
      if let present, instances.random.chance(7, in: 8) {
        value = instances.changed(present)
        if instances.random.chance(1, in: 4) { value = instances.changed(value) }
      }
      tried += 1
      guard writer.explain(value).isValid else { continue }
      accepted += 1
      present = value
      if refutes(value) { return value }
    }
    return nil
  }

  /// A value that the writer's version accepts, where none is met by chance.
  private var start: JSONValue? {
    guard let nothing = try? CompiledSchema(false) else { return nil }
    return SchemaComparison(old: writer, new: nothing).backward.differences.first?.witness
  }

  /// Caveats are about members that the writer's schema doesn't declare: there a refusal is what they say. Without those
  /// members, nothing may be refused.
  private func refutes(_ value: JSONValue) -> Bool {
    guard !reader.explain(value).isValid else { return false }
    guard !excused.isEmpty else { return true }
    // A rule about the whole document.
    if excused.contains("") { return false }
    var rest = value
    for instance in excused {
      rest = Self.without(JSONPointer.tokens(instance)?[...] ?? [], in: rest)
    }
    return rest != value && writer.explain(rest).isValid && !reader.explain(rest).isValid
      || rest == value
  }

  /// A value without what is at a place, `*` being any member or item.
  private static func without(_ path: ArraySlice<String>, in value: JSONValue) -> JSONValue {
    guard let first = path.first else { return value }
    switch value {
    case .object(let members):
      return .object(
        members.compactMap { member in
          guard first == "*" || member.key.utf8.elementsEqual(first.utf8) else { return member }
          return path.count == 1
            ? nil : .init(member.key, without(path.dropFirst(), in: member.value))
        })
    case .array(let items):
      return .array(items.map { without(path.dropFirst(), in: $0) })
    default: return value
    }
  }
}
