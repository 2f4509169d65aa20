import BSON
public import Oplog

/// A transaction of a `SimulatedReplicaSet`.
public struct TransactionID: Hashable, Sendable {
  var number: Int
}

/// A transaction, until nothing can change its end any more.
struct TransactionState {
  var id: TransactionID
  var session: SessionID
  var transactionNumber: Int64
  /// Its entries without the one that ends it, by their numbers.
  var parts: [Int] = []
  var operations = 0
  /// The last of `parts` has the last operations.
  var isPrepared = false
  /// What ends it, in one history or another: it is committed or aborted, or its session has moved on.
  var ends: [Int] = []
  /// For the present primary.
  var isOpen = true
}

/// Only a transaction that was prepared outlives its primary. Of another one, the next primary aborts what it has.
extension SimulatedReplicaSet {
  /// Transactions that have entries and are not over.
  public var openTransactions: [TransactionID] {
    transactions.filter { $0.isOpen && !$0.parts.isEmpty }.map(\.id)
  }

  public func isOpen(_ transaction: TransactionID) -> Bool { open(transaction) != nil }

  public func isPrepared(_ transaction: TransactionID) -> Bool {
    open(transaction).map { transactions[$0].isPrepared } ?? false
  }

  /// A whole transaction in one entry.
  @discardableResult
  public func transaction(
    _ changes: [DocumentChange], in session: SessionID
  ) -> OplogPosition? {
    begin(in: session).flatMap { commit($0, changes) }
  }

  /// Begins a transaction. One that is open in the session, and isn't prepared, can't be committed any more; its
  /// entries stay, without another one that says so.
  ///
  /// - Returns: nil where there is no primary, or the session's last transaction is prepared.
  public func begin(in session: SessionID) -> TransactionID? {
    guard writable(nil) != nil, let number = nextNumber(in: session) else { return nil }
    lastTransaction += 1
    let id = TransactionID(number: lastTransaction)
    transactions.append(TransactionState(id: id, session: session, transactionNumber: number))
    return id
  }

  /// An entry with changes, with others to follow (`partialTxn`).
  @discardableResult
  public func part(
    _ transaction: TransactionID, _ changes: [DocumentChange]
  ) -> OplogPosition? {
    guard let at = open(transaction), !transactions[at].isPrepared else { return nil }
    return write(at, changes, slots: 1) { $0.append(key: "partialTxn", bool: true) }
      .map { extend(at, by: $0, changes) }
  }

  /// The last changes of a transaction that is committed or aborted by a later entry.
  @discardableResult
  public func prepare(
    _ transaction: TransactionID, _ changes: [DocumentChange]
  ) -> OplogPosition? {
    guard let at = open(transaction), !transactions[at].isPrepared else { return nil }
    let count = countOfChain(at, changes)
    return write(at, changes, slots: changes.count) { writer in
      writer.append(key: "prepare", bool: true)
      if let count { writer.append(key: "count", int64: count) }
    }.map { number in
      transactions[at].isPrepared = true
      return extend(at, by: number, changes)
    }
  }

  /// Commits a transaction: with its last changes, or after it was prepared, without.
  ///
  /// - Returns: nil where it isn't open, there is no primary, or a majority doesn't have the prepare entry yet.
  @discardableResult
  public func commit(
    _ transaction: TransactionID, _ changes: [DocumentChange] = []
  ) -> OplogPosition? {
    guard let at = open(transaction) else { return nil }
    let number: Int?
    if transactions[at].isPrepared {
      guard let primary, let last = transactions[at].parts.last,
        entries[last].index < members[primary].committedEnd
      else { return nil }
      let prepared = entries[last].position
      number = append(at, slots: 1) { writer in
        writer.append(key: "commitTransaction", int32: 1)
        writer.append(
          key: "commitTimestamp", timestamp: prepared.seconds, increment: prepared.increment)
      }
    } else {
      let count = countOfChain(at, changes)
      number = write(at, changes, slots: changes.count) { writer in
        if let count { writer.append(key: "count", int64: count) }
      }
    }
    return number.map { end(at, by: $0) }
  }

  /// Aborts a transaction.
  ///
  /// - Returns: nil where it isn't open, there is no primary, or it has no entries yet.
  @discardableResult
  public func abort(_ transaction: TransactionID) -> OplogPosition? {
    guard let at = open(transaction), writable(nil) != nil else { return nil }
    if transactions[at].parts.isEmpty {
      transactions.remove(at: at)
      return nil
    }
    return abort(at, after: transactions[at].parts.last)
  }

  // MARK: Entries

  private func abort(_ at: Int, after last: Int?) -> OplogPosition? {
    append(at, slots: 1, after: last) { $0.append(key: "abortTransaction", int32: 1) }
      .map { end(at, by: $0) }
  }

