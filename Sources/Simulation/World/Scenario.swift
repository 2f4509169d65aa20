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
  /// Operators, limits or consumers take messages out of streams. What else is broken then leaves nobody who could
  /// say what was there, so it isn't: a lost checkpoint, or messages that the servers forget.
  let removes: Bool
  /// What breaks: not everything in every history, so that some have what many faults together hide.
  let faults: [Fault]
  /// Bytes that a connection takes before its client has to wait.
  let highWater: Int
  /// At the end the replica set is restored from a backup.
  let endsWithRestore: Bool
  /// The stream of dead letters is in the configuration's list.
  let listsLetters: Bool

  package struct Stream: Sendable {
    var name: String
    var mode: String
    var isExclusive: Bool
    var replicas: Int
    var onLoss = "refill"
    var duplicateWindow = 120
    var removal = Removal.none
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

  package init(seed: UInt64) {
    var chance = Chance(seed, 1)
    self.seed = seed
    server = chance.pick([
      ServerVersion(2, 15, 1), ServerVersion(2, 15, 1), ServerVersion(2, 12, 8),
      ServerVersion(2, 10, 26),
    ])
    nodes = chance.pick([1, 3])
    let replicas = nodes == 3 && chance.one(in: 2) ? 3 : 1
    let hasAtomic = server >= ServerVersion(2, 12, 1)
    let hasFast = server >= ServerVersion(2, 14, 0)
    removes = chance.one(in: 3)
    var streams: [Stream] = []
    for name in ["ROOMS", "USERS"] {
      let isExclusive = name == "ROOMS" || chance.one(in: 2)
      var modes = isExclusive ? ["auto", "chain"] : ["auto"]
      if hasAtomic { modes.append("atomic") }
      if hasFast { modes.append("fast") }
      if !isExclusive { modes.append("single") }
      var stream = Stream(
        name: name, mode: chance.pick(modes), isExclusive: isExclusive, replicas: replicas,
        duplicateWindow: chance.pick([2, 10, 120]))
      if removes { stream.removal = Self.removal(&chance) }
      if case .maxAge(let seconds) = stream.removal {
        stream.duplicateWindow = min(stream.duplicateWindow, seconds)
      }
      streams.append(stream)
    }
    self.streams = streams
    length = chance.between(20, 120) * Nano.minute
    writePause = chance.pick([200, 1_000, 5_000]) * Nano.milli
    burst = chance.pick([1, 3, 30])
    faultPause = chance.pick([500, 1_000, 2_000, 5_000, 20_000]) * Nano.milli
    keepsWindow = chance.one(in: 2)
    var faults = Fault.allCases.filter { _ in !chance.one(in: 3) }
    if faults.isEmpty { faults = [.kill] }
    self.faults = faults
    highWater = chance.pick([16 << 10, 512 << 10])
    endsWithRestore = chance.one(in: 4)
    listsLetters = chance.one(in: 4)
  }

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

  /// The bridge's configuration.
  func yaml(bridge: String) -> String {
    var text = """
      source: { uri: "mongodb://m0,m1,m2/?replicaSet=rs", name: \(Self.source), start: oldest }
      nats: { servers: [\((0..<nodes).map { "\"nats://n\($0):4222\"" }.joined(separator: ", "))] }
      bridge: { name: \(bridge), checkpoint_interval: 1s }
      dead_letter: { stream: LETTERS, subject: "letter.{rule}" }
      streams:

      """
    for stream in streams {
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
    text += """
      rules:
        - name: room
          stream: ROOMS
          match: { namespace: app.rooms }
          subject: "rooms.{documentKey._id}.{operationType}"
        - name: user
          stream: USERS
          match: { namespace: app.users, operations: [insert, replace, delete] }
          subject: "users.{documentKey._id}.{fullDocument.s}"

      """
    return text
  }
}
