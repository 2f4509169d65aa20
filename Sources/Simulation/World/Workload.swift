import SimulatedMongo

/// Applications that write to the replica set, and the set's own housekeeping: members replicate, and elect a primary
/// where there is none.
final class Workload {
  private let world: World
  private let set: SimulatedReplicaSet
  private var chance: Chance
  private let rooms: CollectionID
  private let users: CollectionID
  private let others: CollectionID
  private let states: CollectionID
  /// Those that operations are on.
  private let collections: [CollectionID]
  private let session: SessionID
  /// Of one that is prepared, the next primary may lack the end that it had: it is open again.
  private var transactions: [TransactionID] { self.set.openTransactions }
  private var value: Int64 = 0
  private var isScheduled = [false, false, false]
  /// How long a member takes to replicate, beyond the usual.
  var lag: [Int64] = [0, 0, 0]
  /// Members that replicate nothing.
  var isStuck = [false, false, false]
  var isWriting = true
  private(set) var writes = 0

  init(_ world: World) {
    self.world = world
    set = world.mongo
    chance = Chance(world.scenario.seed, 4)
    rooms = set.collection("app", "rooms")
    users = set.collection("app", "users")
    others = set.collection("app", "others")
    states = set.collection("app", "states")
    collections =
      [rooms, rooms, users, others]
      + (world.scenario.bucket == nil ? [] : [states, states, states])
    session = set.session()
  }

  func start() {
    next()
    housekeeping()
  }

  // MARK: - Writes

  private func next() {
    guard isWriting else { return }
    let pause = world.scenario.writePause
    world.schedule(in: chance.skewed(pause / 20, pause * 4)) { [self] in
      // Most come one by one: a burst is a fault of its own, and takes the time of many.
      for _ in 0...(chance.one(in: 6) ? chance.below(world.scenario.burst) : 0) { write() }
      replicateAll()
      next()
    }
  }

  private func operation() -> DocumentChange {
    operation(on: chance.pick(collections))
  }

  private func operation(on collection: CollectionID) -> DocumentChange {
    value += 1
    let key = DocumentKey.int32(Int32(chance.below(12)))
    let kind = chance.pick([DocumentChange.Kind.insert, .insert, .update, .replace, .delete])
    // What has no `s` can't become a message of the rule for users.
    return DocumentChange(
      kind, collection, key, value: value, padding: chance.one(in: 4) ? 0 : 1 + chance.below(5))
  }

  private func write() {
    guard set.primary != nil else { return }
    writes += 1
    switch chance.below(20) {
    case 0 where chance.one(in: 10): writeLargeTransaction()
    case 0: _ = set.transaction((0...chance.below(4)).map { _ in operation() }, in: session)
    case 1 where transactions.count < 3:
      guard let begun = set.begin(in: set.session()) else { return }
      _ = set.part(begun, [operation()])
    case 2, 3: continueTransaction()
    case 4: set.noop()
    default: set.write(operation())
    }
  }

  /// More than a socket takes at once, and all for one stream.
  private func writeLargeTransaction() {
    let count = 100 + chance.below(300)
    _ = set.transaction((0..<count).map { _ in operation(on: rooms) }, in: session)
  }

  private func continueTransaction() {
    guard !transactions.isEmpty else { return }
    let transaction = chance.pick(transactions)
    switch chance.below(4) {
    case 0 where !set.isPrepared(transaction): _ = set.part(transaction, [operation()])
    case 1 where !set.isPrepared(transaction): _ = set.prepare(transaction, [operation()])
    case 2: _ = set.abort(transaction)
    default: _ = set.commit(transaction, set.isPrepared(transaction) ? [] : [operation()])
    }
  }

  /// Ends what is open, as far as there is a primary.
  func finish() {
    isWriting = false
    guard !transactions.isEmpty else { return }
    for transaction in transactions { _ = set.abort(transaction) }
    replicateAll()
  }

  /// Writes again.
  func resume() {
    isWriting = true
    next()
  }

  // MARK: - Housekeeping

  func replicateAll() {
    for member in set.members.indices where member != set.primary { scheduleReplication(member) }
    world.mongoChanged()
  }

  private func scheduleReplication(_ member: Int) {
    guard !isScheduled[member], !isStuck[member] else { return }
    isScheduled[member] = true
    world.schedule(in: chance.skewed(Nano.milli, 20 * Nano.milli) + lag[member]) { [self] in
      isScheduled[member] = false
      guard !isStuck[member] else { return }
      replicate(member)
    }
  }

  private func replicate(_ member: Int) {
    switch set.replicate(member, count: chance.one(in: 3) ? 1 + chance.below(5) : .max) {
    case .applied(let count):
      let before = set.committed.count
      set.updateMajority()
      if count > 0 || set.committed.count != before { hear(set.committed.count) }
    case .rolledBack:
      world.history.note(world.now, 30, UInt64(member))
      world.history.note(world.now, "m\(member) rolls back")
      scheduleReplication(member)
    case .tooStale: set.resync(member)
    case .unconnected: return
    }
    world.mongoChanged()
    if let primary = set.primary,
      set.members[member].historyLength < set.members[primary].historyLength
    {
      scheduleReplication(member)
    }
  }

  /// Others hear a little later what is committed.
  private func hear(_ count: Int) {
    guard count > heard else { return }
    heard = count
    world.schedule(in: 2 * Nano.milli) { [self] in
      for member in set.members.indices where member != set.primary && !isStuck[member] {
        set.replicate(member, count: 0)
      }
      world.mongoChanged()
    }
  }
  private var heard = 0

  /// Every second.
  private func housekeeping() {
    world.schedule(in: Nano.second) { [self] in
      stepDownWhereAlone()
      electIfNeeded()
      if chance.one(in: 10) { set.noop() }
      replicateAll()
      housekeeping()
    }
  }

  /// A primary that sees no majority gives up after ten seconds, whether others have elected one or not.
  private func stepDownWhereAlone() {
    for member in set.members.indices {
      guard set.members[member].isPrimary, !seesMajority(member) else {
        secondsAlone[member] = 0
        continue
      }
      secondsAlone[member] += 1
      if secondsAlone[member] > 10 { set.stepDown(member) }
    }
  }
  private var secondsAlone = [0, 0, 0]

  private func electIfNeeded() {
    if let primary = set.primary, set.members[primary].isUp, seesMajority(primary) { return }
    guard chance.one(in: 3) else { return }
    let order = set.members.indices.sorted {
      set.members[$0].historyLength > set.members[$1].historyLength
    }
    for member in order where set.elect(member) {
      world.history.note(world.now, 31, UInt64(member))
      world.history.note(world.now, "m\(member) is elected, term \(set.members[member].term)")
      return
    }
    if let primary = set.primary, !seesMajority(primary), chance.one(in: 3) {
      set.stepDown(primary)
    }
  }

  private func seesMajority(_ member: Int) -> Bool {
    set.members.indices.contains {
      $0 != member && set.members[$0].isUp && set.isConnected($0, member)
    }
  }
}
