import Bridge

/// Whether a bridge counts every outcome once, and keeps within its bounds.
enum AccountsJudge {
  /// For how many seconds an ack is waited for: the bridge's limit is three.
  static let longestWait = 8.0
  /// Most messages without an ack, by protocol: the window, or what of a fast batch the server has not confirmed.
  static let mostInFlight = ["chain": 4096, "atomic": 4096, "fast": 20_000, "single": 1]
  static let mostCollected = 1_000
  /// Batches that the reader has ready, and one that waits.
  static let mostBatches = 5
  /// Tasks and callbacks that wait in one process.
  static let mostWaiting = 20_000
  /// Connections of one process, for messages and for its lease: new ones may be made while old ones end.
  static let mostConnections = 8
  /// More, where a group is followed: its attempts have their own.
  static let mostOfFollower = 4

  /// What is wrong at any moment, or nil.
  static func look(at instance: Instance, _ world: World) -> String? {
    guard let life = instance.life, let accounts = instance.accounts else { return nil }
    let outcomes = accounts.outcomes.total
    if outcomes > accounts.derived {
      return "\(outcomes) outcomes are counted of \(accounts.derived) events"
    }
    for lane in accounts.lanes {
      // Ids that others may have published are looked up together.
      let collected = lane.stream == CutoverScenario.stream ? mostCollected : 0
      guard lane.inFlight > max(mostInFlight[lane.mode] ?? 0, collected) else { continue }
      return "stream \(lane.stream) (\(lane.mode)) has \(lane.inFlight) messages without an ack"
    }
    let isAwake = world.now - life.resumedAt > 10 * Nano.second
    if isAwake, let late = accounts.lanes.first(where: { $0.waitingFor ?? 0 > longestWait }) {
      return
        "stream \(late.stream) (\(late.mode)) has waited \(Int(late.waitingFor ?? 0)) s for an ack"
    }
    if let end = instance.wrongEnd { return "the process ended with \(end)" }
    if accounts.queuedBatches > mostBatches {
      return "the reader keeps \(accounts.queuedBatches) batches"
    }
    let waiting = life.process.waiting
    if waiting > mostWaiting { return "\(waiting) tasks and callbacks wait in \(instance.name)" }
    let connections = world.network.openLinks.count { $0.process === life.process }
    let mostOfFollower = world.scenario.cutover == nil ? 0 : mostOfFollower
    if connections > mostConnections + mostOfFollower {
      return "\(instance.name) has \(connections) connections"
    }
    return nil
  }

  /// What is still wrong when everything is stored, or nil.
  ///
  /// - Parameter events: what was committed; nil: others derived a part of it.
  static func lookAtEnd(of instance: Instance, events: UInt64?) -> String? {
    guard let accounts = instance.accounts else {
      return instance.epoch == nil ? nil : "nothing is counted"
    }
    // What was on its way when a tenure ended is derived, and another tenure's to count.
    guard instance.hasOneTenure else { return nil }
    let outcomes = accounts.outcomes
    if outcomes.total != accounts.derived {
      return
        "\(accounts.derived) events were derived, and the outcomes are \(text(outcomes))"
    }
    guard let events, instance.lives == 1, accounts.derived != events else { return nil }
    return "\(events) events were committed, and \(accounts.derived) derived"
  }

  private static func text(_ outcomes: Outcomes) -> String {
    outcomes.named.filter { $0.count > 0 }.map { "\($0.name) \($0.count)" }.joined(separator: ", ")
  }
}
