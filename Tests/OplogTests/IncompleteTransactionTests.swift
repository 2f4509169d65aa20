import BSON
import Oplog
import Testing

/// Reading that starts in the middle of a transaction, or restarts.
@Suite struct IncompleteTransactionTests {
  private let one = Transaction(session: "one")
  private let two = Transaction(session: "two")

  private static func next(_ decoder: inout OplogDecoder) throws -> Bool {
    try decoder.next() != nil
  }

  @Test func theEndAloneAsksForItsBeginning() throws {
    var decoder = OplogDecoder()
    let missing = OplogError(.missingEarlierEntries(previous: place(11)), at: place(12))
    #expect(throws: missing) { try decoder.events(one.last(12, after: 11, 4)) }
    #expect(throws: missing) { try Self.next(&decoder) }
    let commit = OplogError(.missingEarlierEntries(previous: place(11)), at: place(13))
    #expect(throws: commit) { try decoder.events(one.commit(13, after: 11)) }
    // The caller may skip it.
    #expect(try decoder.events(two.write(14, 7)).count == 1)
    #expect(decoder.openTransactions == 0)
  }

  @Test func anIncompleteChainComplainsWhenItCommits() throws {
    var decoder = OplogDecoder()
    #expect(try decoder.events(one.part(11, after: 10, 2)).isEmpty)
    #expect(try decoder.events(one.part(12, after: 11, 3)).isEmpty)
    #expect(decoder.oldestOpenTransaction?.position == place(11))
    #expect(
      reason(one.last(13, after: 12, 4), &decoder) == .missingEarlierEntries(previous: place(10)))
    #expect(decoder.openTransactions == 0)
    #expect(try decoder.events(two.prepare(14, after: 9, 2)).isEmpty)
    #expect(
      reason(two.commit(15, after: 14), &decoder) == .missingEarlierEntries(previous: place(9)))
  }

  @Test func anIncompleteChainMayBeAborted() throws {
    var decoder = OplogDecoder()
    #expect(try decoder.events(one.part(11, after: 10, 2)).isEmpty)
    #expect(try decoder.events(one.abort(12, after: 11)).isEmpty)
    #expect(try decoder.events(two.prepare(13, after: 9, 2)).isEmpty)
    #expect(try decoder.events(two.abort(14, after: 13)).isEmpty)
    #expect(decoder.openTransactions == 0)
  }

  @Test func aGapWithinAChainIsNoticed() throws {
    var decoder = OplogDecoder()
    #expect(try decoder.events(one.part(10, 1)).isEmpty)
    // 11 was not read.
    #expect(try decoder.events(one.part(12, after: 11, 3)).isEmpty)
    #expect(
      reason(one.last(13, after: 12, 4), &decoder) == .missingEarlierEntries(previous: place(11)))
    #expect(try decoder.events(two.part(14, 1)).isEmpty)
    #expect(
      reason(two.last(16, after: 15, 4), &decoder) == .missingEarlierEntries(previous: place(15)))
    #expect(decoder.openTransactions == 0)
  }

  @Test func readingAgainGivesTheSame() throws {
    let entries = [
      one.part(10, 1), two.prepare(11, 21), one.part(12, after: 10, 2), one.last(13, after: 12, 3),
    ]
    var decoder = OplogDecoder()
    var first: [Event] = []
    for entry in entries { first += try decoder.events(entry) }
    decoder.forgetTransactions()
    #expect(decoder.openTransactions == 0 && decoder.oldestOpenTransaction == nil)
    #expect(decoder.transactionBytesHeld == 0)
    #expect(try decoder.next() == nil)
    var second: [Event] = []
    for entry in entries { second += try decoder.events(entry) }
    #expect(first == second)
    #expect(first.count == 3)
    #expect(try keys(of: decoder.events(two.commit(14, after: 11))) == keys(21))
    // In the middle of its events, and after an error.
    #expect(try decoder.events(one.part(15, 1)).isEmpty)
    try Document(one.last(16, after: 15, 2)).use { entry in
      _ = try decoder.begin(entry)
      #expect(try decoder.next() != nil)
      decoder.forgetTransactions()
      #expect(try decoder.next() == nil)
    }
    _ = reason(two.commit(17, after: 3), &decoder)
    decoder.forgetTransactions()
    #expect(try decoder.next() == nil)
  }

  // MARK: Links

  @Test func aLinkLeadsToTheEntryBefore() throws {
    try Document(one.last(13, after: 12, 1)).use { entry in
      let link = try ChainLink(entry)
      #expect(link.opTime == OpTime(position: place(13), term: 1))
      #expect(link.previous == place(12))
      #expect(link.lsid.map { Array($0.bytes) } == (try Document(one.lsid).bytes))
      #expect(link.txnNumber == 1)
    }
    let first = try Document(one.part(10, 1)).use { try ChainLink($0).previous }
    #expect(first == nil)
    try Document(#"{\#(head),"op":"d","ns":"a.b","o":{"_id":1}}"#).use {
      let link = try ChainLink($0)
      #expect(link.previous == nil && link.lsid == nil && link.txnNumber == nil)
    }
    #expect(
      throws: OplogError(.unknownOperation("?"), at: OplogPosition(seconds: 7, increment: 3))
    ) { try Document(#"{\#(head),"op":"?"}"#).use { try ChainLink($0).previous } }
    #expect(throws: OplogError(.missingField("ts"))) {
      try Document(#"{"op":"n","o":{}}"#).use { try ChainLink($0).previous }
    }
  }
}
