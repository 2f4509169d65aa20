import BSON
import Foundation
import Mapping
import Oplog
import TestRandom
import Testing

/// What a rule hides stays hidden, by whatever way it would come: random documents and updates against a
/// definition of their own.
@Suite("Hidden means hidden")
struct HiddenTests {
  // MARK: The definition

  /// A field's names from the document on, a key with dots taken apart.
  typealias Way = [String]

  /// Whether a path covers a field: it is found in the field's way from the start, where numbers may be
  /// passed over.
  static func covers(_ path: ArraySlice<String>, _ way: ArraySlice<String>) -> Bool {
    guard let first = path.first else { return true }
    guard let key = way.first else { return false }
    if key == first, covers(path.dropFirst(), way.dropFirst()) { return true }
    return isNumber(key) && covers(path, way.dropFirst())
  }

  static func isNumber(_ text: String) -> Bool {
    !text.isEmpty && text.utf8.allSatisfy { (48...57).contains($0) }
  }

  static func covers(_ paths: [Way], _ way: Way) -> Bool {
    paths.contains { covers($0[...], way[...]) }
  }

  // MARK: Documents

  /// Every scalar is a text that is nowhere else.
  struct Maker {
    var chance: SeededRandom
    var secrets: [(way: Way, text: String)] = []
    static let keys = ["map", "secret", "x", "7", "0", "12", "7.secret", "map.x", "x.0"]

    mutating func value(_ way: Way, depth: Int) -> Value {
      switch depth > 0 ? chance.below(5) : 4 {
      case 0, 1: return document(way, depth: depth)
      case 2, 3:
        return .array(
          (0..<chance.below(4)).map { value(way + [String($0)], depth: depth - 1) })
      default:
        let text = "value-\(secrets.count)-"
        secrets.append((way, text))
        return .string(text)
      }
    }

    mutating func document(_ way: Way, depth: Int) -> Value {
      var keys: [String] = []
      for _ in 0..<(1 + chance.below(4)) {
        let key = chance.pick(Self.keys)
        if !keys.contains(key) { keys.append(key) }
      }
      return .document(
        keys.map { key in
          let parts = key.split(separator: ".").map(String.init)
          return .init(key: key, value: value(way + parts, depth: depth - 1))
        })
    }

    mutating func paths() -> [Way] {
      (0...chance.below(2)).map { _ in
        (0...chance.below(3)).map { _ in chance.pick(["map", "secret", "x", "7", "0", "12"]) }
      }
    }

    /// An update that sets some of what a document of this kind may have, by paths with dots.
    mutating func update() -> Value {
      var fields: [Value.Field] = []
      for _ in 0...chance.below(3) {
        let way = (0...chance.below(3)).map { _ in
          chance.pick(["map", "secret", "x", "7", "0", "12"])
        }
        let key = way.joined(separator: ".")
        if fields.contains(where: { $0.key == key }) { continue }
        fields.append(.init(key: key, value: value(way, depth: 2)))
      }
      return .document(fields)
    }
  }

  static let envelopes = Envelope.allCases

  static func names(_ paths: [Way]) -> [String] {
    paths.map { "fullDocument." + $0.joined(separator: ".") }
  }

  /// The text of `way` is in the body exactly where the definition says so.
  func check(
    _ body: String, _ secrets: [(way: Way, text: String)], hidden: [Way], _ what: String
  ) -> Int {
    var count = 0
    for secret in secrets {
      let isHidden = Self.covers(hidden, secret.way)
      if isHidden { count += 1 }
      #expect(body.contains(secret.text) != isHidden, "\(secret) in \(what): \(body)")
    }
    return count
  }

