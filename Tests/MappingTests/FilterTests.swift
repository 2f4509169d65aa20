import BSON
import Mapping
import TestRandom
import Testing

@Suite("Include and exclude")
struct FilterTests {
  static let message: Value = [
    "_id": "m1", "msg": "hi", "u": ["_id": "u1", "username": "bob", "secret": ["a": 1]],
    "urls": [["url": "x", "meta": ["t": 1]], ["url": "y"], 3, [["url": "z", "meta": 2]]],
    "md": ["k": 1], "a.b": 5,
  ]

  func document(include: [String] = [], exclude: [String] = []) throws -> String {
    try Written(try rule(envelope: .document, include: include, exclude: exclude))
      .body(.insert(Self.message))
  }

  @Test("exclude") func exclude() throws {
    #expect(
      try document(exclude: [
        "fullDocument.md", "fullDocument.u.secret", "fullDocument.urls.meta", "fullDocument.a.b",
      ])
        == #"{"_id":"m1","msg":"hi","u":{"_id":"u1","username":"bob"},"#
        + #""urls":[{"url":"x"},{"url":"y"},3,[{"url":"z"}]]}"#)
    #expect(
      try document(exclude: [
        "fullDocument.u", "fullDocument.u.username", "fullDocument.urls.0", "fullDocument.nothing",
      ])
        == #"{"_id":"m1","msg":"hi","urls":[{"url":"y"},3,[]],"md":{"k":1},"a.b":5}"#)
  }

  @Test("include") func include() throws {
    #expect(
      try document(include: [
        "fullDocument.msg", "fullDocument.u.username", "fullDocument.urls.url",
      ])
        == #"{"msg":"hi","u":{"username":"bob"},"urls":[{"url":"x"},{"url":"y"},[{"url":"z"}]]}"#)
    #expect(
      try document(include: ["fullDocument.urls.1", "fullDocument.msg.deep"])
        == #"{"urls":[{"url":"y"}]}"#)
    #expect(
      try document(include: ["fullDocument.urls.1", "fullDocument.urls.url"])
        == #"{"urls":[{"url":"x"},{"url":"y"},[{"url":"z"}]]}"#)
    #expect(try document(include: ["fullDocument.a.b"]) == #"{"a.b":5}"#)
    #expect(try document(include: ["fullDocument.u", "fullDocument.u._id"]).contains("secret"))
  }

  @Test("exclude takes away from what include leaves") func both() throws {
    #expect(
      try document(
        include: ["fullDocument.u"], exclude: ["fullDocument.u.secret", "fullDocument.msg"])
        == #"{"u":{"_id":"u1","username":"bob"}}"#)
    #expect(try document(include: ["fullDocument.u.secret"], exclude: ["fullDocument.u"]) == "{}")
  }

  @Test("the event's own facts stay; whole documents go") func envelope() throws {
    func body(_ change: Change, include: [String] = [], exclude: [String] = []) throws -> String {
      try Written(try rule(include: include, exclude: exclude)).body(change)
    }
    let insert = Change.insert(["_id": "m1", "msg": "hi"], key: ["shard": 2, "_id": "m1"])
    #expect(
      try body(insert, include: ["fullDocument.msg"])
        == #"{"operationType":"insert","documentKey":{"shard":2,"_id":"m1"},"fullDocument":{"msg":"hi"}}"#
    )
    #expect(
      try body(insert, include: ["documentKey._id"])
        == #"{"operationType":"insert","documentKey":{"_id":"m1"}}"#)
    #expect(
      try body(insert, exclude: ["fullDocument", "documentKey.shard"])
        == #"{"operationType":"insert","documentKey":{"_id":"m1"}}"#)
    #expect(
      try body(insert, exclude: ["documentKey", "fullDocument.msg"])
        == #"{"operationType":"insert","fullDocument":{"_id":"m1"}}"#)
    let all = Written(
      try rule(
        envelope: .changeEvent,
        exclude: [
          "clusterTime", "wallTime", "ns", "txnNumber", "lsid", "collectionUUID", "documentKey",
        ]))
    #expect(
      try all.body(BodyTests.transaction).hasPrefix(
        #"{"operationType":"update","updateDescription":{"#))
    #expect(try all.body(BodyTests.transaction).hasSuffix(#"["y"]}}"#))
  }

