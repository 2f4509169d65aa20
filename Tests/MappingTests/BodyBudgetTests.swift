import BSON
import Mapping
import Oplog
import Testing

/// Bodies take a bounded number of steps of one event. Beyond them it is a dead letter.
@Suite("What bodies may take")
struct BodyBudgetTests {
  /// So many times the bytes of some fields.
  private static func document(_ count: Int, _ fields: [Value.Field]) -> Value {
    let some = Value.document(fields).bytes.dropFirst(4).dropLast()
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count * some.count + 5)
    for _ in 0..<count { bytes += some }
    let size = Int32(bytes.count + 5)
    return .raw(.document, withUnsafeBytes(of: size.littleEndian) { Array($0) } + bytes + [0])
  }

  private static let nulls = [Value.Field(key: "a", value: .null)]

  private static func path(_ text: String) throws -> PayloadFilter.Path {
    try PayloadFilter.Path(exclude: text)
  }

  private static func changed(
    rename: [String: String] = [:], redact: [String: Redaction] = [:], exclude: [String] = []
  ) throws -> Rule {
    var rule = try rule(exclude: exclude)
    rule.changes = PayloadChanges(
      renames: try rename.sorted { $0.key < $1.key }.map {
        PayloadChanges.Rename(path: try path($0.key), name: $0.value)
      },
      redactions: try redact.sorted { $0.key < $1.key }.map {
        PayloadChanges.Redacted(path: try path($0.key), redaction: $0.value)
      })
    return rule
  }

  /// The body's length, or the code of the error; and whether the update counts as empty.
  private static func outcome(
    _ rule: Rule, _ change: Change
  ) throws -> (body: String, isSkipped: Bool) {
    var mapper = Mapper(rules: [rule], sourceName: "rs0", redactionKey: [1, 2, 3])
    return try change.with { event in
      let isSkipped = mapper.skips(event, rule: 0)
      var results: [String] = []
      for _ in 0..<2 {
        var body = ByteWriter()
        do throws(MappingError) {
          try mapper.writeBody(rule: 0, event: event, match: 0, into: &body)
          results.append("\(body.count)")
        } catch {
          #expect(body.count == 0)
          results.append(error.code.rawValue)
        }
      }
      #expect(results[0] == results[1])
      return (results[0], isSkipped)
    }
  }

  @Test("fields that a filter passes over") func filtered() throws {
    for rule in [try rule(exclude: ["fullDocument.a"]), try rule(include: ["fullDocument.b"])] {
      let some = try Self.outcome(rule, .insert(Self.document(50_000, Self.nulls)))
      #expect(some.body == "71")
      let many = try Self.outcome(rule, .insert(Self.document(1_000_001, Self.nulls)))
      #expect(many.body == "too_complex")
    }
    // Documents as they are take no longer than reading them.
    let whole = try Self.outcome(try rule(), .insert(Self.document(1_000_001, Self.nulls)))
    #expect(Int(whole.body).map { $0 > 9_000_000 } ?? false)
    // What is left out as a whole is not gone through.
    let left = try Self.outcome(
      try rule(exclude: ["fullDocument"]), .insert(Self.document(1_000_001, Self.nulls)))
    #expect(Int(left.body) != nil)
  }

  @Test("documents within each other") func nested() throws {
    let inner = Value.array([.document(Self.nulls + Self.nulls), .null])
    let fields = [Value.Field(key: "d", value: inner)]
    let rule = try rule(exclude: ["fullDocument.d.b"])
    #expect(Int(try Self.outcome(rule, .insert(Self.document(20_000, fields))).body) != nil)
    #expect(
      try Self.outcome(rule, .insert(Self.document(200_001, fields))).body == "too_complex")
  }

  @Test("values that are hashed") func hashed() throws {
    let rule = try Self.changed(redact: ["fullDocument.a": .hash])
    let field = [Value.Field(key: "a", value: 1)]
    #expect(Int(try Self.outcome(rule, .insert(Self.document(5_000, field))).body) != nil)
    #expect(try Self.outcome(rule, .insert(Self.document(20_000, field))).body == "too_complex")
    // As one value it is hashed once, whatever is in it.
    let one = Value.document([.init(key: "a", value: Self.document(20_000, field))])
    #expect(Int(try Self.outcome(rule, .insert(one)).body) != nil)
    // There is nothing to hide elsewhere.
    let other = [Value.Field(key: "b", value: 1)]
    #expect(Int(try Self.outcome(rule, .insert(Self.document(20_000, other))).body) != nil)
  }

  @Test("updates of paths", arguments: [Redaction.mask, .hash]) func paths(redaction: Redaction)
    throws
  {
    var rule = try Self.changed(redact: ["fullDocument.a": redaction])
    func update(_ count: Int) -> Change {
      .update(
        .document([
          .init(
            key: "updatedFields", value: Self.document(count, [.init(key: "a.b", value: .null)]))
        ]))
    }
    let few = try Self.outcome(rule, update(10_000))
    #expect(Int(few.body) != nil && !few.isSkipped)
    #expect(try Self.outcome(rule, update(60_000)).body == "too_complex")
    // That nothing is left of an update can't be told either.
    rule = try Self.changed(redact: ["fullDocument.x": redaction], exclude: ["fullDocument.a"])
    rule.skipsEmptyUpdates = true
    #expect(try Self.outcome(rule, update(10_000)).isSkipped)
    let many = try Self.outcome(rule, update(60_000))
    #expect(!many.isSkipped && many.body == "too_complex")
  }

  @Test("names that may be given twice") func renamed() throws {
    let rule = try Self.changed(rename: ["fullDocument.a": "b"])
    let beside = [Value.Field(key: "b", value: .null), .init(key: "c", value: .null)]
    #expect(Int(try Self.outcome(rule, .insert(Self.document(20_000, beside))).body) != nil)
    #expect(
      try Self.outcome(rule, .insert(Self.document(200_000, beside))).body == "too_complex")
    // A conflict is found wherever it is.
    let late = Value.document([
      .init(key: "a", value: .null),
      .init(key: "d", value: Self.document(10_000, [.init(key: "c", value: .null)])),
      .init(key: "b", value: .null),
    ])
    #expect(try Self.outcome(rule, .insert(late)).body == "name_taken")
  }

  @Test("of hundreds of paths each is found, and nothing else") func manyPaths() throws {
    let names = (0..<300).map { "field\($0)" }
    let fields = (0..<600).map { Value.Field(key: "field\($0)", value: .int32(Int32($0))) }
    let body = try Written(rule(envelope: .document, exclude: names.map { "fullDocument.\($0)" }))
      .body(.insert(.document(fields)))
    let left = (300..<600).map { "\"field\($0)\":\($0)" }.joined(separator: ",")
    #expect(body == "{\(left)}")
    var renaming = try rule(envelope: .document)
    renaming.changes = PayloadChanges(
      renames: try names.map {
        PayloadChanges.Rename(path: try Self.path("fullDocument.\($0)"), name: "new_\($0)")
      })
    let renamed = try Written(renaming).body(.insert(.document(fields)))
    let written = (0..<600).map { "\"\($0 < 300 ? "new_" : "")field\($0)\":\($0)" }
    #expect(renamed == "{\(written.joined(separator: ","))}")
    // One of them has the name already.
    let taken = fields + [.init(key: "new_field299", value: .null)]
    #expect(throws: MappingError.self) {
      try Written(renaming).body(.insert(.document(taken)))
    }
  }
}
