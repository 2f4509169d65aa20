import BSON
import Oplog
import TestRandom
import Testing

/// Random oplogs, read with interruptions: the events must equal those of an uninterrupted read, and the
/// expected ones.
@Suite struct RestartTests {
  struct Entry {
    var position: OplogPosition
    var bytes: [UInt8]
  }

  /// Identity of an event: every document is inserted once.
  struct Derived: Hashable {
    var position: EventPosition
    var id: Int32
  }

  // MARK: An oplog

  /// Writes entries and keeps the expected events.
  struct Workload {
    var random: SeededRandom
    private(set) var entries: [Entry] = []
    private(set) var expected: [Derived] = []

    private struct Open {
      var session: Int32
      var number: Int64
      var ids: [Int32] = []
      var last: UInt32 = 0
      var isPrepared = false
    }

    private var open: [Open] = []
    private var numbers: [Int32: Int64] = [:]
    private var time: UInt32 = 100
    private var id: Int32 = 0

    init(seed: UInt64, entries count: Int) {
      random = SeededRandom(seed: seed)
      while entries.count < count { step() }
    }

    private mutating func below(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &random) }

    private mutating func newIDs(atMost limit: Int) -> [Int32] {
      (0..<below(limit + 1)).map { _ in
        id += 1
        return id
      }
    }

    private mutating func step() {
      switch below(20) {
      case 0...5:
        id += 1
        let place = plain(id, session: nil)
        emit([id], at: place)
      case 6, 7: begin()
      case 8...12: goOn()
      case 13...15: end()
      case 16:
        // The session continues with another write, which supersedes its open transaction unless prepared.
        guard let at = open.indices.randomElement(using: &random) else { return }
        let session = open[at].session
        if !open[at].isPrepared { open.remove(at: at) }
        numbers[session, default: 0] += 1
        id += 1
        let place = plain(id, session: session)
        emit([id], at: place)
      case 17:
        // A whole transaction in one entry, with its own session.
        let ids = newIDs(atMost: 3)
        let transaction = Open(session: Int32(1000 + below(1000)), number: 1, ids: ids)
        let place = write(transaction, ids, previous: 0, mark: nil)
        emit(ids, at: place)
      default: noop()
      }
    }

    private mutating func begin() {
      let session = Int32(below(8))
      // A session has one transaction at a time; an open one is superseded, or prepared.
      if let at = open.firstIndex(where: { $0.session == session }) {
        if open[at].isPrepared { return }
        open.remove(at: at)
      }
      numbers[session, default: 0] += 1
      var transaction = Open(session: session, number: numbers[session] ?? 1)
      transaction.ids = newIDs(atMost: 3)
      transaction.isPrepared = below(3) == 0
      transaction.last =
        write(
          transaction, transaction.ids, previous: 0,
          mark: transaction.isPrepared ? "prepare" : "partialTxn"
        ).seconds
      open.append(transaction)
    }

    private mutating func goOn() {
      guard let at = open.indices.randomElement(using: &random), !open[at].isPrepared else {
        return
      }
      let ids = newIDs(atMost: 3)
      open[at].isPrepared = below(4) == 0
      open[at].ids += ids
      open[at].last =
        write(
          open[at], ids, previous: open[at].last,
          mark: open[at].isPrepared ? "prepare" : "partialTxn"
        ).seconds
    }

    private mutating func end() {
      guard let at = open.indices.randomElement(using: &random) else { return }
      let transaction = open.remove(at: at)
      if below(4) == 0 {
        _ = command(transaction, "abortTransaction")
      } else if transaction.isPrepared {
        let place = command(transaction, "commitTransaction")
        emit(transaction.ids, at: place)
      } else {
        let ids = newIDs(atMost: 3)
        let place = write(transaction, ids, previous: transaction.last, mark: nil)
        emit(transaction.ids + ids, at: place)
      }
    }

    private mutating func emit(_ ids: [Int32], at place: OplogPosition) {
      for (index, id) in ids.enumerated() {
        expected.append(
          Derived(position: EventPosition(entry: place, index: UInt32(index)), id: id))
      }
    }

    // MARK: Its entries

