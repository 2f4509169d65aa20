import BSON
import Oplog
import Testing

/// Transactions with several entries, and prepared ones.
@Suite struct TransactionTests {
  private let one = Transaction(session: "one")
  private let two = Transaction(session: "two")

  private static func next(_ decoder: inout OplogDecoder) throws -> Bool {
    try decoder.next() != nil
  }

  // MARK: Chains

  @Test func eventsComeWhereTheChainEnds() throws {
    var decoder = OplogDecoder()
    #expect(try decoder.events(one.part(10, 1, 2)).isEmpty)
    #expect(decoder.oldestOpenTransaction == OpTime(position: place(10), term: 1))
    #expect(decoder.transactionStart == nil)
    #expect(try decoder.events(one.part(11, after: 10, 3)).isEmpty)
    #expect(decoder.openTransactions == 1)
    #expect(decoder.transactionBytesHeld > 0)
    let all = try decoder.events(one.last(12, after: 11, 4, 5))
    #expect(try keys(of: all) == keys(1, 2, 3, 4, 5))
    #expect(all.map(\.position.index) == [0, 1, 2, 3, 4])
    #expect(all.allSatisfy { $0.position.entry == place(12) && $0.wallTime == 12000 })
    let lsid = try Document(one.lsid).bytes
    #expect(all.allSatisfy { $0.lsid == lsid && $0.txnNumber == 1 })
    #expect(decoder.transactionStart == OpTime(position: place(10), term: 1))
    #expect(decoder.oldestOpenTransaction == nil)
    #expect(decoder.openTransactions == 0)
    #expect(decoder.transactionBytesHeld == 0)
    // It belongs to the transaction, not to the next entry.
    #expect(try decoder.events(one.write(13, 9)).count == 1)
    #expect(decoder.transactionStart == nil)
  }

  @Test func aPreparedTransactionIsTakenAtItsCommit() throws {
    var decoder = OplogDecoder()
    #expect(try decoder.events(one.part(10, 1)).isEmpty)
    #expect(try decoder.events(one.prepare(11, after: 10, 2)).isEmpty)
    #expect(try decoder.events(two.write(12, 7)).map(\.operation) == ["delete"])
    #expect(decoder.oldestOpenTransaction?.position == place(10))
    let all = try decoder.events(one.commit(13, after: 11))
    #expect(try keys(of: all) == keys(1, 2))
    #expect(all.map(\.position.index) == [0, 1])
    #expect(all.allSatisfy { $0.position.entry == place(13) && $0.wallTime == 13000 })
    #expect(decoder.transactionStart?.position == place(10))
    #expect(decoder.openTransactions == 0)
  }

  @Test func aPreparedTransactionMayBeOneEntry() throws {
    var decoder = OplogDecoder()
    #expect(try decoder.events(one.prepare(11, 1, 2)).isEmpty)
    #expect(try keys(of: decoder.events(one.commit(13, after: 11))) == keys(1, 2))
    #expect(decoder.transactionStart?.position == place(11))
  }

  @Test func anAbortDropsATransaction() throws {
    var decoder = OplogDecoder()
    #expect(try decoder.events(one.prepare(10, 1)).isEmpty)
    #expect(try decoder.events(one.abort(11, after: 10)).isEmpty)
    #expect(decoder.openTransactions == 0 && decoder.oldestOpenTransaction == nil)
    #expect(decoder.transactionBytesHeld == 0)
    // As a new primary does with its predecessor's open transactions.
    #expect(try decoder.events(one.part(12, 1)).isEmpty)
    #expect(try decoder.events(one.abort(13, after: 12)).isEmpty)
    #expect(decoder.openTransactions == 0)
    // Of an unknown transaction.
    #expect(try decoder.events(two.abort(14, after: 5)).isEmpty)
    // An abort applies to one number.
    #expect(try decoder.events(one.prepare(15, 1)).isEmpty)
    var other = one
    other.number = 2
    #expect(try decoder.events(other.abort(16, after: 14)).isEmpty)
    #expect(try keys(of: decoder.events(one.commit(17, after: 15))) == keys(1))
  }

