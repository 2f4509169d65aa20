import SimulatedNATS

/// What happens to one instance: its process, its machine, and the machine's way to the servers.
extension FaultInjector {
  /// Of a bridge: who leads, by the highest epoch; where bridges don't say, who published last, if it still runs.
  func leader(_ chance: inout Chance) -> Instance? {
    let bridge = chance.below(world.scenario.bridges)
    let own = instances.filter { $0.bridge == bridge && $0.life != nil }
    let leading = own.filter { $0.epoch != nil }
    if let leader = leading.max(by: { $0.epoch ?? 0 < $1.epoch ?? 0 }) { return leader }
    guard let last = world.publishers[lastPublisher(bridge)] else { return nil }
    return own.first { $0.number == last.instance }
  }

  // MARK: - Its way to the servers

  func injectUplink(_ fault: Fault, _ chance: inout Chance) -> Bool {
    let network = world.network!
    let nodes = Array(network.isUp.indices)
    let both = Uplink.Direction.allCases
    switch fault {
    case .cutLeaderFromNATS:
      guard let leader = leader(&chance) else { return false }
      cut(leader, nodes, both, &chance)
    case .cutFromNATS: cut(chance.pick(instances), nodes, both, &chance)
    case .cutFromNode: cut(chance.pick(instances), [chance.pick(nodes)], both, &chance)
    case .oneWay: cut(chance.pick(instances), nodes, [chance.pick(both)], &chance)
    case .cutFromMongo:
      let uplink = chance.pick(instances).uplink
      uplink.cutFromMongo(1)
      mend(after: around(&chance)) { uplink.cutFromMongo(-1) }
    default:
      guard !network.openLinks.isEmpty else { return false }
      let link = chance.pick(network.openLinks)
      link.toServer.holds += 1
      mend(after: around(&chance)) {
        link.toServer.holds -= 1
        network.flow { $0 === link }
      }
    }
    return true
  }

  /// Existing connections are held up, or lost.
  private func cut(
    _ instance: Instance, _ nodes: [Int], _ directions: [Uplink.Direction], _ chance: inout Chance
  ) {
    let network = world.network!
    let uplink = instance.uplink
    if chance.one(in: 3) {
      for link in network.openLinks where link.uplink === uplink && nodes.contains(link.node) {
        network.blackHole(link, directions)
      }
    }
    func hold(_ faults: Int) {
      for node in nodes {
        for direction in directions { uplink.hold(direction, node, faults) }
      }
    }
    hold(1)
    mend(after: around(&chance)) {
      hold(-1)
      network.flow { $0.uplink === uplink }
    }
  }

  /// Less than a lease, about as long, or much longer.
  func around(_ chance: inout Chance) -> Int64 {
    switch chance.below(3) {
    case 0: chance.between(Scenario.lease * 8 / 10, Scenario.lease * 13 / 10)
    case 1: chance.skewed(50 * Nano.milli, 10 * Nano.second)
    default: chance.skewed(Nano.second, 40 * Nano.second)
    }
  }

  // MARK: - Its process

  func injectProcess(_ fault: Fault, _ chance: inout Chance) -> Bool {
    switch fault {
    case .killLeader, .stopLeader, .pauseLeader:
      guard let leader = leader(&chance) else { return false }
      return injectProcess(fault, leader, &chance)
    case .killAll:
      let running = instances.filter { $0.life != nil }
      for instance in running { kill(instance, &chance) }
      return !running.isEmpty
    default: return injectProcess(fault, chance.pick(instances), &chance)
    }
  }

  private func injectProcess(
    _ fault: Fault, _ instance: Instance, _ chance: inout Chance
  ) -> Bool {
    switch fault {
    case .kill, .killLeader:
      guard instance.life != nil else { return false }
      kill(instance, &chance)
    case .restart, .stopLeader:
      guard instance.life != nil else { return false }
      instance.stop()
    case .pause: return pause(instance, chance.skewed(10 * Nano.milli, 60 * Nano.second))
    case .pauseLeader: return pause(instance, around(&chance))
    case .pauseAroundLease:
      let lease = Scenario.lease
      return pause(instance, chance.between(lease * 8 / 10, lease * 13 / 10))
    case .longPause:
      return pause(instance, chance.skewed(20 * Nano.second, 4 * Nano.minute))
    case .suspend: return pause(instance, around(&chance), isSuspended: true)
    case .clockJump:
      let jump = chance.skewed(Nano.milli, 3600 * Nano.second) * (chance.one(in: 2) ? 1 : -1)
      instance.change { $0.jump(by: jump) }
    default:
      let drift = chance.between(-500, 500)
      let now = world.now
      instance.change { $0.setDrift(drift, at: now) }
    }
    return true
  }

  private func kill(_ instance: Instance, _ chance: inout Chance) {
    instance.kill()
    let pause = chance.one(in: 3) ? 0 : chance.skewed(10 * Nano.milli, 20 * Nano.second)
    world.schedule(in: pause) { instance.start() }
  }

  func pause(_ instance: Instance, _ duration: Int64, isSuspended: Bool = false) -> Bool {
    guard instance.life != nil, !instance.isPaused else { return false }
    instance.pause(for: duration, isSuspended: isSuspended)
    return true
  }
}
