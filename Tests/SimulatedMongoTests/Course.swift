import BSON
import Oplog
import SimulatedMongo
import TestRandom
import Testing

/// A random life of a replica set, with readers that look at it all the time.
struct Course {
  let set: SimulatedReplicaSet
  private(set) var random: SeededRandom
  private let collections: [CollectionID]
  private let sessions: [SessionID]
  private var next: Int64 = 0
  /// The keys that an entry changes, by its optime: what events it has once it is committed.
  private(set) var expected: [OpTime: [Int64]] = [:]
  private var pending: [TransactionID: [Int64]] = [:]
  private var readers: [Reader] = []
  private(set) var tally: [String: Int] = [:]

  private struct Reader {
    var member: Int
    var cursor: Int64
    var majority: Bool
    var read: [Int] = []
  }

  init(seed: UInt64) {
    random = SeededRandom(seed: seed)
    let set = SimulatedReplicaSet(seed: seed, now: 1_800_000_000_000_000_000)
    self.set = set
    collections = ["a", "b"].map { set.collection("app", $0) }
    sessions = (0..<3).map { _ in set.session() }
  }

  mutating func run(_ steps: Int) {
    for _ in 0..<steps { step() }
    for reader in readers { close(reader) }
    heal()
  }

  private mutating func note(_ what: String, if happened: Bool = true) {
    if happened { tally[what, default: 0] += 1 }
  }

  private mutating func step() {
    let member = random.below(3)
    if set.primary == nil, random.chance(1, in: 6) { return note("elected", if: set.elect(member)) }
    switch random.below(40) {
    case 0...9: write()
    case 10...15: transact()
    case 16: note("noop", if: set.noop() != nil)
    case 17...22: replicate(member, 1 + random.below(6))
    case 23...25: set.updateMajority()
    case 26: note("elected", if: set.elect(member))
    case 27: random.chance(2, in: 3) ? set.start(member) : stop(member)
    case 28: set.setLinks(of: member, areUp: random.chance(3, in: 4))
    case 29: truncate(member)
    case 30: if random.chance(1, in: 3) { set.stepDown(member) }
    case 31: changeClock(member)
    default: read(member)
    }
    set.now += Int64(random.below(400)) * 1_000_000
  }

  private mutating func stop(_ member: Int) {
    set.stop(member, losing: random.chance(1, in: 3) ? random.below(4) : 0)
    note("stopped")
  }

  private mutating func changeClock(_ member: Int) {
    set.setClock(of: member, ahead: Int64(random.below(20) - 10) * 1_000_000_000)
  }

  private mutating func replicate(_ member: Int, _ count: Int) {
    switch set.replicate(member, count: count) {
    case .rolledBack: note("rolled back")
    case .tooStale:
      note("too stale")
      guard random.chance(1, in: 2) else { return }
      note("resynced", if: set.resync(member, keeping: random.chance(1, in: 2) ? 3 : nil))
    case .applied, .unconnected: break
    }
  }

  private mutating func truncate(_ member: Int) {
    guard let newest = try? set.newest(on: member), random.chance(1, in: 3) else { return }
    let position = OplogPosition(
      seconds: newest.position.seconds - UInt32(random.below(3)), increment: 0)
    note("truncated", if: set.truncate(member, before: position) > 0)
  }

  // MARK: Writing

  private mutating func operation() -> DocumentChange {
    next += 1
    return DocumentChange(
      random.pick(DocumentChange.Kind.allCases), random.pick(collections), .int64(next),
      value: next,
      padding: random.below(20))
  }

  private mutating func operations() -> [DocumentChange] {
    (0..<1 + random.below(3)).map { _ in operation() }
  }

  private mutating func write() {
    // Also on one that doesn't know yet that it isn't the primary any more.
    let stale = set.members.indices.filter { set.members[$0].isPrimary }
    let member = stale.isEmpty ? nil : random.pick(stale)
    let operation = operation()
    let position = set.write(
      operation, in: random.chance(1, in: 2) ? random.pick(sessions) : nil, on: member)
    guard let position, let member else { return }
    expected[OpTime(position: position, term: set.members[member].term)] = [operation.value]
    note("write of a former primary", if: member != set.primary)
  }

