import Mapping
import Oplog
import TestRandom
import Testing

@Suite("Updates of which nothing is left")
struct EmptyUpdateTests {
  func skips(
    _ change: Change, include: [String] = [], exclude: [String] = [],
    _ adjust: (inout Rule) -> Void = { _ in }
  ) throws -> Bool {
    var rule = try rule(include: include, exclude: exclude)
    adjust(&rule)
    return try change.with { event in
      var mapper = Mapper(rules: [rule], sourceName: "rs0")
      return mapper.skips(event, rule: 0)
    }
  }

  static let seen = Change.update([
    "updatedFields": ["lastSeen": 1], "removedFields": ["idle"],
    "truncatedArrays": [["field": "log", "newSize": 1]],
  ])
  static let hidden = ["fullDocument.lastSeen", "fullDocument.idle", "fullDocument.log"]

  @Test("only what include and exclude leave nothing of") func basics() throws {
    #expect(try skips(Self.seen, exclude: Self.hidden))
    for left in Self.hidden {
      #expect(try !skips(Self.seen, exclude: Self.hidden.filter { $0 != left }))
    }
    #expect(try skips(Self.seen, include: ["fullDocument.status"]))
    #expect(try !skips(Self.seen, include: ["fullDocument.log"]))
    #expect(
      try skips(
        .update(["updatedFields": ["map.7.secret": 1]]), exclude: ["fullDocument.map.secret"]))
    // A document around it says something even where it is empty.
    #expect(
      try !skips(
        .update(["updatedFields": ["map": ["secret": 1]]]), exclude: ["fullDocument.map.secret"]))
    // A plain value in the way of what include names: that is gone.
    let plain = Change.update(["updatedFields": ["map": 1]])
    #expect(try !skips(plain, include: ["fullDocument.map.secret"]))
    #expect(
      try skips(
        plain, include: ["fullDocument.map.secret"], exclude: ["updateDescription.removedFields"]))
    #expect(try skips(plain, include: ["fullDocument.map.secret"], exclude: ["fullDocument.map"]))
  }

  @Test("never: without a filter, empty ones of MongoDB's own, other operations, or switched off")
  func never() throws {
    #expect(try !skips(Self.seen))
    #expect(try !skips(.update(["updatedFields": [:], "removedFields": []]), exclude: Self.hidden))
    #expect(try !skips(.insert(["lastSeen": 1]), exclude: Self.hidden))
    #expect(try !skips(.delete(), exclude: Self.hidden))
    #expect(try !skips(Self.seen, exclude: Self.hidden) { $0.skipsEmptyUpdates = false })
  }

  @Test("bodies without a description: the document's paths decide, where there is a document")
  func otherBodies() throws {
    let hidden = Self.hidden + ["updateDescription"]
    #expect(try !skips(Self.seen, exclude: hidden))
    #expect(try skips(Self.seen, exclude: hidden) { $0.fullDocument = .required })
    #expect(
      try skips(Self.seen, exclude: Self.hidden) {
        $0.envelope = .document
        $0.fullDocument = .whenAvailable
      })
    // Without the document it is invalid, as ever.
    #expect(try !skips(Self.seen, exclude: Self.hidden) { $0.envelope = .document })
    // Whoever asks for keys alone wants every update's.
    #expect(try !skips(Self.seen, include: ["documentKey"]))
    // A fetched document changes nothing: messages are the oplog's.
    var image = Self.seen
    image.fullDocument = ["_id": "m1", "open": 1]
    image.image = .post
    #expect(try skips(image, exclude: Self.hidden) { $0.fullDocument = .whenAvailable })
  }

  @Test("what is skipped is exactly what would be empty") func agrees() throws {
    var chance = SeededRandom(seed: 15)
    var skipped = 0
    for _ in 0..<2000 {
      func names() -> [String] {
        (0..<chance.below(3)).map { _ in
          (0...chance.below(2)).map { _ in chance.pick(["a", "b", "7"]) }.joined(separator: ".")
        }
      }
      let set = names()
      let removed = names()
      let include = names().map { "fullDocument." + $0 }
      let exclude = names().map { "fullDocument." + $0 }
      let change = Change.update([
        "updatedFields": .document(
          set.map { .init(key: $0, value: chance.pick([1, .null, [:]])) }),
        "removedFields": .array(removed.map { .string($0) }),
      ])
      let body = try Written(try rule(include: include, exclude: exclude)).body(change)
      let isEmpty =
        body.hasSuffix(#""updateDescription":{"updatedFields":{},"removedFields":[]}}"#)
      let expected = isEmpty && !(set.isEmpty && removed.isEmpty)
      #expect(try skips(change, include: include, exclude: exclude) == expected, "\(body)")
      if expected { skipped += 1 }
    }
    #expect(skipped > 200)
  }
}