  @Test func chainsInterleave() throws {
    var decoder = OplogDecoder()
    #expect(try decoder.events(one.part(10, 1)).isEmpty)
    #expect(try decoder.events(two.part(11, 21)).isEmpty)
    #expect(try decoder.events(two.part(12, after: 11, 22)).isEmpty)
    #expect(try decoder.events(one.part(13, after: 10, 2)).isEmpty)
    #expect(decoder.openTransactions == 2)
    #expect(decoder.oldestOpenTransaction?.position == place(10))
    #expect(try keys(of: decoder.events(one.last(14, after: 13, 3))) == keys(1, 2, 3))
    #expect(decoder.oldestOpenTransaction?.position == place(11))
    #expect(try decoder.events(one.write(15, 3)).count == 1)
    #expect(try keys(of: decoder.events(two.last(16, after: 12, 23))) == keys(21, 22, 23))
    #expect(decoder.oldestOpenTransaction == nil)
  }

  @Test func aTransactionMayBeEmpty() throws {
    var decoder = OplogDecoder()
    #expect(try decoder.events(one.prepare(10)).isEmpty)
    #expect(try decoder.events(one.commit(11, after: 10)).isEmpty)
    #expect(try decoder.events(one.whole(12)).isEmpty)
    #expect(try decoder.events(one.part(13)).isEmpty)
    #expect(try decoder.events(one.last(14, after: 13)).isEmpty)
    #expect(try decoder.events(one.part(15)).isEmpty)
    #expect(try keys(of: decoder.events(one.last(16, after: 15, 1))) == keys(1))
    #expect(decoder.openTransactions == 0)
  }

  /// The session of a retryable write or an internal transaction contains the client's session and another
  /// number.
  @Test func internalTransactionsAreTransactions() throws {
    let lsid =
      #"{"id":"s","uid":"u","txnNumber":{"$numberLong":"7"},"txnUUID":"x"}"#
    let session = #""lsid":\#(lsid),"txnNumber":{"$numberLong":"0"}"#
    let part =
      #"{\#(head),"op":"c","ns":"admin.$cmd",\#(session),"prevOpTime":\#(Transaction.link(0)),"#
      + #""o":{\#(Transaction.operations([1])),"partialTxn":true}}"#
    let last =
      #"{"ts":{"$timestamp":{"t":8,"i":1}},"op":"c","ns":"admin.$cmd",\#(session),"#
      + #""prevOpTime":{"ts":{"$timestamp":{"t":7,"i":3}},"t":{"$numberLong":"1"}},"#
      + #""o":{\#(Transaction.operations([2])),"count":{"$numberLong":"2"}}}"#
    var decoder = OplogDecoder()
    #expect(try decoder.events(part).isEmpty)
    let all = try decoder.events(last)
    #expect(try keys(of: all) == keys(1, 2))
    let bytes = try Document(lsid).bytes
    #expect(all.allSatisfy { $0.lsid == bytes && $0.txnNumber == 0 })
  }

