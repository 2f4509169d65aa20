import BSON
import Oplog
import Testing

@Suite struct DecoderTests {
  // MARK: The header

  @Test func headerShowsTheEntrysPlace() throws {
    let entry = try Document(
      #"""
      {"op":"n","ns":"","o":{"msg":"periodic noop"},"ts":{"$timestamp":{"t":4294967295,"i":9}},
       "t":{"$numberLong":"5"},"v":{"$numberLong":"2"},"wall":{"$date":{"$numberLong":"1234"}}}
      """#)
    var decoder = OplogDecoder()
    try entry.use {
      let header = try decoder.begin($0)
      #expect(header.position == OplogPosition(seconds: .max, increment: 9))
      #expect(header.term == 5)
      #expect(header.wallTime == 1234)
      #expect(header.isNoop)
      #expect(try decoder.next() == nil)
      #expect(try decoder.next() == nil)
    }
  }

  @Test func termAndWallMayBeAbsent() throws {
    let entry = try Document(
      #"{"op":"n","ns":"","o":{"msg":"initiating set"},"ts":{"$timestamp":{"t":1,"i":1}}}"#)
    var decoder = OplogDecoder()
    let header = try entry.use { try decoder.begin($0) }
    #expect(header.term == -1)
    #expect(header.wallTime == nil)
  }

  @Test func beforeTheFirstEntryThereIsNothing() throws {
    var decoder = OplogDecoder()
    #expect(try decoder.next() == nil)
  }

  // MARK: Documents

  @Test func anInsertIsAViewOfTheEntry() throws {
    let entry = try Document(
      #"{\#(head),"op":"i","ns":"a.b.c","o":{"_id":{"x":1},"y":2},"o2":{"s":1,"_id":{"x":1}}}"#)
    var decoder = OplogDecoder()
    try entry.use {
      _ = try decoder.begin($0)
      let event = try #require(try decoder.next())
      #expect(event.operation == .insert)
      #expect(String(decoding: event.database, as: UTF8.self) == "a")
      #expect(String(decoding: event.collection, as: UTF8.self) == "b.c")
      let o = try #require(try $0.first("o")?.document)
      let o2 = try #require(try $0.first("o2")?.document)
      #expect(event.fullDocument?.bytes.baseAddress == o.bytes.baseAddress)
      #expect(event.documentKey?.bytes.baseAddress == o2.bytes.baseAddress)
      #expect(try decoder.next() == nil)
    }
  }

  @Test func anInsertsKeyIsMadeWhereTheEntryHasNone() throws {
    let all = try events(#"{\#(head),"op":"i","ns":"a.b","o":{"y":2,"_id":{"x":1}}}"#)
    #expect(all.first?.documentKey == (try Document(#"{"_id":{"x":1}}"#).bytes))
  }

  @Test(arguments: [
    "admin.users", "config.transactions", "local.startup_log", "a.system.js", "a.system.profile",
    "a.system.buckets.m",
  ])
  func theServersOwnNamespacesHaveNoEvents(_ ns: String) throws {
    // Not decoded at all: the update is invalid.
    let entry = #"{\#(head),"op":"u","ns":"\#(ns)","o":{"$v":9},"o2":{}}"#
    #expect(try events(entry).isEmpty)
  }

  @Test(arguments: ["administrator.x", "configs.x", "locals.x", "a.systems", "a.b.system.js"])
  func namesThatOnlyLookLikeThoseHaveEvents(_ ns: String) throws {
    let all = try events(#"{\#(head),"op":"d","ns":"\#(ns)","o":{"_id":1}}"#)
    #expect(all.map(\.namespace) == [ns])
  }

  @Test func migratedDocumentsHaveNoEvents() throws {
    for op in ["i", "u", "d"] {
      let entry = #"{\#(head),"op":"\#(op)","ns":"a.b","o":{},"fromMigrate":true}"#
      #expect(try events(entry).isEmpty)
    }
    let kept = #"{\#(head),"op":"d","ns":"a.b","o":{"_id":1},"fromMigrate":false}"#
    #expect(try events(kept).count == 1)
  }

  @Test func anImageInAUsersNamespaceIsANoop() throws {
    let entry = try Document(#"{\#(head),"op":"n","ns":"a.b","o":{"_id":1,"x":2}}"#)
    var decoder = OplogDecoder()
    try entry.use { view throws in
      let header = try decoder.begin(view)
      let event = try decoder.next()
      #expect(header.isNoop && event == nil)
    }
  }

  @Test(arguments: ["ci", "cu", "cd", "xi", "xd"])
  func containerOperationsHaveNoEvents(_ op: String) throws {
    #expect(try events(#"{\#(head),"op":"\#(op)","ns":"a.b","container":"x","o":{"k":1}}"#).isEmpty)
  }

  @Test func unknownFieldsArePassedOver() throws {
    let all = try events(
      #"""
      {\#(head),"op":"d","ns":"a.b","o":{"_id":1},"rid":7,"versionContext":{"x":1},"stmtId":[0,1],
       "needsRetryImage":"preImage","xx":1,"yyyy":1,"zzzzzzzzz":1,"zzzzzzzzzz":1,"zzzzzzzzzzz":1}
      """#)
    #expect(all.count == 1)
  }

  // MARK: Transactions

  private let session = #""lsid":{"id":"s"},"txnNumber":{"$numberLong":"4"}"#
  private let first =
    #""prevOpTime":{"ts":{"$timestamp":{"t":0,"i":0}},"t":{"$numberLong":"-1"}}"#
  private let later =
    #""prevOpTime":{"ts":{"$timestamp":{"t":6,"i":1}},"t":{"$numberLong":"1"}}"#
  private let inner = #"{"op":"d","ns":"a.b","o":{"_id":1}}"#

  private func applyOps(_ operations: String, _ more: String = "", o: String = "") -> String {
    #"{\#(head),"op":"c","ns":"admin.$cmd","o":{"applyOps":[\#(operations)]\#(o)}\#(more)}"#
  }

  @Test func aTransactionsEventsAreCountedAndShareItsSession() throws {
    let operations = [
      #"{"op":"i","ns":"a.b","o":{"_id":1}}"#,
      #"{"op":"n","ns":"a.b","o":{}}"#,
      #"{"op":"d","ns":"config.x","o":{"_id":1}}"#,
      #"{"op":"u","ns":"a.c","o":{"$v":2,"diff":{"u":{"f":"1"}}},"o2":{"_id":2}}"#,
      #"{"op":"i","ns":"a.b","o":{"_id":3},"fromMigrate":true}"#,
      #"{"op":"c","ns":"a.$cmd","o":{"create":"d"}}"#,
      #"{"op":"d","ns":"a.b","o":{"_id":1}}"#,
    ].joined(separator: ",")
    let all = try events(applyOps(operations, ",\(session),\(first)"))
    #expect(all.map(\.operation) == ["insert", "update", "create", "delete"])
    #expect(all.map(\.position.index) == [0, 1, 2, 3])
    #expect(all.map(\.namespace) == ["a.b", "a.c", "a.d", "a.b"])
    #expect(all.allSatisfy { $0.txnNumber == 4 })
    let lsid = try Document(#"{"id":"s"}"#).bytes
    #expect(all.allSatisfy { $0.lsid == lsid })
    #expect(
      all.allSatisfy { $0.position.entry == OplogPosition(seconds: 7, increment: 3) })
  }

  @Test func eventsMayBeTakenOneByOne() throws {
    let entry = try Document(applyOps("\(inner),\(inner)", ",\(session),\(first)"))
    var decoder = OplogDecoder()
    try entry.use {
      _ = try decoder.begin($0)
      #expect(try decoder.next()?.position.index == 0)
      // Another entry ends the first one.
      let all = try decoder.events(#"{\#(head),"op":"d","ns":"x.y","o":{"_id":1}}"#)
      #expect(all.map(\.namespace) == ["x.y"])
      #expect(all.first?.position.index == 0)
      #expect(all.first?.txnNumber == nil)
      #expect(try decoder.next() == nil)
    }
  }

  @Test func aUsersApplyOpsIsEmittedWithoutSession() throws {
    let o = #","lsid":{"id":"s"},"$db":"admin""#
    let all = try events(applyOps("\(inner),\(inner)", o: o))
    #expect(all.count == 2)
    #expect(all.allSatisfy { $0.lsid == nil && $0.txnNumber == nil })
  }

  @Test func applyOpsMayNest() throws {
    let nested = #"{"op":"c","ns":"admin.$cmd","o":{"applyOps":[\#(inner),\#(inner)]}}"#
    let all = try events(applyOps("\(inner),\(nested),\(inner)"))
    #expect(all.map(\.position.index) == [0, 1, 2, 3])
    var deep = inner
    for _ in 0..<20 { deep = #"{"op":"c","ns":"admin.$cmd","o":{"applyOps":[\#(deep)]}}"# }
    #expect(reason(applyOps(deep)) == .unsupportedTransaction(.tooDeep))
    let partial = #"{"op":"c","ns":"a.$cmd","o":{"applyOps":[],"partialTxn":true}}"#
    #expect(reason(applyOps(partial)) == .unsupportedTransaction(.contradictory))
  }

  @Test func aVectoredInsertIsNoTransaction() throws {
    // Linked like a chain, but each entry is independent.
    let all = try events(applyOps("\(inner),\(inner)", ",\(session),\(later),\"multiOpType\":1"))
    #expect(all.count == 2)
    #expect(all.allSatisfy { $0.lsid == nil && $0.txnNumber == nil })
    #expect(
      reason(applyOps(inner, ",\(session),\(first),\"multiOpType\":2"))
        == .unsupportedTransaction(.unknownForm(2)))
  }

  @Test func aMigratedOrEmptyListHasNoEvents() throws {
    #expect(try events(applyOps(inner, #","fromMigrate":true"#)).isEmpty)
    #expect(try events(applyOps("", ",\(session),\(first)")).isEmpty)
  }

  /// A retryable write is linked to the previous one, but is not a transaction.
  @Test func aRetryableWriteIsPlain() throws {
    let all = try events(#"{\#(head),"op":"d","ns":"a.b","o":{"_id":1},\#(session),\#(later)}"#)
    #expect(all.count == 1)
    #expect(all.first?.txnNumber == nil)
  }

  @Test func anErrorWithinATransactionComesAfterTheEventsBeforeIt() throws {
    let entry = try Document(applyOps(#"\#(inner),{"op":"?","ns":"a.b","o":{}},\#(inner)"#))
    var decoder = OplogDecoder()
    try entry.use {
      _ = try decoder.begin($0)
      #expect(try decoder.next() != nil)
      let expected = OplogError(
        .unknownOperation("?"), at: OplogPosition(seconds: 7, increment: 3))
      // The error persists, so it can't be mistaken for the end.
      for _ in 0..<3 { #expect(throws: expected) { try Self.next(&decoder) } }
    }
    #expect(try decoder.events(#"{\#(head),"op":"d","ns":"x.y","o":{"_id":1}}"#).count == 1)
  }

  private static func next(_ decoder: inout OplogDecoder) throws -> Bool {
    try decoder.next() != nil
  }

  // MARK: Commands

  @Test(arguments: [
    (#"{"create":"c.d","idIndex":{}}"#, "create"), (#"{"drop":"c.d"}"#, "drop"),
    (#"{"createIndexes":"c.d","key":{}}"#, "createIndexes"),
    (#"{"commitIndexBuild":"c.d"}"#, "createIndexes"),
    (#"{"dropIndexes":"c.d","index":"*"}"#, "dropIndexes"),
    (#"{"deleteIndexes":"c.d"}"#, "dropIndexes"), (#"{"dropIndex":"c.d"}"#, "dropIndexes"),
    (#"{"deleteIndex":"c.d"}"#, "dropIndexes"), (#"{"collMod":"c.d"}"#, "modify"),
  ])
  func commandsOnACollection(_ o: String, _ operation: String) throws {
    let all = try events(#"{\#(head),"op":"c","ns":"a.$cmd","o":\#(o)}"#)
    #expect(all.map(\.operation) == [operation])
    #expect(all.map(\.namespace) == ["a.c.d"])
    #expect(all.first?.documentKey == nil && all.first?.fullDocument == nil)
    let migrated = #"{\#(head),"op":"c","ns":"a.$cmd","o":\#(o),"fromMigrate":true}"#
    #expect(try events(migrated).isEmpty)
    #expect(try events(#"{\#(head),"op":"c","ns":"config.$cmd","o":\#(o)}"#).isEmpty)
  }

  @Test(arguments: [
    #"{"startIndexBuild":"c"}"#, #"{"abortIndexBuild":"c"}"#, #"{"abortTransaction":1}"#,
    #"{"dbCheck":"a.c"}"#, #"{"createDatabaseMetadata":"a"}"#, #"{"dropDatabaseMetadata":"a"}"#,
    #"{"create":"system.js"}"#, #"{"drop":"system.buckets.x"}"#,
    #"{"truncateRange":"config.system.preimages"}"#,
  ])
  func commandsWithoutEvents(_ o: String) throws {
    #expect(try events(#"{\#(head),"op":"c","ns":"a.$cmd","o":\#(o)}"#).isEmpty)
  }

  @Test(arguments: [
    ("emptycapped", #"{"emptycapped":"c"}"#), ("convertToCapped", #"{"convertToCapped":"c"}"#),
    ("importCollection", #"{"importCollection":"a.c"}"#), ("brandNew", #"{"brandNew":1}"#),
    ("truncateRange", #"{"truncateRange":"a.c"}"#), ("", "{}"), ("", #"{"":1}"#),
    // Only the first key names the command.
    ("x", #"{"x":1,"drop":"c"}"#),
  ])
  func commandsThatHalt(_ name: String, _ o: String) {
    #expect(reason(#"{\#(head),"op":"c","ns":"a.$cmd","o":\#(o)}"#) == .unknownCommand(name))
  }

  @Test func droppingADatabase() throws {
    let all = try events(#"{\#(head),"op":"c","ns":"a.$cmd","o":{"dropDatabase":1}}"#)
    #expect(all.map(\.operation) == ["dropDatabase"])
    #expect(all.map(\.namespace) == ["a"])
    #expect(try events(#"{\#(head),"op":"c","ns":"config.$cmd","o":{"dropDatabase":1}}"#).isEmpty)
  }

  private func rename(_ from: String, _ to: String, _ more: String = "") throws -> [Event] {
    try events(
      #"{\#(head),"op":"c","ns":"a.$cmd","o":{"renameCollection":"\#(from)","to":"\#(to)"\#(more)}}"#
    )
  }

  @Test func renaming() throws {
    let plain = try rename("a.b", "c.d")
    #expect(plain.map(\.operation) == ["rename"])
    #expect(plain.map(\.namespace) == ["a.b"])
    #expect(plain.map(\.to) == ["c.d"])
    #expect(try rename("a.b", "c.d", #","dropTarget":false"#).count == 1)
    #expect(try rename("a.system.x", "config.y").isEmpty)
    #expect(try rename("a.system.x", "a.y").count == 1)

    // The replaced collection is dropped first; otherwise a replica would drop the new one.
    let id = #"{"$binary":{"base64":"AAECAwQFBgcICQoLDA0ODw==","subType":"04"}}"#
    let over = try rename("a.b", "a.d", #","dropTarget":\#(id)"#)
    #expect(over.map(\.operation) == ["drop", "rename"])
    #expect(over.map(\.namespace) == ["a.d", "a.b"])
    #expect(over.map(\.position.index) == [0, 1])
    #expect(over.first?.collectionUUID == Array(0...15))
    #expect(over.last?.collectionUUID == nil)
    #expect(over.map(\.to) == [nil, "a.d"])
    let untold = try rename("a.b", "a.d", #","dropTarget":true"#)
    #expect(untold.map(\.operation) == ["drop", "rename"])
  }

  @Test func views() throws {
    func view(_ op: String, _ o: String, _ o2: String = "{}") throws -> [Event] {
      let ui = #"{"$binary":{"base64":"AAECAwQFBgcICQoLDA0ODw==","subType":"04"}}"#
      return try events(
        #"{\#(head),"op":"\#(op)","ns":"a.system.views","ui":\#(ui),"o":\#(o),"o2":\#(o2)}"#)
    }
    let id = #"{"_id":"a.v"}"#
    #expect(try view("i", id).map(\.operation) == ["create"])
    #expect(try view("d", id).map(\.operation) == ["drop"])
    let changed = try view("u", #"{"$v":2,"diff":{"u":{"pipeline":[]}}}"#, id)
    #expect(changed.map(\.operation) == ["modify"])
    #expect(changed.map(\.namespace) == ["a.v"])
    // The entry's UUID is that of system.views.
    #expect(changed.first?.collectionUUID == nil)
    #expect(changed.first?.documentKey == nil && changed.first?.updateDescription == nil)
  }
}
