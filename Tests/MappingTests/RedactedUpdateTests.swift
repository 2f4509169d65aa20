import BSON
import Foundation
import Mapping
import Oplog
import TestRandom
import Testing

/// What is inside a redacted value is hidden: names, lengths, removals.
@Suite("The inside of redacted values")
struct RedactedUpdateTests {
  private func written(_ redaction: Redaction, _ paths: [String], rename: [String: String] = [:])
    throws -> Written
  {
    var rule = try rule()
    rule.changes.redactions = try paths.map {
      .init(path: try .init(include: $0), redaction: redaction)
    }
    rule.changes.renames = try rename.map { .init(path: try .init(include: $0), name: $1) }
    return Written(rule)
  }

  @Test(
    "the path ends at the redacted value, and each is there once",
    arguments: [Redaction.mask, .hash])
  func cut(_ redaction: Redaction) throws {
    let body = try written(
      redaction, ["fullDocument.m.s", "fullDocument.list"], rename: ["fullDocument.m": "n"]
    ).body(
      .update([
        "updatedFields": ["m.7.s.kA": 1, "m.7.s.kB": .null, "m.s.kC": ["kD": 1], "m.open": 2],
        "removedFields": ["m.7.s.kE", "m.8.s.kF", "m.9.s", "m.gone"],
        "truncatedArrays": [
          ["field": "m.10.s.kG", "newSize": 1], ["field": "list", "newSize": 77],
          ["field": "shown", "newSize": 3],
        ],
        "disambiguatedPaths": [
          "m.7.s.kA": ["m", "7", "s", "kA"], "m.7.s.kB": ["m", "7", "s", "kB"],
          "m.3.x": ["m", "3", "x"], "m.11.s.kH": ["m", 11, "s.kH"], "m.s.kC": ["m", "s", "kC"],
        ],
      ]))
    #expect(
      body.hasSuffix(
        #""updatedFields":{"n.7.s":"***","n.s":"***","n.open":2,"n.8.s":"***","n.10.s":"***","#
          + #""list":"***"},"removedFields":["n.9.s","n.gone"],"#
          + #""truncatedArrays":[{"field":"shown","newSize":3}],"#
          + #""disambiguatedPaths":{"n.7.s":["n","7","s"],"n.3.x":["n","3","x"],"#
          + #""n.11.s":["n",11,"s"]}}}"#), "\(body)")
  }

  @Test("a value that is set as a whole is masked or hashed as before") func whole() throws {
    let update = Change.update([
      "updatedFields": ["m.s": ["k": 1], "m.7": ["s": ["k": 1], "o": 1]], "removedFields": [],
    ])
    #expect(
      try written(.mask, ["fullDocument.m.s"]).body(update).hasSuffix(
        #""updatedFields":{"m.s":"***","m.7":{"s":"***","o":1}},"removedFields":[]}}"#))
  }

  @Test("random updates name nothing inside, in any envelope") func property() throws {
    var hiddenCount = 0
    for seed in 0..<400 {
      var maker = HiddenTests.Maker(chance: SeededRandom(seed: UInt64(seed)))
      let hidden = maker.paths()
      var inside: [String] = []
      func name() -> String {
        let way = (0...maker.chance.below(3)).map { _ in
          maker.chance.pick(["map", "secret", "x", "7", "0", "12"])
        }
        let last = "key-\(seed)-\(maker.chance.below(1_000_000))-"
        if HiddenTests.covers(hidden, way) { inside.append(last) }
        return (way + [last]).joined(separator: ".")
      }
      let set = (0..<3).map { _ in name() }
      let removed = (0..<3).map { _ in name() }
      let cut = (0..<3).map { _ in name() }
      let update = Change.update([
        "updatedFields": .document(set.map { .init(key: $0, value: 1) }),
        "removedFields": .array(removed.map { .string($0) }),
        "truncatedArrays": .array(cut.map { ["field": .string($0), "newSize": 1] }),
        "disambiguatedPaths": .document(
          (set + removed + cut).map { name in
            .init(
              key: name, value: .array(name.split(separator: ".").map { .string(String($0)) }))
          }),
      ])
      for envelope in [Envelope.cloudEvents, .cloudEventsStructured, .changeEvent, .debezium] {
        var rule = try rule(envelope: envelope)
        let redaction = maker.chance.pick([Redaction.mask, .hash])
        rule.changes.redactions = try HiddenTests.names(hidden).map {
          .init(path: try .init(include: $0), redaction: redaction)
        }
        let body = try Written(rule).body(update)
        for name in inside {
          hiddenCount += 1
          #expect(!body.contains(name), "\(hidden): \(body)")
        }
        #expect(inside.isEmpty || body.contains("***"), "\(hidden): \(body)")
      }
    }
    #expect(hiddenCount > 500)
  }

  // MARK: Documents

  /// Every scalar, and every key that holds one, stands nowhere else.
  private struct Maker {
    var chance: SeededRandom
    var leaves: [(way: [String], key: String, text: String)] = []
    static let keys = ["map", "secret", "x", "7", "0", "7.secret", "map.x", "x.0.map"]

    mutating func document(_ way: [String], depth: Int) -> Value {
      var fields: [Value.Field] = []
      for _ in 0...chance.below(3) {
        var key = chance.pick(Self.keys)
        if fields.contains(where: { $0.key == key }) { continue }
        if depth == 0 || chance.below(3) == 0 {
          let number = leaves.count
          key = chance.below(3) == 0 ? "\(key).key-\(number)-" : "key-\(number)-"
          leaves.append((way + parts(key), "key-\(number)-", "text-\(number)-"))
          fields.append(.init(key: key, value: .string("text-\(number)-")))
        } else if chance.below(4) == 0 {
          fields.append(
            .init(
              key: key,
              value: .array(
                (0..<chance.below(3)).map {
                  document(way + parts(key) + ["\($0)"], depth: depth - 1)
                })))
        } else {
          fields.append(.init(key: key, value: document(way + parts(key), depth: depth - 1)))
        }
      }
      return .document(fields)
    }

    private func parts(_ key: String) -> [String] { key.split(separator: ".").map(String.init) }
  }

  private static let redactionKey = [UInt8](repeating: 7, count: 32)

  /// Headers and body, of a document read by a snapshot as well.
  private func message(_ rule: Rule, _ change: Change) throws -> String {
    var change = change
    change.collectionUUID = [UInt8](repeating: 1, count: 16)
    return try change.with { event in
      var mapper = Mapper(rules: [rule], sourceName: "rs0", redactionKey: Self.redactionKey)
      var out = ByteWriter()
      try mapper.writeHeaders(rule: 0, event: event, match: 0, into: &out)
      try mapper.writeBody(rule: 0, event: event, match: 0, into: &out)
      return String(decoding: out.bytes, as: UTF8.self)
    }
  }

  @Test("random documents: no key and no value of a redacted one is anywhere in the message")
  func documents() throws {
    var hiddenCount = 0
    for seed in 0..<300 {
      var paths = HiddenTests.Maker(chance: SeededRandom(seed: UInt64(seed)))
      let hidden = paths.paths()
      var maker = Maker(chance: SeededRandom(seed: UInt64(seed) + 1_000_000))
      let document = maker.document([], depth: 3)
      for envelope in Envelope.allCases {
        for redaction in [Redaction.mask, .hash] {
          var rule = try rule(
            "x", envelope: envelope, json: maker.chance.pick([.simplified, .relaxed, .canonical]))
          // Of the document, and as if it were the document's `_id`.
          rule.changes.redactions = try
            (HiddenTests.names(hidden)
            + hidden.map { "fullDocument._id." + $0.joined(separator: ".") }).map {
              .init(path: try .init(include: $0), redaction: redaction)
            }
          rule.fullDocumentBeforeChange = .whenAvailable
          var changes = [
            Change.insert(document), .insert(["_id": document], key: ["_id": document]),
            .delete(key: ["_id": document]),
          ]
          changes[0].fullDocumentBeforeChange = document
          changes.append(changes[1])
          changes[3].isSnapshot = true
          if envelope != .document {
            changes.append(.update(["updatedFields": document, "removedFields": []]))
          }
          for change in changes {
            let text = try message(rule, change)
            for leaf in maker.leaves where HiddenTests.covers(hidden, leaf.way) {
              hiddenCount += 1
              #expect(
                !text.contains(leaf.key) && !text.contains(leaf.text),
                "seed \(seed), \(leaf), \(hidden): \(text)")
            }
          }
        }
      }
    }
    #expect(hiddenCount > 10_000)
  }

  @Test("fields whose names look like the inside are one member, as in updates") func dottedNames()
    throws
  {
    let written = try written(.mask, ["fullDocument.a.b"])
    #expect(
      try written.body(.insert(["a.b.kA": 1, "a.b.kB": 2, "a": ["b": ["kC": 1], "o": 1]]))
        .hasSuffix(
          #""fullDocument":{"a.b":"***","a":{"b":"***","o":1}}}"#))
    #expect(
      try written.body(.insert(["a.b.kA": 1, "a.b": "x"])).hasSuffix(
        #""fullDocument":{"a.b":"***"}}"#))
  }

  @Test("what include and exclude say of the inside doesn't matter") func insides() throws {
    var rule = try rule(exclude: ["fullDocument.a.seen"])
    rule.changes.redactions = [
      .init(path: try .init(include: "fullDocument.a"), redaction: .mask)
    ]
    let update = Change.update(["updatedFields": ["a.seen": 1], "removedFields": []])
    #expect(
      try Written(rule).body(update).hasSuffix(#""updatedFields":{"a":"***"},"removedFields":[]}}"#)
    )
    rule.filter = PayloadFilter(include: [try .init(include: "fullDocument.a.seen")], exclude: [])
    #expect(
      try Written(rule).body(.update(["updatedFields": ["a.x": 1, "b": 2], "removedFields": []]))
        .hasSuffix(#""updatedFields":{"a":"***"},"removedFields":[]}}"#))
    #expect(try Written(rule).body(.insert(["a": ["x": 1]])).hasSuffix(#"{"a":"***"}}"#))
  }

  @Test("all that an update sets, redacted as a whole") func wholeDescription() throws {
    let body = try written(.mask, ["updateDescription.updatedFields"]).body(
      .update([
        "updatedFields": ["kA.0": 1], "removedFields": ["gone"],
        "disambiguatedPaths": ["kA.0": ["kA", "0"]],
      ]))
    #expect(
      body.hasSuffix(
        #"{"updatedFields":"***","removedFields":["gone"],"disambiguatedPaths":{}}}"#), "\(body)")
  }

  @Test("names that a rename would give twice are not looked for inside") func renamed() throws {
    var rule = try rule()
    rule.changes.redactions = [
      .init(path: try .init(include: "fullDocument.a"), redaction: .mask)
    ]
    rule.changes.renames = [.init(path: try .init(include: "fullDocument.a.kA"), name: "kB")]
    let update = Change.update(["updatedFields": ["a.kA": 1, "a.kB": 2], "removedFields": []])
    #expect(
      try Written(rule).body(update).hasSuffix(#""updatedFields":{"a":"***"},"removedFields":[]}}"#)
    )
  }

  // MARK: The document's id

  @Test(
    "ce-subject and the ids of snapshots don't tell an _id that is redacted",
    arguments: [Envelope.cloudEvents, .cloudEventsStructured])
  func documentID(_ envelope: Envelope) throws {
    func message(_ redaction: Redaction, _ path: String, _ id: Value, isSnapshot: Bool = false)
      throws -> String
    {
      var rule = try rule("x", envelope: envelope)
      rule.changes.redactions = [.init(path: try .init(include: path), redaction: redaction)]
      if redaction == .drop {
        rule.filter = PayloadFilter(
          include: [], exclude: try rule.changes.dropped.map { try .init(exclude: $0.text) })
      }
      var change = Change.delete(key: ["_id": id])
      change.isSnapshot = isSnapshot
      return try self.message(rule, change)
    }
    for path in ["fullDocument._id", "documentKey._id"] {
      for redaction in [Redaction.mask, .hash] {
        for isSnapshot in [false, true] {
          let text = try message(redaction, path, "a@b.example", isSnapshot: isSnapshot)
          #expect(!text.contains("a@b"), "\(text)")
          #expect(!text.contains("a%40b"), "\(text)")
          let body = try #require(text.range(of: "\"_id\":\"")).upperBound
          let shown = String(text[body...].prefix { $0 != "\"" })
          let subject =
            envelope == .cloudEvents ? "ce-subject: \(shown)" : "\"subject\":\"\(shown)\""
          #expect(text.contains(subject) == (redaction == .hash), "\(text)")
          let hasSubject = text.contains("ce-subject") || text.contains("\"subject\":")
          #expect(hasSubject == (redaction == .hash), "\(text)")
        }
      }
    }
    let part = try message(.mask, "fullDocument._id.mail", ["mail": "a@b", "n": 1])
    #expect(
      part.contains(
        envelope == .cloudEvents
          ? #"ce-subject: {%22mail%22:%22***%22,%22n%22:1}"#
          : #""subject":"{\"mail\":\"***\",\"n\":1}""#), "\(part)")
    let snapshot = try message(.mask, "fullDocument._id.mail", ["mail": "a@b"], isSnapshot: true)
    #expect(snapshot.contains("snapshot:1732360000.42:01010101010101010101010101010101:3:hmac-"))
    // Bodies without the key, and not more: headers see the whole event.
    let whole = try message(.drop, "documentKey._id", "m1")
    #expect(!whole.contains("m1"), "\(whole)")
  }
}