  @Test func operationsOfAnyKindHaveTheirPlaceInTheOrder() throws {
    let first = #"""
      {"applyOps":[{"op":"c","ns":"a.$cmd","o":{"create":"b","idIndex":{"v":2}}},
        {"op":"i","ns":"a.b","o":{"_id":1}},{"op":"i","ns":"a.b","o":{"_id":2},"fromMigrate":true},
        {"op":"i","ns":"config.x","o":{"_id":3}}],"partialTxn":true}
      """#
    let second = #"""
      {"applyOps":[{"op":"u","ns":"a.b","o":{"$v":2,"diff":{"u":{"x":1}}},"o2":{"_id":1}},
        {"op":"c","ns":"a.$cmd","o":{"applyOps":[{"op":"d","ns":"a.b","o":{"_id":1}}]}},
        {"op":"u","ns":"a.b","o":{"_id":2},"o2":{"_id":2}}],"count":{"$numberLong":"7"}}
      """#
    var decoder = OplogDecoder()
    #expect(try decoder.events(one.entry(10, after: 0, first)).isEmpty)
    let all = try decoder.events(one.entry(11, after: 10, second))
    #expect(all.map(\.operation) == ["create", "insert", "update", "delete", "replace"])
    #expect(all.map(\.position.index) == [0, 1, 2, 3, 4])
    #expect(all.first?.operationDescription == (try Document(#"{"idIndex":{"v":2}}"#).bytes))
  }

  @Test func anotherEntryEndsTheEvents() throws {
    var decoder = OplogDecoder()
    #expect(try decoder.events(one.part(10, 1, 2)).isEmpty)
    try Document(one.last(11, after: 10, 3)).use { entry in
      _ = try decoder.begin(entry)
      #expect(try decoder.next() != nil)
    }
    #expect(decoder.transactionBytesHeld > 0)
    #expect(try decoder.events(two.write(12, 7)).map(\.position.index) == [0])
    #expect(decoder.transactionBytesHeld == 0)
    #expect(decoder.transactionStart == nil)
  }

  // MARK: Superseded chains

  @Test func aHigherNumberSupersedesAnOpenChain() throws {
    var later = one
    later.number = 2
    for entry in [later.write(11, 9), later.whole(11, 9), later.part(11, 9), later.prepare(11, 9)] {
      var decoder = OplogDecoder()
      #expect(try decoder.events(one.part(10, 1)).isEmpty)
      _ = try decoder.events(entry)
      #expect(decoder.oldestOpenTransaction?.position != place(10))
      #expect(
        reason(one.last(12, after: 10, 2), &decoder) == .missingEarlierEntries(previous: place(10)))
    }
  }

  @Test func nothingElseSupersedesIt() throws {
    var higher = one
    higher.number = 2
    var elsewhere = two
    elsewhere.number = 9
    var decoder = OplogDecoder()
    #expect(try decoder.events(higher.part(10, 1)).isEmpty)
    _ = try decoder.events(one.write(11, 9))
    _ = try decoder.events(higher.write(12, 9))
    _ = try decoder.events(elsewhere.write(13, 9))
    var newTerm = two
    newTerm.term = 5
    _ = try decoder.events(newTerm.write(14, 9))
    #expect(try keys(of: decoder.events(higher.last(15, after: 10, 2))) == keys(1, 2))
    // A prepared transaction always waits for its commit.
    #expect(try decoder.events(one.prepare(16, 1)).isEmpty)
    _ = try decoder.events(higher.write(17, 9))
    #expect(decoder.openTransactions == 1)
    #expect(try keys(of: decoder.events(one.commit(18, after: 16))) == keys(1))
  }

  @Test func aChainMayBeginAgain() throws {
    var decoder = OplogDecoder()
    #expect(try decoder.events(one.part(10, 1)).isEmpty)
    #expect(try decoder.events(one.part(11, 5)).isEmpty)
    #expect(decoder.openTransactions == 1)
    #expect(try keys(of: decoder.events(one.last(12, after: 11, 6))) == keys(5, 6))
  }

  // MARK: Without a session

  /// The server's batched writes with several entries: linked, but without a session.
  private func batched(_ at: Int, after: Int, _ ids: [Int], term: Int = 1, _ mark: String = "")
    -> String
  {
    Transaction(term: term).head(at)
      + #""prevOpTime":\#(Transaction.link(after)),"o":{\#(Transaction.operations(ids))\#(mark)}}"#
  }

  @Test func batchedWritesAreFoundByTheirLinks() throws {
    let open = #","partialTxn":true"#
    var decoder = OplogDecoder()
    #expect(try decoder.events(batched(10, after: 0, [1], open)).isEmpty)
    #expect(try decoder.events(batched(11, after: 0, [21], open)).isEmpty)
    #expect(try decoder.events(batched(12, after: 10, [2], open)).isEmpty)
    let all = try decoder.events(batched(13, after: 12, [3]))
    #expect(try keys(of: all) == keys(1, 2, 3))
    #expect(all.allSatisfy { $0.lsid == nil && $0.txnNumber == nil })
    #expect(decoder.openTransactions == 1)
    // Only a new term shows that the primary failed in the middle.
    _ = try decoder.events(batched(14, after: 0, [31], term: 2))
    #expect(decoder.openTransactions == 0)
    #expect(
      reason(batched(15, after: 11, [22]), &decoder) == .missingEarlierEntries(previous: place(11)))
  }

  // MARK: Inconsistent transactions

  @Test func contradictionsHalt() throws {
    let both = #"{"applyOps":[],"partialTxn":true,"prepare":true}"#
    let partial = #"{"applyOps":[],"partialTxn":true}"#
    let prepare = #"{"applyOps":[],"prepare":true}"#
    func inner(_ o: String) -> String {
      one.entry(10, after: 0, #"{"applyOps":[{"op":"c","ns":"admin.$cmd","o":\#(o)}]}"#)
    }
    for entry in [
      one.entry(10, after: 0, both), inner(partial), inner(prepare),
      inner(#"{"commitTransaction":1}"#),
      Transaction().head(10) + #""multiOpType":1,"o":\#(partial)}"#,
      Transaction().head(10) + #""multiOpType":1,"o":\#(prepare)}"#,
    ] {
      var decoder = OplogDecoder()
      #expect(reason(entry, &decoder) == .unsupportedTransaction(.contradictory))
    }
    var decoder = OplogDecoder()
    #expect(try decoder.events(one.part(10, 1)).isEmpty)
    #expect(reason(one.commit(11, after: 10), &decoder) == .unsupportedTransaction(.contradictory))
    #expect(try decoder.events(one.prepare(12, 1)).isEmpty)
    #expect(reason(one.last(13, after: 12, 2), &decoder) == .unsupportedTransaction(.contradictory))
    // Nothing can be added after the prepare.
    #expect(try decoder.events(one.prepare(14, 1)).isEmpty)
    #expect(try decoder.events(one.part(15, after: 14, 2)).isEmpty)
    #expect(
      reason(one.last(16, after: 15, 2), &decoder) == .missingEarlierEntries(previous: place(14)))
  }

  @Test func whatHasNoNameCannotBePrepared() throws {
    var decoder = OplogDecoder()
    for o in [#"{"applyOps":[],"prepare":true}"#, #"{"commitTransaction":1}"#] {
      let entry = Transaction().head(10) + #""o":\#(o)}"#
      #expect(reason(entry, &decoder) == .unsupportedTransaction(.unnamed))
    }
    let unlinked =
      Transaction().head(10)
      + #""lsid":{"id":"s"},"txnNumber":{"$numberLong":"1"},"o":{"commitTransaction":1}}"#
    #expect(reason(unlinked, &decoder) == .missingField("prevOpTime"))
    #expect(
      reason(
        one.entry(10, after: 0, #"{"applyOps":[],"partialTxn":1}"#), &decoder)
        == .wrongType(field: "partialTxn", found: .int32))
  }

  @Test func anErrorNamesTheEntryItStandsIn() throws {
    let bad = #"{"applyOps":[{"op":"?","ns":"a.b","o":{}}],"partialTxn":true}"#
    var decoder = OplogDecoder()
    #expect(try decoder.events(one.part(10, 1)).isEmpty)
    #expect(try decoder.events(one.entry(11, after: 10, bad)).isEmpty)
    try Document(one.last(12, after: 11, 2)).use { entry in
      _ = try decoder.begin(entry)
      #expect(try decoder.next() != nil)
      for _ in 0..<3 {
        #expect(throws: OplogError(.unknownOperation("?"), at: place(11))) {
          try Self.next(&decoder)
        }
      }
    }
    #expect(decoder.transactionBytesHeld == 0)
    let lastIsBad = #"{"applyOps":[{"op":"?","ns":"a.b","o":{}}]}"#
    #expect(try decoder.events(one.part(13, 1)).isEmpty)
    #expect(throws: OplogError(.unknownOperation("?"), at: place(14))) {
      try decoder.events(one.entry(14, after: 13, lastIsBad))
    }
  }

  /// A committing entry of a chunk migration: change streams omit it.
  @Test func aMigratedTransactionHasNoEvents() throws {
    var decoder = OplogDecoder()
    #expect(try decoder.events(one.part(10, 1)).isEmpty)
    let last = one.last(11, after: 10, 2).dropLast() + #","fromMigrate":true}"#
    #expect(try decoder.events(String(last)).isEmpty)
    #expect(decoder.openTransactions == 0)
  }
}