  private func extend(_ at: Int, by number: Int, _ changes: [DocumentChange]) -> OplogPosition {
    transactions[at].parts.append(number)
    transactions[at].operations += changes.count
    return position(number)
  }

  private func end(_ at: Int, by number: Int) -> OplogPosition {
    if transactions[at].parts.isEmpty {
      // One entry is lost whole.
      transactions.remove(at: at)
    } else {
      transactions[at].ends.append(number)
      transactions[at].isOpen = false
    }
    return position(number)
  }

  /// The last entry of several says how many operations there are.
  private func countOfChain(_ at: Int, _ changes: [DocumentChange]) -> Int64? {
    guard !transactions[at].parts.isEmpty else { return nil }
    return Int64(transactions[at].operations + changes.count)
  }

  /// - Parameter slots: a transaction takes a timestamp for each operation; its last entry has the last one.
  private func write(
    _ at: Int, _ changes: [DocumentChange], slots: Int, _ rest: (inout ByteWriter) -> Void
  ) -> Int? {
    append(at, slots: max(slots, 1)) { [collections] writer in
      let list = writer.beginArray(key: "applyOps")
      for (index, change) in changes.enumerated() {
        let document = writer.beginDocument(index: index)
        EntryForm.change(&writer, change, in: collections[change.collection.number].place)
        writer.endDocument(document)
      }
      writer.endDocument(list)
      rest(&writer)
    }
  }

  private func append(
    _ at: Int, slots: Int, _ object: (inout ByteWriter) -> Void
  ) -> Int? {
    append(at, slots: slots, after: transactions[at].parts.last, object)
  }

  private func append(
    _ at: Int, slots: Int, after last: Int?, _ object: (inout ByteWriter) -> Void
  ) -> Int? {
    guard let member = writable(nil) else { return nil }
    let session = transactions[at].session
    let transactionNumber = transactions[at].transactionNumber
    let lsid = sessions[session.number].lsid
    let number = append(
      to: member, term: members[member].term, slots: UInt32(slots),
      previous: last.map { entries[$0].opTime } ?? EntryForm.noLink
    ) { writer in
      EntryForm.session(&writer, lsid, transactionNumber)
      writer.append(key: "op", string: "c")
      writer.append(key: "ns", string: "admin.$cmd")
      let mark = writer.beginDocument(key: "o")
      object(&writer)
      writer.endDocument(mark)
    }
    if last == nil { supersede(in: session, before: transactionNumber, by: number) }
    return number
  }

  // MARK: Which are open

  private func open(_ transaction: TransactionID) -> Int? {
    transactions.firstIndex { $0.id == transaction && $0.isOpen }
  }

  /// A session's next number; nil while a prepared transaction is open in it.
  func nextNumber(in session: SessionID) -> Int64? {
    for at in transactions.indices where transactions[at].session == session {
      if transactions[at].isOpen, transactions[at].isPrepared { return nil }
      transactions[at].isOpen = false
    }
    sessions[session.number].transactionNumber += 1
    return sessions[session.number].transactionNumber
  }

  /// With an entry of a higher number, a session's earlier transactions are over.
  func supersede(in session: SessionID, before transactionNumber: Int64, by number: Int) {
    for at in transactions.indices
    where transactions[at].session == session
      && transactions[at].transactionNumber < transactionNumber
    {
      transactions[at].ends.append(number)
    }
  }

  /// A new primary goes by what its oplog has: it keeps prepared transactions, and aborts others.
  func inheritTransactions(_ primary: Int) {
    let log = members[primary].log
    func has(_ number: Int) -> Bool { log.has(number, at: entries[number].index) }
    transactions.removeAll { $0.parts.isEmpty }
    for at in transactions.indices {
      transactions[at].isOpen = false
      if transactions[at].ends.contains(where: has) { continue }
      let parts = transactions[at].parts.prefix { has($0) }
      if transactions[at].isPrepared, parts.count == transactions[at].parts.count {
        transactions[at].isOpen = true
      } else if let last = parts.last {
        _ = abort(at, after: last)
      }
    }
  }

  /// Drops what has ended for good, and what is in no history any more.
  func forgetTransactions() {
    if transactions.isEmpty { return }
    transactions.removeAll { transaction in
      if transaction.ends.contains(where: isCommitted) { return true }
      guard let first = transaction.parts.first else { return !transaction.isOpen }
      return entries[first].index < committed.count && !isCommitted(first)
    }
  }

  /// The oldest entry that a server needs for what is open; nil: none.
  var neededIndex: Int? {
    transactions.compactMap { $0.parts.first.map { entries[$0].index } }.min()
  }
}