  private mutating func transact() {
    let open = set.openTransactions
    guard !open.isEmpty, random.chance(3, in: 4) else {
      if random.chance(1, in: 3) {
        let operations = operations()
        expect(
          set.transaction(operations, in: random.pick(sessions)), operations.map(\.value),
          "whole transaction")
      } else if let transaction = set.begin(in: random.pick(sessions)) {
        pending[transaction] = []
        part(transaction)
      }
      return
    }
    let transaction = random.pick(open)
    if set.isPrepared(transaction) {
      if random.chance(1, in: 4) {
        note("prepared and aborted", if: set.abort(transaction) != nil)
      } else {
        expect(set.commit(transaction), pending[transaction] ?? [], "prepared and committed")
      }
      return
    }
    switch random.below(6) {
    case 0, 1: part(transaction)
    case 2, 3:
      let operations = operations()
      guard set.prepare(transaction, operations) != nil else { return }
      pending[transaction, default: []] += operations.map(\.value)
    case 4:
      let operations = operations()
      expect(
        set.commit(transaction, operations),
        (pending[transaction] ?? []) + operations.map(\.value), "committed chain")
    default: note("aborted", if: set.abort(transaction) != nil)
    }
  }

  private mutating func part(_ transaction: TransactionID) {
    let operations = operations()
    guard set.part(transaction, operations) != nil else { return }
    pending[transaction, default: []] += operations.map(\.value)
  }

  private mutating func expect(_ position: OplogPosition?, _ keys: [Int64], _ what: String) {
    guard let position, let primary = set.primary else { return }
    expected[OpTime(position: position, term: set.members[primary].term)] = keys
    note(what)
  }

  // MARK: Reading

  private mutating func read(_ member: Int) {
    guard !readers.isEmpty, random.chance(4, in: 5) else { return open(member) }
    let at = random.below(readers.count)
    do {
      let reply = try set.getMore(
        on: readers[at].member, cursor: readers[at].cursor, batchSize: 1 + random.below(5))
      note("read", if: !reply.entries.isEmpty)
      readers[at].read += reply.entries
    } catch {
      if case .error(let code, _) = error { note("error \(code)") }
      close(readers.remove(at: at))
    }
  }

  private mutating func open(_ member: Int) {
    guard let oldest = try? set.oldest(on: member), let newest = try? set.newest(on: member) else {
      return
    }
    let seconds = oldest.position.seconds...newest.position.seconds + 1
    let position = OplogPosition(
      seconds: seconds.lowerBound + UInt32(random.below(seconds.count)),
      increment: UInt32(random.below(5)))
    let majority = random.chance(2, in: 3)
    guard
      let reply = try? set.find(
        on: member, from: position, majority: majority, batchSize: 1 + random.below(5))
    else { return }
    readers.append(
      Reader(member: member, cursor: reply.cursor, majority: majority, read: reply.entries))
    #expect(reply.entries.allSatisfy { set.entry($0).position >= position })
  }

  /// What a reader got is one piece of the committed history.
  private mutating func close(_ reader: Reader) {
    let indexes = reader.read.map { set.entry($0).index }
    #expect(indexes.isEmpty || indexes == [Int](indexes[0]..<indexes[0] + indexes.count))
    if reader.majority {
      note("committed reads")
      #expect(zip(indexes, reader.read).allSatisfy { set.committed[$0].number == $1 })
    } else {
      let isPhantom = zip(indexes, reader.read).contains {
        $0 < set.committed.count && set.committed[$0].number != $1
      }
      note("local read of what was rolled back", if: isPhantom)
    }
  }

  /// Everything is well again, and nothing is left to be committed.
  private mutating func heal() {
    for member in 0..<3 {
      set.start(member)
      set.setLinks(of: member, areUp: true)
    }
    let candidates = (0..<3).filter { set.elect($0) }
    #expect(!candidates.isEmpty)
    for member in 0..<3 {
      while set.replicate(member) != .unconnected, set.replicate(member) != .applied(0) {
        if set.members[member].isRecovering { set.resync(member) }
      }
    }
    set.updateMajority()
    #expect(set.primary.map { set.members[$0].historyLength } == set.committed.count)
  }
}
