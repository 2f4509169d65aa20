import BSON
import Foundation
import Oplog
import Testing

/// Entries that only 7.0 and 8.x write, constructed from their specification.
@Suite struct NewerServerTests {
  private let uuid = #"{"$binary":{"base64":"AAECAwQFBgcICQoLDA0ODw==","subType":"04"}}"#
  private let version = #""versionContext":{"OFCV":{"version":"8.2"}}"#

  @Test func fieldsBesideTheChangeAreNoMatter() throws {
    let tail = #""rid":{"$numberLong":"9"},\#(version),"stmtId":[0,1],"destinedRecipient":"x""#
    let inserted = try events(
      #"{\#(head),"op":"i","ns":"a.b","ui":\#(uuid),"o":{"_id":1,"x":2},"o2":{"_id":1},\#(tail)}"#)
    #expect(inserted.map(\.operation) == ["insert"])
    #expect(inserted.first?.fullDocument == (try Document(#"{"_id":1,"x":2}"#).bytes))
    let updated = try events(
      #"""
      {\#(head),"op":"u","ns":"a.b","ui":\#(uuid),"o":{"$v":2,"diff":{"u":{"x":"3"}}},
       "o2":{"_id":1},"checkExistenceForDiffInsert":true,\#(tail)}
      """#)
    #expect(updated.map(\.operation) == ["update"])
    let deleted = try events(
      #"{\#(head),"op":"d","ns":"a.b","ui":\#(uuid),"o":{"_id":1},\#(tail)}"#)
    #expect(deleted.map(\.operation) == ["delete"])
  }

  @Test(arguments: ["ci", "cu", "cd", "xi", "xd"])
  func storageOperationsHaveNoEvents(_ op: String) throws {
    let plain = #""ns":"a.b","container":"index-1","o":{"k":1,"v":2},\#(version)"#
    #expect(try events(#"{\#(head),"op":"\#(op)",\#(plain)}"#).isEmpty)
    let inner = #"{"op":"\#(op)",\#(plain)},{"op":"i","ns":"a.b","o":{"_id":1}}"#
    let all = try events(
      #"{\#(head),"op":"c","ns":"admin.$cmd","o":{"applyOps":[\#(inner)]}}"#)
    #expect(all.map(\.operation) == ["insert"])
    #expect(all.map(\.position.index) == [0])
  }

  /// A retryable `insertMany` of 8.0: independent entries, linked like a transaction's.
  @Test func vectoredInsertsAreEmittedOnSight() throws {
    func entry(_ at: Int, after: Int, _ ids: Int...) -> String {
      Transaction().head(at) + #""multiOpType":1,"lsid":{"id":"s"},"#
        + #""txnNumber":{"$numberLong":"3"},"prevOpTime":\#(Transaction.link(after)),"#
        + #""o":{\#(Transaction.operations(ids))}}"#
    }
    var decoder = OplogDecoder()
    let first = try decoder.events(entry(10, after: 0, 1, 2))
    let second = try decoder.events(entry(11, after: 10, 3))
    #expect(first.map(\.position) == [0, 1].map { EventPosition(entry: place(10), index: $0) })
    #expect(second.map(\.position) == [EventPosition(entry: place(11), index: 0)])
    #expect((first + second).allSatisfy { $0.lsid == nil && $0.txnNumber == nil })
    #expect(decoder.openTransactions == 0 && decoder.transactionStart == nil)
    // Also if the linked entry was not read.
    #expect(try decoder.events(entry(13, after: 12, 4)).count == 1)
    let unknown = entry(14, after: 0, 5)
      .replacingOccurrences(of: #""multiOpType":1"#, with: #""multiOpType":2"#)
    #expect(throws: OplogError(.unsupportedTransaction(.unknownForm(2)), at: place(14))) {
      try decoder.events(unknown)
    }
  }

  @Test func batchedWritesAreOneEntrysEvents() throws {
    let operations = Transaction.operations([1, 2, 3])
    let all = try events(#"{\#(head),"op":"c","ns":"admin.$cmd","o":{\#(operations)},\#(version)}"#)
    #expect(all.map(\.position.index) == [0, 1, 2])
    #expect(all.allSatisfy { $0.lsid == nil })
  }

  @Test(arguments: [
    #"{"createDatabaseMetadata":"a","db":{"_id":"a"}}"#, #"{"dropDatabaseMetadata":"a"}"#,
    #"{"truncateRange":"config.system.preimages","minRecordId":1,"maxRecordId":2}"#,
    #"{"truncateRange":"a.system.x","minRecordId":1,"maxRecordId":2}"#,
  ])
  func theServersOwnAffairsHaveNoEvents(_ o: String) throws {
    #expect(try events(#"{\#(head),"op":"c","ns":"a.$cmd","o":\#(o),\#(version)}"#).isEmpty)
  }

  @Test func whatWouldLoseSomethingHalts() {
    let command = #"{\#(head),"op":"c","ns":"a.$cmd","o":"#
    #expect(
      reason(command + #"{"truncateRange":"a.b","minRecordId":1,"maxRecordId":2}}"#)
        == .unknownCommand("truncateRange"))
    #expect(
      reason(command + #"{"importCollection":"a.b"}}"#) == .unknownCommand("importCollection"))
    #expect(
      reason(command + #"{"modifyCollectionShardingIndexCatalog":"a.b"}}"#)
        == .unknownCommand("modifyCollectionShardingIndexCatalog"))
    #expect(reason(#"{\#(head),"op":"zz","ns":"a.b","o":{}}"#) == .unknownOperation("zz"))
    #expect(
      reason(#"{"ts":{"$timestamp":{"t":7,"i":3}},"v":3,"op":"i","ns":"a.b","o":{"_id":1}}"#)
        == .unsupportedVersion(3))
  }

  /// A diff of binary data, within a document and within an array.
  @Test(arguments: [
    #"{"b":{"f":{"o":1,"d":"x"}}}"#, #"{"sn":{"u":{"a":1},"b":{"f":1}}}"#,
    #"{"sn":{"a":true,"b0":{"o":1}}}"#,
  ])
  func binaryDiffsHalt(_ diff: String) {
    let entry = #"{\#(head),"op":"u","ns":"a.b","o":{"$v":2,"diff":\#(diff)},"o2":{"_id":1}}"#
    let key = diff.contains(#""b0""#) ? "b0" : "b"
    #expect(reason(entry) == .unknownDiffSection(key))
  }

  @Test func unknownDiffVersionsHalt() {
    let entry = #"{\#(head),"op":"u","ns":"a.b","o":{"$v":3,"diff":{}},"o2":{"_id":1}}"#
    #expect(reason(entry) == .unsupportedUpdate(version: 3))
  }

  /// More fields in `o2` than from earlier servers.
  @Test func commandsKeepTheirMeaning() throws {
    let created = try events(
      #"""
      {\#(head),"op":"c","ns":"a.$cmd","ui":\#(uuid),"o":{"create":"b","idIndex":{"v":2}},
       "o2":{"catalogId":{"$numberLong":"5"},"ident":"collection-1"},\#(version)}
      """#)
    #expect(created.map(\.namespace) == ["a.b"])
    #expect(created.first?.operationDescription == (try Document(#"{"idIndex":{"v":2}}"#).bytes))
    let built = try events(
      #"""
      {\#(head),"op":"c","ns":"a.$cmd","o":{"commitIndexBuild":"b","indexBuildUUID":\#(uuid),
       "indexes":[{"v":2,"name":"x_1"}],"multikey":[{}]},"o2":{"indexes":[{"indexIdent":"i"}]}}
      """#)
    #expect(
      built.first?.operationDescription
        == (try Document(#"{"indexes":[{"v":2,"name":"x_1"}]}"#).bytes))
  }
}