  @Test("exclude and redact: inserts, replacements, updates, images, keys, in every envelope")
  func property() throws {
    var hiddenCount = 0
    for seed in 0..<1500 {
      var maker = Maker(chance: SeededRandom(seed: UInt64(seed)))
      let hidden = maker.paths()
      let document = maker.document([], depth: 4)
      let documentSecrets = maker.secrets
      let update = maker.update()
      let updateSecrets = Array(maker.secrets.dropFirst(documentSecrets.count))
      for envelope in Self.envelopes {
        var rule = try rule(
          envelope: envelope, json: maker.chance.pick([.simplified, .relaxed, .canonical]))
        switch maker.chance.below(3) {
        case 0:
          rule.filter = PayloadFilter(
            include: [], exclude: try Self.names(hidden).map { try .init(exclude: $0) })
        default:
          let redaction = maker.chance.pick([Redaction.mask, .hash, .drop])
          rule.changes.redactions = try Self.names(hidden).map {
            .init(path: try .init(include: $0), redaction: redaction)
          }
          if redaction == .drop {
            rule.filter = PayloadFilter(include: [], exclude: rule.changes.dropped)
          }
        }
        rule.fullDocumentBeforeChange = .whenAvailable
        let written = Written(rule)
        let what = "seed \(seed), \(envelope), hidden \(hidden)"
        for operation in [OperationType.insert, .replace] {
          var change = Change.insert(document)
          change.operation = operation
          hiddenCount += check(
            try written.body(change), documentSecrets, hidden: hidden, what)
        }
        guard envelope != .document else { continue }
        var change = Change.update(["updatedFields": update, "removedFields": []])
        hiddenCount += check(try written.body(change), updateSecrets, hidden: hidden, what)
        change = Change.delete()
        change.fullDocumentBeforeChange = document
        hiddenCount += check(try written.body(change), documentSecrets, hidden: hidden, what)
        // A shard key's fields.
        change = Change.delete(key: document)
        hiddenCount += check(try written.body(change), documentSecrets, hidden: hidden, what)
      }
    }
    #expect(hiddenCount > 20_000)
  }

