import BSON
import Oplog
import SimulatedMongo
import Testing

@Suite struct TransactionTests {
  let set = SimulatedReplicaSet(seed: 2, now: 1_800_000_000_000_000_000)
  let collection: CollectionID
  let session: SessionID

  init() {
    collection = set.collection("app", "c")
    session = set.session()
  }

  private func inserts(_ keys: Int32...) -> [DocumentChange] {
    keys.map { DocumentChange(.insert, collection, .int32($0)) }
  }

  private func commit() {
    for member in 0..<3 { for _ in 0..<2 { set.replicate(member) } }
    set.updateMajority()
    for member in 0..<3 { set.replicate(member) }
  }

  /// The events of all that is committed: position and key.
  private func events() throws -> [String] {
    var decoder = OplogDecoder()
    var events: [String] = []
    for entry in set.committed {
      try set.withBytes(of: entry.number) { bytes in
        _ = try decoder.begin(try BSONView(bytes))
        while let event = try decoder.next() {
          let key = try event.documentKey?.first("_id")?.integer ?? 0
          events.append("\(event.position.entry) \(key)")
        }
      }
    }
    #expect(decoder.openTransactions == 0)
    return events
  }

  @Test func transactionsTakeEffectWhereTheyEnd() throws {
    let whole = try #require(set.transaction(inserts(1, 2), in: session))
    let chain = try #require(set.begin(in: session))
    let first = try #require(set.part(chain, inserts(3)))
    let between = try #require(set.insert(collection, .int32(4)))
    let middle = try #require(set.part(chain, inserts(5)))
    let last = try #require(set.commit(chain, inserts(6, 7)))
    commit()
    #expect(
      try events() == [
        "\(whole) 1", "\(whole) 2", "\(between) 4", "\(last) 3", "\(last) 5", "\(last) 6",
        "\(last) 7",
      ])
    #expect(try set.transactionStart(on: 1, from: middle, majority: true) == first)
    #expect(try set.transactionStart(on: 1, from: last, majority: true) == first)
    #expect(try set.transactionStart(on: 1, from: whole, majority: true) == whole)
    // One timestamp for each operation.
    #expect(last.increment == middle.increment + 2)
  }

  @Test func preparedTransactionsEndLater() throws {
    let other = set.session()
    let committed = try #require(set.begin(in: session))
    let aborted = try #require(set.begin(in: other))
    set.part(committed, inserts(1))
    set.prepare(committed, inserts(2))
    set.prepare(aborted, inserts(3))
    // Nothing else in its session meanwhile.
    #expect(set.begin(in: other) == nil)
    // Not before a majority has the prepare entry.
    #expect(set.commit(committed) == nil)
    #expect(set.abort(aborted) != nil)
    commit()
    let end = try #require(set.commit(committed))
    commit()
    #expect(try events() == ["\(end) 1", "\(end) 2"])
    #expect(set.openTransactions.isEmpty)
    #expect(set.begin(in: other) != nil)
  }

  /// A prepared transaction outlives its primary, even one whose commit was lost.
  @Test func aFailoverKeepsWhatIsPrepared() throws {
    let transaction = try #require(set.begin(in: session))
    set.prepare(transaction, inserts(1))
    commit()
    set.setLinks(of: 0, areUp: false)
    let lost = try #require(set.commit(transaction))
    #expect(!set.isOpen(transaction))
    #expect(set.elect(1))
    #expect(set.isPrepared(transaction))
    set.setLinks(of: 0, areUp: true)
    #expect(set.commit(transaction) != lost)
    commit()
    #expect(try events().map { $0.suffix(2) } == [" 1"])
  }

  /// Of another one, the new primary aborts what it has.
  @Test func aFailoverAbortsWhatIsNotPrepared() throws {
    let transaction = try #require(set.begin(in: session))
    set.part(transaction, inserts(1))
    set.replicate(1)
    set.setLinks(of: 0, areUp: false)
    #expect(set.commit(transaction, inserts(2)) != nil)
    #expect(set.elect(1))
    set.setLinks(of: 0, areUp: true)
    #expect(!set.isOpen(transaction))
    commit()
    #expect(try events().isEmpty)
    #expect(set.rolledBackEntries == 1)
  }

  /// A server keeps the entries that an open transaction needs.
  @Test func openTransactionsHoldTheWindow() throws {
    let transaction = try #require(set.begin(in: session))
    let first = try #require(set.part(transaction, inserts(1)))
    for key: Int32 in 2..<9 { set.insert(collection, .int32(key)) }
    commit()
    set.truncate(0, before: OplogPosition(seconds: .max, increment: 0))
    #expect(try set.oldest(on: 0)?.position == first)
    set.commit(transaction, inserts(9))
    commit()
    set.truncate(0, before: OplogPosition(seconds: .max, increment: 0))
    #expect(set.members[0].entryCount == 1)
  }
}