  @Test("a path into fullDocument means the same field of an update") func mirrored() throws {
    func update(include: [String] = [], exclude: [String] = []) throws -> String {
      let change = Change.update([
        "updatedFields": [
          "msg": "x", "services.password.bcrypt": "hash", "services": ["password": 1, "resume": 2],
          "urls.0.meta": 1, "urls.1.url": "y", "profile.name": "n",
        ],
        "removedFields": ["services.email", "services.password.old", "note"],
        "truncatedArrays": [
          ["field": "urls", "newSize": 2], ["field": "services.password.list", "newSize": 1],
        ],
      ])
      let body = try Written(try rule(include: include, exclude: exclude)).body(change)
      return String(body.dropFirst(#"{"operationType":"update","documentKey":{"_id":"m1"}"#.count))
    }
    #expect(
      try update(exclude: ["fullDocument.services.password", "fullDocument.urls.meta"])
        == #","updateDescription":{"updatedFields":{"msg":"x","services":{"resume":2},"#
        + #""urls.1.url":"y","profile.name":"n"},"removedFields":["services.email","note"],"#
        + #""truncatedArrays":[{"field":"urls","newSize":2}]}}"#)
    #expect(
      try update(include: ["fullDocument.msg", "fullDocument.profile", "fullDocument.urls.url"])
        == #","updateDescription":{"updatedFields":{"msg":"x","urls.1.url":"y","profile.name":"n"},"#
        + #""removedFields":[],"truncatedArrays":[{"field":"urls","newSize":2}]}}"#)
    // All of fullDocument is all of an update; leaving fullDocument out leaves updates alone.
    #expect(try update(include: ["fullDocument"]) == update())
    #expect(try update(exclude: ["fullDocument"]) == update())
    #expect(try update(include: ["documentKey"]) == "}")
    #expect(
      try update(include: ["updateDescription.removedFields"])
        == #","updateDescription":{"removedFields":["services.email","services.password.old","note"],"#
        + #""truncatedArrays":[]}}"#)
    #expect(
      try update(exclude: ["updateDescription.updatedFields", "updateDescription.truncatedArrays"])
        .contains("updatedFields") == false)
  }

  @Test(
    "impossible paths",
    arguments: [
      ("", 0), ("msg", 0), ("fullDocument.", 13), ("fullDocument..a", 13), (".a", 0),
      ("operationType", 0),
    ])
  func impossible(_ path: String, _ offset: Int) {
    #expect(error { _ = try PayloadFilter.Path(include: path) }?.offset == offset)
    #expect(error { _ = try PayloadFilter.Path(exclude: path) }?.offset == offset)
  }

  @Test("facts are for exclude alone, and as a whole") func facts() {
    #expect(error { _ = try PayloadFilter.Path(include: "wallTime") } != nil)
    #expect(error { _ = try PayloadFilter.Path(exclude: "lsid.id") }?.offset == 5)
  }

  // MARK: Against a definition

  @Test("random documents and paths agree with a plain definition") func property() throws {
    var chance = SeededRandom(seed: 6)
    var dropped = 0
    for _ in 0..<3000 {
      let document = Self.randomDocument(&chance, depth: 3)
      let include = Self.randomPaths(&chance)
      let exclude = Self.randomPaths(&chance)
      let expected = Self.filter(
        document, include: include.isEmpty ? nil : include, exclude: exclude)
      let written = Written(
        try rule(
          envelope: .document, json: .canonical,
          include: include.map { "fullDocument." + $0.joined(separator: ".") },
          exclude: exclude.map { "fullDocument." + $0.joined(separator: ".") }))
      let plain = Written(try rule(envelope: .document, json: .canonical))
      let got = try written.body(.insert(document))
      #expect(got == (try plain.body(.insert(expected))))
      dropped += expected == document ? 0 : 1
    }
    #expect(dropped > 1000)
  }

  private static func randomDocument(_ chance: inout SeededRandom, depth: Int) -> Value {
    .document(
      (0..<chance.below(4)).map { _ in
        .init(key: chance.pick(["a", "b", "c"]), value: randomValue(&chance, depth: depth - 1))
      })
  }

  private static func randomValue(_ chance: inout SeededRandom, depth: Int) -> Value {
    switch depth > 0 ? chance.below(4) : 3 {
    case 0, 1: randomDocument(&chance, depth: depth)
    case 2: .array((0..<chance.below(4)).map { _ in randomValue(&chance, depth: depth - 1) })
    default: .int32(Int32(chance.below(100)))
    }
  }

  private static func randomPaths(_ chance: inout SeededRandom) -> [[String]] {
    (0..<chance.below(3)).map { _ in
      (0...chance.below(3)).map { _ in chance.pick(["a", "b", "c"]) }
    }
  }

  /// The definition: `include` and `exclude` as sets of what is left of each path; arrays pass both
  /// on to their elements.
  private static func filter(_ value: Value, include: [[String]]?, exclude: [[String]]) -> Value {
    guard case .document(let fields) = value else { return value }
    return .document(
      fields.compactMap { field in
        func step(_ paths: [[String]]) -> [[String]] {
          paths.filter { $0.first == field.key }.map { Array($0.dropFirst()) }
        }
        var nextInclude = include.map(step)
        if nextInclude?.contains([]) == true { nextInclude = nil }
        if nextInclude?.isEmpty == true { return nil }
        let nextExclude = step(exclude)
        if nextExclude.contains([]) { return nil }
        return through(field.value, include: nextInclude, exclude: nextExclude)
          .map { .init(key: field.key, value: $0) }
      })
  }

  private static func through(_ value: Value, include: [[String]]?, exclude: [[String]]) -> Value? {
    switch value {
    case .document: filter(value, include: include, exclude: exclude)
    case .array(let items):
      .array(items.compactMap { through($0, include: include, exclude: exclude) })
    default: include == nil ? value : nil
    }
  }
}
