import BSON
import Oplog
import Testing

@Suite struct ChangeStreamDecoderTests {
  /// The common fields of a change stream document: its token (captured from 6.0.27, with another time and
  /// operation index) and its cluster time.
  static func head(
    _ type: String, seconds: Int = 7, increment: Int = 3, operation: Int? = 0
  ) -> String {
    let token = operation.map { operation in
      "82\(hex(seconds, 4))\(hex(increment, 4))2B022C0100\(number(operation))296E5A1004"
    }
    return #""_id":{"_data":"\#(token ?? "9000")"},"operationType":"\#(type)","#
      + #""clusterTime":{"$timestamp":{"t":\#(seconds),"i":\#(increment)}}"#
  }

  private static func hex(_ value: Int, _ bytes: Int) -> String {
    let digits = String(value, radix: 16, uppercase: true)
    return String(repeating: "0", count: 2 * bytes - digits.count) + digits
  }

  private static func number(_ value: Int) -> String {
    switch value {
    case 0: "29"
    case 1..<128: "2B" + hex(value << 1, 1)
    default: "2C" + hex(value << 1, 2)
    }
  }

  static let insert =
    #""ns":{"db":"a","coll":"b.c"},"documentKey":{"_id":1},"fullDocument":{"_id":1}"#

  private func position(_ seconds: UInt32, _ increment: UInt32, _ index: UInt32) -> EventPosition {
    EventPosition(entry: OplogPosition(seconds: seconds, increment: increment), index: index)
  }

  // MARK: Events