    private mutating func add(
      session: Int32?, number: Int64, previous: UInt32, op: StaticString, ns: StaticString,
      _ body: (inout ByteWriter) -> Void
    ) -> OplogPosition {
      time += UInt32(1 + below(3))
      var into = ByteWriter()
      let whole = into.beginDocument()
      into.append(key: "ts", timestamp: time, increment: 1)
      into.append(key: "t", int64: 1)
      into.append(key: "op", string: op)
      into.append(key: "ns", string: ns)
      if let session {
        let lsid = into.beginDocument(key: "lsid")
        into.append(key: "id", int32: session)
        into.endDocument(lsid)
        into.append(key: "txnNumber", int64: number)
        let link = into.beginDocument(key: "prevOpTime")
        into.append(key: "ts", timestamp: previous, increment: previous == 0 ? 0 : 1)
        into.endDocument(link)
      }
      let o = into.beginDocument(key: "o")
      body(&into)
      into.endDocument(o)
      into.endDocument(whole)
      let place = place(time)
      entries.append(Entry(position: place, bytes: Array(into.bytes)))
      return place
    }

    private mutating func noop() {
      _ = add(session: nil, number: 0, previous: 0, op: "n", ns: "") { into in
        into.append(key: "msg", string: "periodic noop")
      }
    }

    private mutating func plain(_ id: Int32, session: Int32?) -> OplogPosition {
      let number = session.flatMap { numbers[$0] } ?? 0
      return add(session: session, number: number, previous: 0, op: "i", ns: "a.b") { into in
        into.append(key: "_id", int32: id)
      }
    }

    private mutating func write(
      _ transaction: Open, _ ids: [Int32], previous: UInt32, mark: StaticString?
    ) -> OplogPosition {
      add(
        session: transaction.session, number: transaction.number, previous: previous, op: "c",
        ns: "admin.$cmd"
      ) { into in
        let list = into.beginArray(key: "applyOps")
        for (at, id) in ids.enumerated() {
          let operation = into.beginDocument(index: at)
          into.append(key: "op", string: "i")
          into.append(key: "ns", string: "a.b")
          let document = into.beginDocument(key: "o")
          into.append(key: "_id", int32: id)
          into.endDocument(document)
          into.endDocument(operation)
        }
        into.endDocument(list)
        guard let mark else { return }
        let key = UnsafeRawBufferPointer(start: mark.utf8Start, count: mark.utf8CodeUnitCount)
        into.append(key: key, bool: true)
      }
    }

