/// One instance's way to its servers, and what is broken on it. It belongs to the machine: a process that is started
/// again finds it as it is.
///
/// Sendable invariant: the simulator has one thread.
final class Uplink: @unchecked Sendable {
  /// Of packets between an instance and a NATS server.
  enum Direction: CaseIterable {
    case toServer, toClient
  }

  /// How many faults hold packets back, by NATS server.
  private var toServer: [Int]
  private var toClient: [Int]
  private var mongoCuts = 0

  init(nodes: Int) {
    toServer = [Int](repeating: 0, count: nodes)
    toClient = toServer
  }

  /// Packets to or from a NATS server don't arrive at present: they come when the way is open again, as TCP sends
  /// them again.
  func holds(_ direction: Direction, _ node: Int) -> Bool {
    switch direction {
    case .toServer: toServer[node] > 0
    case .toClient: toClient[node] > 0
    }
  }

  /// - Parameter faults: 1: one more fault; -1: one is mended.
  func hold(_ direction: Direction, _ node: Int, _ faults: Int) {
    switch direction {
    case .toServer: toServer[node] += faults
    case .toClient: toClient[node] += faults
    }
  }

  /// No connection comes about without packets in both directions.
  func canConnect(to node: Int) -> Bool { toServer[node] == 0 && toClient[node] == 0 }

  /// No member of the replica set can be reached.
  var isCutFromMongo: Bool { mongoCuts > 0 }

  func cutFromMongo(_ faults: Int) { mongoCuts += faults }
}
