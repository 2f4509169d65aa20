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

  package struct Stream: Sendable {
    var name: String
    var mode: String
    var isExclusive: Bool
    var replicas: Int
    var onLoss = "refill"
    var duplicateWindow = 120
    /// Who publishes to it, where there are several bridges.
    var bridges: [Int] = [0]
  }

  /// Instead of what a seed chooses.
  package struct Choice: Sendable {
    package var instances: Int?
    package var bridges: Int?
  }

  /// Invariant: written by the command before the simulation begins.
  nonisolated(unsafe) package static var choice = Choice()

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
    var streams: [Stream] = []
    for name in ["ROOMS", "USERS"] {
      let isExclusive = name == "ROOMS" || chance.one(in: 2)
      var modes = isExclusive ? ["auto", "chain"] : ["auto"]
      if hasAtomic { modes.append("atomic") }
      if hasFast, replicas == 1 { modes.append("fast") }
      if !isExclusive { modes.append("single") }
      streams.append(
        Stream(
          name: name, mode: chance.pick(modes), isExclusive: isExclusive, replicas: replicas,
          duplicateWindow: chance.pick([2, 10, 120])))
    }
    var others = Chance(seed, 7)
    let tenths = others.below(10)
    let instances = tenths < 4 ? 1 : tenths < 7 ? 2 : 3
    let areTwo = others.one(in: 4)
    bridges = Self.choice.bridges ?? (areTwo ? 2 : 1)
    self.instances = Self.choice.instances ?? (bridges == 1 ? instances : min(instances, 2))
    if bridges == 2 {
      streams[1].bridges = [1]
      var modes = ["auto", "single"]
      if hasAtomic { modes.append("atomic") }
      if hasFast, replicas == 1 { modes.append("fast") }
      streams.append(
        Stream(
          name: "BOTH", mode: others.pick(modes), isExclusive: false, replicas: replicas,
          duplicateWindow: others.pick([2, 10, 120]), bridges: [0, 1]))
    }
    self.streams = streams
    length = chance.between(20, 120) * Nano.minute
    writePause = chance.pick([200, 1_000, 5_000]) * Nano.milli
    burst = chance.pick([1, 3, 30])
    faultPause = chance.pick([500, 1_000, 2_000, 5_000, 20_000]) * Nano.milli
    keepsWindow = chance.one(in: 2)
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
      streams:

      """
    for stream in streams where bridges == 1 || stream.bridges.contains(bridge) {
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
      if server >= ServerVersion(2, 12, 1) { text += "    allow_atomic: true\n" }
      if server >= ServerVersion(2, 14, 0) { text += "    allow_batched: true\n" }
    }
    text += "rules:\n"
    let rules =
      bridges == 1
      ? [Self.rooms, Self.users]
      : bridge == 0 ? [Self.rooms, Self.created] : [Self.users, Self.changed]
    for rule in rules { text += rule + "\n" }
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
