import BridgeConfiguration
import SimulatedJetStream

/// What a history is made of, chosen by its seed.
package struct Scenario: Sendable {
  package let seed: UInt64
  package let server: ServerVersion
  /// Servers of the NATS cluster.
  package let nodes: Int
  package let streams: [Stream]
  /// How long faults happen, in nanoseconds.
  package let length: Int64
  /// Of writes, on average, and how many come at once.
  let writePause: Int64
  let burst: Int
  /// Pauses between faults, on average.
  let faultPause: Int64
  /// The oplog keeps everything, so that whatever streams lose can be published again.
  let keepsWindow: Bool
  /// Of each bridge: how many processes there are of it, each on a machine of its own.
  package let instances: Int
  /// Bridges on the replica set, with rules that take different events, a stream of its own each, and another one that
  /// they share.
  package let bridges: Int

  /// For how long a leader's lease lasts.
  static let lease = 5 * Nano.second
  /// Operators, limits or consumers take messages out of streams. What else is broken then leaves nobody who could
  /// say what was there, so it isn't: a lost checkpoint, or messages that the servers forget.
  let removes: Bool
  /// What breaks: not everything in every history, so that some have what many faults together hide.
  let faults: [Fault]
  /// The same of faults that are about one process of several.
  let faultsOfInstances: [Fault]
  /// Bytes that a connection takes before its client has to wait.
  let highWater: Int
  /// At the end the replica set is restored from a backup.
  let endsWithRestore: Bool
  /// The stream of dead letters is in the configuration's list.
  let listsLetters: Bool
  /// A group is cut over to a producer of its own; nil: there is none.
  package let cutover: CutoverScenario?

  package struct Stream: Sendable {
    var name: String
    var mode: String
    var isExclusive: Bool
    var replicas: Int
    var onLoss = "refill"
    var duplicateWindow = 120
    /// Who publishes to it, where there are several bridges.
    var bridges: [Int] = [0]
    /// It is of a group that is cut over.
    var isOfGroup = false
    /// It is a bucket's, which keeps so many entries of each key.
    var history: Int?
    private(set) var removal = Removal.none

    mutating func narrow(to aim: Aim) {
      if let mode = aim.mode, isExclusive || aim.sharesUsers { self.mode = mode }
      duplicateWindow = aim.duplicateWindow ?? duplicateWindow
    }

    mutating func limit(by removal: Removal) {
      self.removal = removal
      if case .maxAge(let seconds) = removal { duplicateWindow = min(duplicateWindow, seconds) }
    }
  }

  /// What takes messages out of a stream, besides operators.
  enum Removal: Sendable, Equatable {
    case none
    /// A consumer that takes what comes.
    case workQueue
    case maxMessages(Int)
    case maxBytes(Int)
    case maxMessagesPerSubject(Int)
    /// In seconds.
    case maxAge(Int)

    var yaml: String {
      switch self {
      case .none: ""
      case .workQueue: "    retention: workqueue\n"
      case .maxMessages(let count): "    max_msgs: \(count)\n"
      case .maxBytes(let size): "    max_bytes: \(size)\n"
      case .maxMessagesPerSubject(let count): "    max_msgs_per_subject: \(count)\n"
      case .maxAge(let seconds): "    max_age: \(seconds)s\n"
      }
    }
  }

  /// Instead of what a seed chooses.
  package struct Choice: Sendable {
    package var instances: Int?
    package var bridges: Int?
    /// A group is cut over.
    package var cutsOver = false
    /// A rule puts entries into a bucket.
    package var hasBucket = false
    /// A stream that is deleted is made again at once.
    package var makesAgain = false
    /// Something breaks all the time.
    package var isDense = false
    /// What histories are narrowed to.
    package var aim: Aim?
  }

  /// Invariant: written by the command before the simulation begins.
  nonisolated(unsafe) package static var choice = Choice()

  package init(seed: UInt64) {
    var chance = Chance(seed, 1)
    let aim = Self.choice.aim
    self.seed = seed
    let anyServer = chance.pick([
      ServerVersion(2, 15, 1), ServerVersion(2, 15, 1), ServerVersion(2, 12, 8),
      ServerVersion(2, 10, 26),
    ])
    server = aim?.server ?? anyServer
    let anyNodes = chance.pick([1, 3])
    nodes = aim?.replicas ?? anyNodes
    let areReplicated = nodes == 3 && chance.one(in: 2)
    let replicas = aim?.replicas ?? (areReplicated ? 3 : 1)
    let hasAtomic = server >= ServerVersion(2, 12, 1)
    let hasFast = server >= ServerVersion(2, 14, 0)
    let cutsOver = Self.choice.cutsOver
    // What is removed from a group's stream can't be told from what was never there.
    let anyRemoval = chance.one(in: 3)
    // A bucket keeps no more than its history.
    removes = (anyRemoval || Self.choice.hasBucket) && !cutsOver && aim == nil
    var streams: [Stream] = []
    for name in ["ROOMS", "USERS"] {
      let isExclusive = name == "ROOMS" || (chance.one(in: 2) && !(aim?.sharesUsers ?? false))
      var modes = isExclusive ? ["auto", "chain"] : ["auto"]
      if hasAtomic { modes.append("atomic") }
      if hasFast { modes.append("fast") }
      if !isExclusive { modes.append("single") }
      var stream = Stream(
        name: name, mode: chance.pick(modes), isExclusive: isExclusive, replicas: replicas,
        duplicateWindow: chance.pick([2, 10, 120]))
      if let aim { stream.narrow(to: aim) }
      if removes { stream.limit(by: Self.removal(&chance)) }
      streams.append(stream)
    }
    // What several processes are about has a chance of its own: histories of one process don't depend on it.
    var others = Chance(seed, 9)
    let tenths = others.below(10)
    let instances = tenths < 4 ? 1 : tenths < 7 ? 2 : 3
    let areTwo = others.one(in: 4)
    bridges = cutsOver ? 1 : Self.choice.bridges ?? (areTwo ? 2 : 1)
    self.instances = Self.choice.instances ?? (bridges == 1 ? instances : min(instances, 2))
    if bridges == 2 {
      streams[1].bridges = [1]
      var modes = ["auto", "single"]
      if hasAtomic { modes.append("atomic") }
      if hasFast { modes.append("fast") }
      var both = Stream(
        name: "BOTH", mode: others.pick(modes), isExclusive: false, replicas: replicas,
        duplicateWindow: others.pick([2, 10, 120]), bridges: [0, 1])
      if removes { both.limit(by: Self.removal(&others)) }
      streams.append(both)
    }
    cutover = cutsOver ? CutoverScenario(seed: seed, aim) : nil
    if let cutover { streams.append(cutover.stream(replicas: replicas)) }
    if Self.choice.hasBucket { streams.append(Self.bucket(seed, replicas, hasFast: hasFast)) }
    self.streams = streams
    let minutes = chance.between(20, 120)
    length = aim?.length ?? cutover?.length ?? minutes * Nano.minute
    let anyWritePause = chance.pick([200, 1_000, 5_000]) * Nano.milli
    writePause = aim?.writePause ?? anyWritePause
    let anyBurst = chance.pick([1, 3, 30])
    burst = aim?.burst ?? anyBurst
    let pause = chance.pick([500, 1_000, 2_000, 5_000, 20_000]) * Nano.milli
    let dense = Self.choice.isDense ? Self.densePause(seed) : nil
    faultPause = aim?.faultPause ?? cutover?.faultPause ?? dense ?? pause
    keepsWindow = chance.one(in: 2) || aim != nil
    var faults = Fault.allCases.filter {
      !$0.isOfInstances && !$0.isAimed && !chance.one(in: 3)
    }
    if faults.isEmpty { faults = [.kill] }
    self.faults = aim?.faults ?? faults
    let ofInstances = Fault.allCases.filter { $0.isOfInstances && !others.one(in: 3) }
    faultsOfInstances = bridges * self.instances > 1 && aim == nil ? ofInstances : []
    let anyHighWater = chance.pick([16 << 10, 512 << 10])
    highWater = aim == nil ? anyHighWater : 16 << 10
    endsWithRestore = chance.one(in: 4) && !cutsOver && aim == nil
    listsLetters = chance.one(in: 4)
  }

  /// Servers know what keeps late messages of a former leader out of shared streams, and these can hold it.
  var hasFences: Bool {
    server >= ServerVersion(2, 11, 0)
      && !streams.contains { !$0.isExclusive && $0.removal == .workQueue }
  }

  /// What never breaks.
  var without: [Fault] {
    Fault.allCases.filter {
      !faults.contains($0) && !faultsOfInstances.contains($0)
        && !$0.isAimed && (!$0.isOfInstances || instances * bridges > 1)
    }
  }

  private static func bucket(_ seed: UInt64, _ replicas: Int, hasFast: Bool) -> Stream {
    var chance = Chance(seed, 12)
    return Stream(
      name: "KV_\(bucketName)", mode: chance.pick(["auto", "chain"] + (hasFast ? ["fast"] : [])),
      isExclusive: true, replicas: replicas, history: chance.pick([1, 1, 2, 5]))
  }

  private static func densePause(_ seed: UInt64) -> Int64 {
    var chance = Chance(seed, 13)
    return chance.pick([100, 250, 500, 1_000]) * Nano.milli
  }

  static let bucketName = "STATES"

  /// The stream of the bucket.
  var bucket: Stream? { streams.first { $0.history != nil } }

  private static func removal(_ chance: inout Chance) -> Removal {
    switch chance.below(7) {
    case 0: .none
    case 1: .maxMessages(chance.pick([5, 50, 500]))
    case 2: .maxBytes(chance.pick([4_000, 40_000, 400_000]))
    case 3: .maxMessagesPerSubject(chance.pick([1, 3]))
    case 4: .maxAge(chance.pick([10, 60, 300]))
    default: .workQueue
    }
  }

  package static let source = "rs"

  /// The name of a bridge.
  static func name(ofBridge bridge: Int) -> String { "b\(bridge)" }

  /// A bridge's configuration.
  func yaml(bridge: Int) -> String {
    var text = """
      source: { uri: "mongodb://m0,m1,m2/?replicaSet=rs", name: \(Self.source), start: oldest }
      nats: { servers: [\((0..<nodes).map { "\"nats://n\($0):4222\"" }.joined(separator: ", "))] }
      bridge: { name: \(Self.name(ofBridge: bridge)), checkpoint_interval: 1s }
      dead_letter: { stream: LETTERS, subject: "letter.{rule}" }

      """
    if let cutover { text += cutover.settings }
    text += "streams:\n"
    let own = streams.filter { bridges == 1 || $0.bridges.contains(bridge) }
    for stream in own where stream.history == nil {
      let subject = stream.name.lowercased()
      text += """
          - name: \(stream.name)
            subjects: ["\(subject).>"]
            ownership: \(stream.isExclusive ? "exclusive" : "shared")
            publish: \(stream.mode)
            num_replicas: \(stream.replicas)
            duplicate_window: \(stream.duplicateWindow)s
            on_loss: \(stream.onLoss)
            allow_direct: true

        """
      text += stream.removal.yaml
      if server >= ServerVersion(2, 12, 1) { text += "    allow_atomic: true\n" }
      if server >= ServerVersion(2, 14, 0) { text += "    allow_batched: true\n" }
    }
    if listsLetters {
      text += """
          - name: LETTERS
            subjects: ["letter.>"]
            ownership: shared
            num_replicas: \(streams[0].replicas)
            allow_direct: true

        """
    }
    for stream in own {
      guard let history = stream.history else { continue }
      text += """
        kv:
          - bucket: \(Self.bucketName)
            history: \(history)
            publish: \(stream.mode)
            replicas: \(stream.replicas)
            on_loss: \(stream.onLoss)

        """
    }
    text += "rules:\n"
    let rules =
      bridges == 1
      ? [Self.rooms, Self.users]
      : bridge == 0 ? [Self.rooms, Self.created] : [Self.users, Self.changed]
    for rule in rules { text += rule + "\n" }
    if let cutover { text += cutover.rule + "\n" }
    if own.contains(where: { $0.history != nil }) { text += Self.states + "\n" }
    return text
  }

  // What has no `s` becomes a dead letter of `users` and `created`.
  private static let rooms = """
      - name: room
        stream: ROOMS
        match: { namespace: app.rooms }
        subject: "rooms.{documentKey._id}.{operationType}"
    """
  private static let users = """
      - name: user
        stream: USERS
        match: { namespace: app.users, operations: [insert, replace, delete] }
        subject: "users.{documentKey._id}.{fullDocument.s}"
    """
  private static let states = """
      - name: state
        delivery: kv
        match: { namespace: app.states, operations: [insert, replace, delete] }
        kv: { bucket: \(bucketName), key: "{documentKey._id}" }
    """
  private static let created = """
      - name: created
        stream: BOTH
        match: { namespace: app.others, operations: [insert, replace] }
        subject: "both.{documentKey._id}.{fullDocument.s}"
    """
  private static let changed = """
      - name: changed
        stream: BOTH
        match: { namespace: app.others, operations: [update, delete] }
        subject: "both.{documentKey._id}.{operationType}"
    """
}