  @Test("names of what updates remove, truncate and disambiguate") func named() throws {
    var hiddenCount = 0
    for seed in 0..<1000 {
      var maker = Maker(chance: SeededRandom(seed: UInt64(seed)))
      let hidden = maker.paths()
      var ways: [Way] = []
      for _ in 0..<4 {
        let way = (0...maker.chance.below(3)).map { _ in
          maker.chance.pick(["map", "secret", "x", "7", "0", "12"])
        }
        if !ways.contains(way) { ways.append(way) }
      }
      let names = ways.map { $0.joined(separator: ".") }
      let update = Change.update([
        "updatedFields": [:], "removedFields": .array(names.map { .string($0) }),
        "truncatedArrays": .array(names.map { ["field": .string($0), "newSize": 1] }),
        "disambiguatedPaths": .document(
          zip(names, ways).map { name, way in
            .init(key: name, value: .array(way.map { .string($0) }))
          }),
      ])
      let written = Written(try rule(exclude: Self.names(hidden)))
      let body = try written.body(update)
      for (name, way) in zip(names, ways) {
        let isHidden = Self.covers(hidden, way)
        if isHidden { hiddenCount += 1 }
        let quoted = "\"\(name)\""
        let listed = body.components(separatedBy: quoted).count - 1
        // Once as removed, once as truncated, once as a path, and where it has but one part, as that.
        #expect(
          isHidden ? !body.contains("\"field\":\(quoted)") : listed >= 3,
          "\(name), hidden \(hidden): \(body)")
        #expect(!isHidden || !body.contains("\(quoted):["), "\(name), hidden \(hidden): \(body)")
      }
    }
    #expect(hiddenCount > 300)
  }

  @Test("include shows the same of inserts and updates") func include() throws {
    var shown = 0
    for seed in 0..<1500 {
      var maker = Maker(chance: SeededRandom(seed: UInt64(seed)))
      // A number that is named is the only one of its array that is meant.
      let paths = maker.paths().map { $0.filter { !Self.isNumber($0) } }.filter { !$0.isEmpty }
      guard !paths.isEmpty else { continue }
      let document = maker.document([], depth: 4)
      let documentSecrets = maker.secrets
      let update = maker.update()
      let updateSecrets = Array(maker.secrets.dropFirst(documentSecrets.count))
      let written = Written(try rule(include: Self.names(paths)))
      let changes = [
        (Change.insert(document), documentSecrets),
        (.update(["updatedFields": update, "removedFields": []]), updateSecrets),
      ]
      for (change, secrets) in changes {
        let body = try written.body(change)
        for secret in secrets {
          let isShown = Self.covers(paths, secret.way)
          if isShown { shown += 1 }
          #expect(body.contains(secret.text) == isShown, "\(secret) of \(paths): \(body)")
        }
      }
    }
    #expect(shown > 500)
  }

  @Test("what a number is: the shapes of the documentation") func numbers() throws {
    let written = Written(try rule(exclude: ["fullDocument.map.secret", "fullDocument.list.0.a"]))
    #expect(
      try written.body(
        .insert([
          "map": ["7": ["secret": 1, "open": 2], "secret": 3],
          "list": [["a": 1, "b": 2], ["a": 3]],
        ]))
        == #"{"operationType":"insert","documentKey":{"_id":"m1"},"#
        + #""fullDocument":{"map":{"7":{"open":2}},"list":[{"b":2},{"a":3}]}}"#)
    #expect(
      try written.body(
        .update([
          "updatedFields": [
            "map.7.secret": 1, "map.7": ["secret": 1], "map.secret": 2, "list.0.a": 3,
            "list.1.a": 4,
          ], "removedFields": ["map.8.secret", "map.8.open"],
        ]))
        == #"{"operationType":"update","documentKey":{"_id":"m1"},"updateDescription":"#
        + #"{"updatedFields":{"map.7":{},"list.1.a":4},"removedFields":["map.8.open"]}}"#)
    // A path that names an element doesn't end those that go through all of them.
    let both = Written(try rule(exclude: ["fullDocument.list.0.other", "fullDocument.list.a"]))
    #expect(
      try both.body(.insert(["list": [["a": 1, "other": 2, "b": 3], ["a": 1, "other": 2]]]))
        == #"{"operationType":"insert","documentKey":{"_id":"m1"},"#
        + #""fullDocument":{"list":[{"b":3},{"other":2}]}}"#)
  }

  @Test("an array's keys are indexes, whatever they are") func strangeArrays() throws {
    let written = Written(try rule(envelope: .document, exclude: ["fullDocument.list.secret"]))
    guard case .document(let fields) = ["x.secret": ["secret": 1, "open": 2]] as Value else {
      return
    }
    let strange = Value.raw(.array, Value.document(fields).bytes)
    #expect(try written.body(.insert(["list": strange])) == #"{"list":[{"open":2}]}"#)
  }

  @Test("rename: the same in inserts and updates, below numbers too") func rename() throws {
    var rule = try rule()
    rule.changes.renames = [.init(path: try .init(include: "fullDocument.map.secret"), name: "s")]
    let written = Written(rule)
    #expect(
      try written.body(.insert(["map": ["7": ["secret": 1], "secret": 2], "secret": 3])).hasSuffix(
        #""fullDocument":{"map":{"7":{"s":1},"s":2},"secret":3}}"#))
    #expect(
      try written.body(
        .update([
          "updatedFields": ["map.7.secret": 1, "map.secret.x": 2], "removedFields": ["map.secret"],
          "disambiguatedPaths": ["map.7.secret": ["map", "7", "secret"]],
        ])
      ).hasSuffix(
        #""updatedFields":{"map.7.s":1,"map.s.x":2},"removedFields":["map.s"],"#
          + #""disambiguatedPaths":{"map.7.s":["map","7","s"]}}}"#))
  }

  @Test("numbers in many combinations make no states without end") func manyNumbers() throws {
    let paths = (0..<40).map { "fullDocument.list.\($0).a" }
    let excluding = Written(try rule(envelope: .document, exclude: paths))
    var inner: Value = ["a": 1, "b": 2]
    for key in [3, 1, 4, 15, 9, 2, 6, 5, 35, 8, 97] {
      inner = .document([.init(key: "\(key)", value: inner)])
    }
    #expect(try !excluding.body(.insert(["list": inner])).contains("\"a\""))
    #expect(
      try excluding.body(.insert(["list": ["41": ["a": 1], "3": ["a": 1, "b": 2]]]))
        == #"{"list":{"41":{"a":1},"3":{"b":2}}}"#)
    let including = Written(try rule(envelope: .document, include: paths))
    #expect(
      try including.body(.insert(["list": ["41": ["a": 1], "3": ["a": 1, "b": 2]]]))
        == #"{"list":{"3":{"a":1}}}"#)
  }

  @Test("an outbox's payload is filtered like a document") func outbox() throws {
    var rule = try rule(exclude: ["fullDocument.payload.secret"])
    rule.outbox = Outbox(
      id: try EventPath(parsing: "fullDocument._id"),
      subject: try EventPath(parsing: "fullDocument.subject"),
      type: try EventPath(parsing: "fullDocument.type"),
      payload: try EventPath(parsing: "fullDocument.payload"), subjects: [">"])
    rule.changes.renames = [
      .init(path: try .init(include: "fullDocument.payload.rid"), name: "room")
    ]
    rule.changes.redactions = [
      .init(path: try .init(include: "fullDocument.payload.email"), redaction: .mask)
    ]
    let body = try Written(rule).body(
      .insert([
        "_id": "e1", "subject": "a.b", "type": "t",
        "payload": ["rid": "GENERAL", "secret": 1, "email": "a@b"],
      ]))
    #expect(body == #"{"room":"GENERAL","email":"***"}"#)
  }

  @Test("descriptions of commands can be left out") func descriptions() throws {
    let paths = ["operationDescription.options", "stateBeforeChange"]
    for path in paths { _ = try PayloadFilter.Path(exclude: path) }
    #expect(error { _ = try PayloadFilter.Path(include: "operationDescription") } != nil)
  }
}