    private mutating func command(_ transaction: Open, _ name: StaticString) -> OplogPosition {
      add(
        session: transaction.session, number: transaction.number, previous: transaction.last,
        op: "c", ns: "admin.$cmd"
      ) { into in
        let key = UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount)
        into.append(key: key, int32: 1)
      }
    }
  }

  // MARK: Reading it

  /// Reads as a bridge does: takes events one at a time, keeps a checkpoint, and continues from there after
  /// an interruption.
  private struct Reader: ~Copyable {
    let entries: [Entry]
    var decoder: OplogDecoder
    var seen: [Derived] = []
    /// The last entry of which all events were taken.
    var done = place(0)
    var restarts = 0
    var lookups = 0
    var passedOver = 0
    /// The number of interruptions in the middle of a transaction's events.
    var cutOff = 0

    init(_ entries: [Entry], memory: Int) {
      self.entries = entries
      decoder = OplogDecoder(transactionMemory: memory)
    }

    private func index(of position: OplogPosition) throws -> Int {
      try #require(entries.firstIndex { $0.position == position })
    }

    /// The first entry of the chain that leads to `previous`.
    private func start(before previous: OplogPosition) throws -> OplogPosition {
      var position = previous
      while true {
        let link = try entries[try index(of: position)].bytes.withUnsafeBytes {
          try ChainLink(BSONView($0)).previous
        }
        guard let link else { return position }
        position = link
      }
    }

    /// Takes `entry`'s events, at most `limit` of them; false if it has more. An event seen before
    /// is not taken again.
    private mutating func take(_ entry: Entry, limit: Int) throws -> Bool {
      var rest = limit
      return try entry.bytes.withUnsafeBytes { bytes in
        _ = try decoder.begin(BSONView(bytes))
        while let event = try decoder.next() {
          guard rest > 0 else { return false }
          rest -= 1
          if let last = seen.last, event.position <= last.position { continue }
          let id = try #require(try event.documentKey?.first("_id")?.int32)
          seen.append(Derived(position: event.position, id: id))
        }
        return true
      }
    }

    /// - Parameters:
    ///   - interruptions: their maximum number.
    ///   - jump: a restart ignores the decoder's oldest open transaction, as if a checkpoint had.
    mutating func run(
      _ random: inout SeededRandom, interruptions: Int, jump: Bool
    ) throws {
      var at = 0
      var patience = entries.count * 20
      while at < entries.count, patience > 0 {
        patience -= 1
        let isInterrupted =
          restarts < interruptions && Int.random(in: 0..<8, using: &random) == 0
        let limit = isInterrupted ? Int.random(in: 0..<3, using: &random) : .max
        do {
          let isWhole = try take(entries[at], limit: limit)
          if isWhole { done = max(done, entries[at].position) } else { cutOff += 1 }
          if isInterrupted {
            at = try restart(at: isWhole ? at + 1 : at, &random, jump: jump)
          } else {
            at += 1
          }
        } catch let error as OplogError {
          guard case .missingEarlierEntries(let previous) = error.reason else { throw error }
          #expect(error.position == entries[at].position)
          if entries[at].position <= done {
            // It began before an open one and has ended since: all its events were taken.
            passedOver += 1
            at += 1
          } else {
            lookups += 1
            let first = try start(before: previous)
            decoder.forgetTransactions()
            at = try index(of: first)
          }
        }
      }
      #expect(patience > 0, "going in circles")
    }

    private mutating func restart(
      at next: Int, _ random: inout SeededRandom, jump: Bool
    ) throws -> Int {
      restarts += 1
      defer { decoder.forgetTransactions() }
      // Anywhere before the next entry: entries may be read again, but not skipped.
      if jump { return Int.random(in: max(0, next - 10)...next, using: &random) }
      var resume = next
      if let open = decoder.oldestOpenTransaction {
        resume = min(resume, try index(of: open.position))
      }
      if let emitting = decoder.transactionStart {
        resume = min(resume, try index(of: emitting.position))
      }
      return resume
    }
  }

  @Test(arguments: 1...60)
  func interruptionsChangeNothing(_ seed: Int) throws {
    let workload = Workload(seed: UInt64(seed), entries: 400)
    let memory = [0, 300, 2000, 8 << 20][seed % 4]
    var random = SeededRandom(seed: UInt64(seed) &* 7919)

    var whole = Reader(workload.entries, memory: memory)
    try whole.run(&random, interruptions: 0, jump: false)
    #expect(whole.seen == workload.expected, "seed \(seed)")
    #expect(whole.lookups == 0)

    var interrupted = Reader(workload.entries, memory: memory)
    try interrupted.run(&random, interruptions: 40, jump: false)
    #expect(interrupted.seen == workload.expected, "seed \(seed)")
    #expect(interrupted.restarts > 10)
    // A restart at the decoder's position never misses an entry.
    #expect(interrupted.lookups == 0, "seed \(seed)")

    var careless = Reader(workload.entries, memory: memory)
    try careless.run(&random, interruptions: 40, jump: true)
    #expect(careless.seen == workload.expected, "seed \(seed)")
    #expect(careless.restarts > 10)
    #expect(careless.decoder.transactionBytesHeld <= memory)
  }

  /// The workloads contain the intended cases.
  @Test func workloadsAreVaried() throws {
    var (events, lookups, cutOff, passedOver) = (0, 0, 0, 0)
    for seed in 1...20 {
      let workload = Workload(seed: UInt64(seed), entries: 400)
      events += workload.expected.count
      var reader = Reader(workload.entries, memory: 2000)
      var random = SeededRandom(seed: UInt64(seed))
      try reader.run(&random, interruptions: 40, jump: true)
      lookups += reader.lookups
      cutOff += reader.cutOff
      passedOver += reader.passedOver
    }
    #expect(events > 3000)
    #expect(lookups > 50)
    #expect(cutOff > 50)
    #expect(passedOver > 50)
  }
}
