import NIOCore
import SimulatedMongo

/// Faults of histories with an aim: what would have to coincide by chance is made to coincide.
extension FaultInjector {
  func injectAimed(_ fault: Fault, _ chance: inout Chance) -> Bool {
    switch fault {
    case .slowReplicas: slowReplicas(&chance)
    case .stragglers: holdStragglers(&chance)
    case .halfOpen: closeUnheard(&chance)
    default: leaveFormerPrimary(&chance)
    }
  }

  private func slowReplicas(_ chance: inout Chance) -> Bool {
    let names = world.scenario.streams.filter { $0.replicas > 1 }.map(\.name)
    guard !names.isEmpty else { return false }
    let network = world.network!
    let name = chance.pick(names)
    network.slowDown(name, 1)
    mend(after: chance.skewed(50 * Nano.milli, 8 * Nano.second)) { network.slowDown(name, -1) }
    return true
  }

  /// What the leader sends is held up, on some of its connections or on all, from now on or behind a part of a burst. It is
  /// killed, or stopped, or left alone until its lease is over; and all of it arrives once another one leads.
  private func holdStragglers(_ chance: inout Chance) -> Bool {
    let network = world.network!
    guard world.now >= stragglersUntil, let leader = leader(&chance),
      let process = leader.life?.process
    else { return false }
    stragglersUntil = world.now + 20 * Nano.second
    let end = chance.below(3)
    let own = network.openLinks.filter { $0.process === process }
    let links = own.filter { _ in end == 2 || !chance.one(in: 3) }
    let rest = chance.between(500 * Nano.milli, 2 * Nano.second)
    let length = chance.between(4 * Nano.second, 12 * Nano.second)
    let slowness =
      chance.one(in: 2) ? chance.between(200 * Nano.milli, 1_500 * Nano.milli) : 0
    let delay = chance.between(
      0, slowness > 0 ? 12 * slowness : chance.pick([200 * Nano.milli, 8 * Nano.second]))
    // When the next leader has looked at the stream so often.
    let read = chance.one(in: 2) ? 1 + chance.below(3) : nil
    let part = chance.pick([1_000, 8_000])
    let hold = { [self] in
      for link in links { link.toServer.holds += 1 }
      let release = mend(after: 20 * Nano.second) { [self] in
        for link in links { link.toServer.holds -= 1 }
        network.flow { link in links.contains { $0 === link } }
        stragglersUntil = world.now + 2 * Nano.second
      }
      world.schedule(in: rest) { [self] in
        guard leader.life?.process === process else { return }
        if end == 0 {
          leader.kill()
          world.schedule(in: 3 * Nano.second) { leader.start() }
        } else if end == 1 {
          _ = pause(leader, length)
        }
      }
      world.atLeadership.append { [self] _ in
        network.extraDelay += slowness
        mend(after: 15 * Nano.second) { network.extraDelay -= slowness }
        guard let read else {
          world.schedule(in: delay, release)
          return true
        }
        var left = read
        network.atTaken.append { [world] link, bytes in
          guard link.process !== process, String(buffer: bytes).contains("MSG.GET.USERS") else {
            return false
          }
          left -= 1
          if left == 0 { world.schedule(in: 0, release) }
          return left == 0
        }
        return true
      }
    }
    guard chance.one(in: 2) else {
      hold()
      return true
    }
    let deadline = world.now + 20 * Nano.second
    network.atTaken.append { [world] link, bytes in
      guard world.now < deadline else { return true }
      guard bytes.readableBytes > part, links.contains(where: { $0 === link }) else { return false }
      hold()
      return true
    }
    return true
  }

  private func closeUnheard(_ chance: inout Chance) -> Bool {
    let network = world.network!
    guard let process = leader(&chance)?.life?.process else { return false }
    let links = network.openLinks.filter { $0.process === process }
    guard !links.isEmpty else { return false }
    network.closeUnheard(chance.pick(links))
    return true
  }

  /// Another member is elected, and clients can reach that one no more as soon as a group begins to be committed.
  private func leaveFormerPrimary(_ chance: inout Chance) -> Bool {
    let set = world.mongo
    guard let former = set.primary else { return false }
    set.setLinks(of: former, areUp: false)
    mend(after: 12 * Nano.second) { [world, workload] in
      world.onCommitting = {}
      set.setLinks(of: former, areUp: true)
      workload.replicateAll()
    }
    world.onCommitting = { [self] in
      guard let next = set.primary, next != former, set.members[next].isReachable else { return }
      world.onCommitting = {}
      set.setReachable(next, false)
      mend(after: 5 * Nano.second) { set.setReachable(next, true) }
      world.mongoChanged()
    }
    world.mongoChanged()
    return true
  }
}
