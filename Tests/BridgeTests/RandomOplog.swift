import BSON
import Oplog
import TestRandom

/// Oplog entries as a busy replica set writes them: single changes, noops, and transactions of one or
/// several entries, prepared or not, committed, aborted or left open, with others in between.
struct RandomOplog {
  private(set) var entries: [[UInt8]] = []
  private(set) var positions: [OplogPosition] = []
  /// Of transactions over several entries: the first and the committing entry.
  private(set) var transactions: [(first: OplogPosition, commit: OplogPosition)] = []
  private var random: SeededRandom
  private var open: [Open] = []
  private var number: Int64 = 0
  private var key: Int32 = 0
  /// Documents are also updated, replaced and deleted; else only inserted.
  private let changesDocuments: Bool

  private struct Open {
    var session: UInt8
    var number: Int64
    var first: OplogPosition
    var last: OplogPosition
    var isPrepared = false
    var operations = 0
  }

  init(seed: UInt64, count: Int, changesDocuments: Bool = false) {
    self.changesDocuments = changesDocuments
    random = SeededRandom(seed: seed)
    while entries.count < count { step() }
  }

  private mutating func step() {
    switch random.below(10) {
    case 0:
      append([.init("op", .string("n")), .init("ns", .string("")), .init("o", .document([]))])
    case 1: transaction(nil, .commit)
    case 2 where open.count < 3: transaction(nil, .part)
    case 3...6 where !open.isEmpty: continueTransaction(random.below(open.count))
    default: append(change())
    }
  }

  private enum Kind { case part, prepare, commit }

  private mutating func continueTransaction(_ index: Int) {
    let transaction = open[index]
    if transaction.isPrepared {
      open.remove(at: index)
      let isCommitted = random.chance(3, in: 4)
      let o: [Value.Field] =
        isCommitted
        ? [
          .init("commitTransaction", .int32(1)),
          .init(
            "commitTimestamp",
            .timestamp(transaction.last.seconds, transaction.last.increment)),
        ] : [.init("abortTransaction", .int32(1))]
      append(
        session(transaction) + [
          .init("op", .string("c")), .init("ns", .string("admin.$cmd")), .init("o", .document(o)),
        ])
      if isCommitted, let commit = positions.last {
        transactions.append((transaction.first, commit))
      }
      return
    }
    self.transaction(
      index, random.chance(1, in: 3) ? .part : random.chance(1, in: 2) ? .prepare : .commit)
  }

  private mutating func transaction(_ index: Int?, _ kind: Kind) {
    let nothing = OplogPosition(seconds: 0, increment: 0)
    var transaction: Open
    if let index {
      transaction = open[index]
    } else {
      number += 1
      transaction = Open(
        session: UInt8(truncatingIfNeeded: number), number: number, first: nothing, last: nothing)
    }
    let count = 1 + random.below(3)
    transaction.operations += count
    let operations = (0..<count).map { _ in Value.document(change()) }
    var o: [Value.Field] = [.init("applyOps", .array(operations))]
    switch kind {
    case .part: o.append(.init("partialTxn", .bool(true)))
    case .prepare:
      o.append(.init("prepare", .bool(true)))
      o.append(.init("count", .int64(Int64(transaction.operations))))
    case .commit:
      if index != nil { o.append(.init("count", .int64(Int64(transaction.operations)))) }
    }
    append(
      session(transaction) + [
        .init("op", .string("c")), .init("ns", .string("admin.$cmd")), .init("o", .document(o)),
      ])
    guard let position = positions.last else { return }
    if transaction.first == nothing { transaction.first = position }
    transaction.last = position
    transaction.isPrepared = kind == .prepare
    switch (kind, index) {
    case (.commit, let index?):
      open.remove(at: index)
      transactions.append((transaction.first, position))
    case (.commit, nil): break
    case (_, let index?): open[index] = transaction
    case (_, nil): open.append(transaction)
    }
  }

  private func session(_ transaction: Open) -> [Value.Field] {
    let isFirst = transaction.last.seconds == 0
    return [
      .init(
        "lsid",
        .document([.init("id", .binary(4, [UInt8](repeating: transaction.session, count: 16)))])),
      .init("txnNumber", .int64(transaction.number)),
      .init(
        "prevOpTime",
        .document([
          .init("ts", .timestamp(transaction.last.seconds, transaction.last.increment)),
          .init("t", .int64(isFirst ? -1 : 1)),
        ])),
    ]
  }

  /// An operation on a document of `app.c`.
  private mutating func change() -> [Value.Field] {
    guard changesDocuments, key > 0 else { return insert() }
    let id = Value.document([.init("_id", .int32(1 + Int32(random.below(Int(key)))))])
    let collection = Value.Field("ui", .binary(4, [UInt8](repeating: 7, count: 16)))
    let head: [Value.Field] = [.init("ns", .string("app.c")), collection]
    switch random.below(6) {
    case 0...2:
      let diff = Value.document([.init("u", .document([.init("a", .int32(key))]))])
      return [.init("op", .string("u"))] + head + [
        .init("o", .document([.init("$v", .int32(2)), .init("diff", diff)])), .init("o2", id),
      ]
    case 3:
      return [.init("op", .string("u"))] + head + [.init("o", id), .init("o2", id)]
    case 4: return [.init("op", .string("d"))] + head + [.init("o", id)]
    default: return insert()
    }
  }

  private mutating func insert() -> [Value.Field] {
    key += 1
    return [
      .init("op", .string("i")), .init("ns", .string("app.c")),
      .init("o", .document([.init("_id", .int32(key))])),
      .init("o2", .document([.init("_id", .int32(key))])),
    ]
  }

  private mutating func append(_ fields: [Value.Field]) {
    let last = positions.last ?? OplogPosition(seconds: 100, increment: 0)
    let position =
      random.chance(1, in: 4)
      ? OplogPosition(seconds: last.seconds + 1 + UInt32(random.below(3)), increment: 1)
      : OplogPosition(
        seconds: last.seconds, increment: last.increment + 1 + UInt32(random.below(2)))
    positions.append(position)
    let head: [Value.Field] = [
      .init("ts", .timestamp(position.seconds, position.increment)), .init("t", .int64(1)),
      .init("v", .int64(2)),
      .init("wall", .scalar(.date, [UInt8](repeating: 1, count: 5) + [0, 0, 0])),
    ]
    entries.append(Value.document(head + fields).bson)
  }

  /// All events, decoded in one go.
  func events() throws -> [EventPosition] {
    var decoder = OplogDecoder()
    var all: [EventPosition] = []
    for entry in entries {
      try entry.withUnsafeBytes { bytes in
        _ = try decoder.begin(try BSONView(bytes))
        while let event = try decoder.next() { all.append(event.position) }
      }
    }
    return all
  }
}