  @Test func anInsertIsAViewOfTheDocument() throws {
    let document = try Document(
      #"""
      {\#(Self.head("insert")),"wallTime":{"$date":{"$numberLong":"1234"}},\#(Self.insert),
       "collectionUUID":{"$binary":{"base64":"YSiyQ2RwTzqnMimXt9wLDg==","subType":"04"}},
       "lsid":{"id":5},"txnNumber":{"$numberLong":"12"}}
      """#)
    var decoder = ChangeStreamDecoder()
    try document.use {
      let header = try decoder.begin($0, generation: 1)
      #expect(header.position == OplogPosition(seconds: 7, increment: 3))
      #expect(header.term == -1)
      #expect(header.wallTime == 1234)
      #expect(!header.isNoop)
      let event = try #require(try decoder.next())
      #expect(event.operation == .insert)
      #expect(event.position == position(7, 3, 0))
      #expect(String(decoding: event.database, as: UTF8.self) == "a")
      #expect(String(decoding: event.collection, as: UTF8.self) == "b.c")
      let full = try #require(try $0.first("fullDocument")?.document)
      #expect(event.fullDocument?.bytes.baseAddress == full.bytes.baseAddress)
      let key = try #require(try $0.first("documentKey")?.document)
      #expect(event.documentKey?.bytes.baseAddress == key.bytes.baseAddress)
      #expect(event.collectionUUID?.count == 16)
      #expect(event.lsid != nil)
      #expect(event.txnNumber == 12)
      #expect(event.wallTime == 1234)
      #expect(try decoder.next() == nil)
      #expect(try decoder.next() == nil)
    }
  }

  @Test func anUpdateKeepsItsDescriptionByteForByte() throws {
    let description = #"{"updatedFields":{"a.b":1},"removedFields":["c"],"truncatedArrays":[]}"#
    let all = try streamEvents([
      #"""
      {\#(Self.head("update")),"ns":{"db":"a","coll":"b"},"documentKey":{"_id":1},
       "updateDescription":\#(description)}
      """#
    ])
    #expect(all.count == 1)
    #expect(all.first?.updateDescription == (try Document(description).bytes))
    #expect(all.first?.fullDocument == nil)
  }

  /// 6.1 and newer add them with expanded events.
  @Test func disambiguatedPathsAreLeftOut() throws {
    let all = try streamEvents([
      #"""
      {\#(Self.head("update")),"ns":{"db":"a","coll":"b"},"documentKey":{"_id":1},
       "updateDescription":{"updatedFields":{"a.0":1},"removedFields":[],"truncatedArrays":[],
        "disambiguatedPaths":{"a.0":["a","0"]}}}
      """#
    ])
    let expected = #"{"updatedFields":{"a.0":1},"removedFields":[],"truncatedArrays":[]}"#
    #expect(all.first?.updateDescription == (try Document(expected).bytes))
  }

  @Test func aRenameThatReplacedACollectionDropsThatFirst() throws {
    let uuid = #"{"$binary":{"base64":"XzjqW7N+RqS35LDqhe5abg==","subType":"04"}}"#
    let rename =
      #"\#(Self.head("rename")),"ns":{"db":"a","coll":"b"},"to":{"db":"a","coll":"c"}"#
    let other =
      #""collectionUUID":{"$binary":{"base64":"jATNkS6yR1GsYaLag7e/lA==","subType":"04"}}"#
    let all = try streamEvents([
      #"{\#(rename),\#(other),"operationDescription":{"to":{"db":"a","coll":"c"},"dropTarget":\#(uuid)}}"#
    ])
    #expect(all.map(\.operation) == ["drop", "rename"])
    #expect(all.map(\.namespace) == ["a.c", "a.b"])
    #expect(all.map(\.position.index) == [0, 1])
    #expect(all[0].to == nil)
    #expect(all[1].to == "a.c")
    #expect(all[0].collectionUUID?.first == 0x5F)
    #expect(all[1].collectionUUID?.first == 0x8C)

    // No collection was replaced; before 6.0, renames don't report it.
    for more in [#","operationDescription":{"to":{"db":"a","coll":"c"}}"#, ""] {
      let all = try streamEvents([#"{\#(rename)\#(more)}"#])
      #expect(all.map(\.operation) == ["rename"])
      #expect(all.map(\.position.index) == [0])
    }
  }

  @Test func aDatabasesEventHasNoCollection() throws {
    let all = try streamEvents([#"{\#(Self.head("dropDatabase")),"ns":{"db":"a"}}"#])
    #expect(all.map(\.operation) == ["dropDatabase"])
    #expect(all.map(\.namespace) == ["a"])
  }

  @Test(arguments: [
    "invalidate", "shardCollection", "reshardCollection", "refineCollectionShardKey",
    "startIndexBuild", "abortIndexBuild", "endOfTransaction",
  ])
  func knownDocumentsWithoutAnEventPass(_ type: String) throws {
    let document = try Document(#"{\#(Self.head(type))}"#)
    var decoder = ChangeStreamDecoder()
    try document.use {
      let header = try decoder.begin($0, generation: 1)
      #expect(header.isNoop)
      #expect(header.position == OplogPosition(seconds: 7, increment: 3))
      #expect(try decoder.next() == nil)
    }
  }

  @Test(arguments: ["a.system.profile", "config.x", "admin.x", "local.x"])
  func theServersOwnNamespacesHaveNoEvents(_ name: String) throws {
    let parts = name.split(separator: ".", maxSplits: 1)
    let ns = #""ns":{"db":"\#(parts[0])","coll":"\#(parts[1])"}"#
    #expect(try streamEvents([#"{\#(Self.head("create")),\#(ns)}"#]).isEmpty)
    let delete = #"{\#(Self.head("delete")),\#(ns),"documentKey":{"_id":1}}"#
    #expect(try streamEvents([delete]).isEmpty)
  }

  // MARK: Indexes

  @Test func aTransactionsEventsAreCounted() throws {
    let all = try streamEvents(
      (0..<300).map { #"{\#(Self.head("insert", operation: $0)),\#(Self.insert)}"# })
    #expect(all.map(\.position.index) == Array(0..<300))
  }

  /// A 4.4's stream of a transaction that also created a collection.
  @Test func whatAStreamLeavesOutKeepsItsIndex() throws {
    let all = try streamEvents(
      [0, 1, 3, 4].map { #"{\#(Self.head("insert", operation: $0)),\#(Self.insert)}"# })
    #expect(all.map(\.position.index) == [0, 1, 3, 4])
  }

  @Test func tokensOfAnUnknownFormAreCountedInstead() throws {
    let all = try streamEvents(
      [7, 7, 8].map {
        #"{\#(Self.head("insert", seconds: $0, operation: nil)),\#(Self.insert)}"#
      })
    #expect(all.map(\.position) == [position(7, 3, 0), position(7, 3, 1), position(8, 3, 0)])
  }

  /// Two shards' entries of one time come one after the other.
  @Test func twoEntriesOfOneTimeDoNotCollide() throws {
    let all = try streamEvents(
      [0, 0, 1, 1, 2].map { #"{\#(Self.head("insert", operation: $0)),\#(Self.insert)}"# })
    #expect(all.map(\.position.index) == [0, 1, 2, 3, 4])
  }

  @Test func anotherGenerationBeginsAnew() throws {
    let document = try Document(#"{\#(Self.head("insert")),\#(Self.insert)}"#)
    var decoder = ChangeStreamDecoder()
    #expect(try document.use { try decoder.events(of: $0, generation: 1) }[0].position.index == 0)
    #expect(try document.use { try decoder.events(of: $0, generation: 1) }[0].position.index == 1)
    #expect(try document.use { try decoder.events(of: $0, generation: 2) }[0].position.index == 0)
  }

  // MARK: Errors

  @Test func anUnknownTypeHaltsAndSaysWhere() throws {
    let document = try Document(#"{\#(Self.head("explode")),"ns":{"db":"a","coll":"b"}}"#)
    var decoder = ChangeStreamDecoder()
    document.use { view in
      for _ in 0..<2 {
        let error = #expect(throws: OplogError.self) {
          try decoder.begin(view, generation: 1)
        }
        #expect(error?.reason == .unknownOperation("explode"))
        #expect(error?.position == OplogPosition(seconds: 7, increment: 3))
      }
      #expect(throws: OplogError.self) { try decoder.next() }
      #expect(throws: OplogError.self) { try decoder.next() }
    }
    let good = try Document(#"{\#(Self.head("insert")),\#(Self.insert)}"#)
    #expect(try good.use { try decoder.events(of: $0, generation: 1) }.count == 1)
  }

  @Test(arguments: [
    (#""ns":{"db":"a","coll":"b"},"documentKey":{"_id":1}"#, "insert", "fullDocument"),
    (#""ns":{"db":"a","coll":"b"},"documentKey":{"_id":1}"#, "replace", "fullDocument"),
    (#""ns":{"db":"a","coll":"b"},"documentKey":{"_id":1}"#, "update", "updateDescription"),
    (#""ns":{"db":"a","coll":"b"},"fullDocument":{"_id":1}"#, "insert", "documentKey"),
    (#""ns":{"db":"a","coll":"b"}"#, "delete", "documentKey"),
    (#""ns":{"coll":"b"},"documentKey":{"_id":1}"#, "delete", "ns.db"),
    (#""documentKey":{"_id":1}"#, "delete", "ns"),
    (#""ns":{"db":"a","coll":"b"}"#, "rename", "to"),
  ])
  func whatIsMissingIsNamed(_ fields: String, _ type: String, _ missing: String) throws {
    let error = #expect(throws: OplogError.self) {
      try streamEvents([#"{\#(Self.head(type)),\#(fields)}"#])
    }
    #expect(error?.reason == .missingField(missing))
    #expect(error?.position == OplogPosition(seconds: 7, increment: 3))
  }

  @Test func withoutATimeThereIsNoPlace() throws {
    let error = #expect(throws: OplogError.self) {
      try streamEvents([#"{"operationType":"insert",\#(Self.insert)}"#])
    }
    #expect(error?.reason == .missingField("clusterTime"))
    #expect(error?.position == nil)
  }

  @Test func aCollectionsEventNeedsACollection() throws {
    let error = #expect(throws: OplogError.self) {
      try streamEvents([#"{\#(Self.head("drop")),"ns":{"db":"a"}}"#])
    }
    #expect(error?.reason == .badNamespace("a"))
  }

  /// Seeded corruption: each document yields events or a decoder error.
  @Test func damagedDocumentsNeverCrash() throws {
    let seeds = try [
      #"{\#(Self.head("insert", operation: 200)),\#(Self.insert),"lsid":{"id":1},"txnNumber":1}"#,
      #"""
      {\#(Self.head("update")),"ns":{"db":"a","coll":"b"},"documentKey":{"_id":1},
       "updateDescription":{"updatedFields":{},"disambiguatedPaths":{"a.0":["a","0"]}}}
      """#,
      #"""
      {\#(Self.head("rename")),"ns":{"db":"a","coll":"b"},"to":{"db":"a","coll":"c"},
       "operationDescription":{"dropTarget":
        {"$binary":{"base64":"XzjqW7N+RqS35LDqhe5abg==","subType":"04"}}}}
      """#,
    ].map { try Document($0).bytes }
    var decoder = ChangeStreamDecoder()
    var refused = 0
    var read = 0
    for seed in seeds {
      for at in 4..<seed.count {
        for value in [0x00, 0x01, 0x03, 0x05, 0x2F, 0x7F, 0x80, 0xFF] as [UInt8]
        where seed[at] != value {
          var bytes = seed
          bytes[at] = value
          bytes.withUnsafeBytes { raw in
            do {
              let view = try BSONView(raw)
              read += try decoder.events(of: view, generation: 1).count
            } catch {
              refused += 1
            }
          }
        }
      }
    }
    #expect(refused > 500)
    #expect(read > 500)
  }

  // MARK: Captured streams

  /// The scenarios' events from the server, compared with those from the oplog.
  @Test func capturedStreamsEqualTheOplog() throws {
    var compared = 0
    try fixture("scenarios") { scenario in
      let server = try #require(try scenario.text("server"))
      let name = try #require(try scenario.text("scenario"))
      var decoder = ChangeStreamDecoder()
      var events: [Event] = []
      for document in try scenario.documents(in: "events") {
        let decoded = try decoder.events(of: document, generation: 1)
        var expected = try Event(server: document)
        expected.position.index = decoded.last?.position.index ?? 0
        #expect(decoded.last == expected, "\(server) \(name)")
        if decoded.count != 1 {
          // The drop of a rename's target comes first.
          #expect(decoded.map(\.operation) == ["drop", "rename"], "\(server) \(name)")
          #expect(decoded.first?.namespace == expected.to)
        }
        events += decoded
      }
      // Their tokens were not captured, so each gets its ordinal, which is correct unless that server's
      // stream omits an event.
      guard server.hasPrefix("6."), let derived = try Self.oplogEvents(scenario) else { return }
      let renames = derived.contains { $0.operation == "rename" }
      // Change streams have no events of a user's applyOps.
      if renames || events.isEmpty { return }
      #expect(events == derived, "\(server) \(name)")
      compared += events.count
    }
    #expect(compared > 80)
  }

  /// Nil if the oplog decoder rejects an entry.
  private static func oplogEvents(_ scenario: BSONView) throws -> [Event]? {
    var decoder = OplogDecoder()
    var events: [Event] = []
    for entry in try scenario.documents(in: "entries") {
      do { events += try decoder.events(of: entry) } catch { return nil }
    }
    return events
  }
}

extension ChangeStreamDecoder {
  /// All events of a document.
  mutating func events(
    of document: BSONView, generation: UInt64
  ) throws(OplogError) -> [Event] {
    _ = try begin(document, generation: generation)
    var events: [Event] = []
    while let event = try next() { events.append(Event(event)) }
    return events
  }
}

/// The events of JSON documents, through one decoder.
private func streamEvents(_ documents: [String]) throws -> [Event] {
  var decoder = ChangeStreamDecoder()
  var events: [Event] = []
  for json in documents {
    events += try Document(json).use { try decoder.events(of: $0, generation: 1) }
  }
  return events
}
