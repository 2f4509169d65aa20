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

  package struct Stream: Sendable {
    var name: String
    var mode: String
    var isExclusive: Bool
    var replicas: Int
    var onLoss = "refill"
    var duplicateWindow = 120
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
    self.streams = streams
    length = chance.between(20, 120) * Nano.minute
    writePause = chance.pick([200, 1_000, 5_000]) * Nano.milli
    burst = chance.pick([1, 3, 30])
    faultPause = chance.pick([500, 1_000, 2_000, 5_000, 20_000]) * Nano.milli
    keepsWindow = chance.one(in: 2)
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
      if server >= ServerVersion(2, 12, 1) { text += "    allow_atomic: true\n" }
      if server >= ServerVersion(2, 14, 0) { text += "    allow_batched: true\n" }
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
