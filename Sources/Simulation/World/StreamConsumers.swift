import SimulatedJetStream

/// Applications that take what work queues hold: what they acknowledge is gone.
final class StreamConsumers {
  private let world: World
  private var chance: Chance
  private static let name = "app"

  init(_ world: World) {
    self.world = world
    chance = Chance(world.scenario.seed, 7)
  }

  func start() {
    for stream in world.scenario.streams where stream.removal == .workQueue { consume(stream.name) }
  }

  private func consume(_ name: String) {
    world.schedule(in: chance.skewed(20 * Nano.milli, 10 * Nano.second)) { [self] in
      take(name, most: chance.one(in: 4) ? .max : 1 + chance.below(20))
      consume(name)
    }
  }

  /// The oldest ones first, or some of them: an application need not acknowledge in order.
  private func take(_ name: String, most: Int) {
    guard let stream = world.jetStream.streams[name] else { return }
    world.onStored()
    if !stream.interests.contains(where: { $0.consumer == Self.name }) {
      stream.interests.append(.init(consumer: Self.name))
    }
    let isInOrder = chance.one(in: 2)
    var taken = 0
    var sequence = stream.store.firstSequence
    while taken < most, let message = stream.store.next(from: sequence, on: ">") {
      sequence = message.sequence + 1
      taken += 1
      if isInOrder || !chance.one(in: 5) {
        stream.acknowledge(message.sequence, by: Self.name)
      }
    }
    world.history.note(world.now, 50, UInt64(taken))
    world.history.note(world.now, "\(taken) messages of \(name) are taken")
  }
}
