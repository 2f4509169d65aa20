import Bridge
import Oplog
import SimulatedJetStream
import SimulatedMongo

/// The end of some histories: the replica set is restored from a backup, so that other entries of another term stand
/// where the bridge has read, at the same positions. It must notice, and end with exit code 75; what it publishes after
/// that would be of another history.
struct RestoredSet {
  let world: World
  let workload: Workload

  private static let within = Nano.minute
  static let exitCode = "exit code 75"

  /// - Parameter bridges: the checkpoint and the instances of each.
  func run(_ bridges: [(checkpoint: OplogPosition?, instances: [Instance])]) {
    let positions = bridges.compactMap(\.checkpoint)
    guard positions.count == bridges.count, let position = positions.min(),
      world.mongo.restore(before: position)
    else { return }
    world.history.note(world.now, "the replica set is restored to before \(position)")
    let ends = {
      bridges.map { $0.instances.reduce(0) { $0 + ($1.ends[Self.exitCode] ?? 0) } }
    }
    let (endsBefore, sequences) = (ends(), lastSequences)
    /// Each bridge has noticed.
    let haveEnded = { zip(ends(), endsBefore).allSatisfy { $0 > $1 } }
    world.onStored = {}
    workload.resume()
    world.mongoChanged()
    let deadline = world.now + Self.within
    while world.failure == nil, world.now < deadline, !haveEnded() {
      world.run(until: world.now + Nano.second)
      for (name, stream) in world.jetStream.streams {
        guard let last = sequences[name], stream.lastSequence > last else { continue }
        // A fence is moved before the streams and the oplog are looked at.
        var next = stream.store.next(from: last + 1, on: ">")
        while let message = next {
          if !FenceSubject.contains(message.subject) {
            world.fail("\(name) got a message, and the replica set is another one")
          }
          next = stream.store.next(from: message.sequence + 1, on: ">")
        }
      }
    }
    if world.failure == nil, !haveEnded() {
      world.fail("the bridge does not notice that the oplog has other entries where it has read")
    }
  }

  private var lastSequences: [String: UInt64] {
    var all: [String: UInt64] = [:]
    for (name, stream) in world.jetStream.streams where !name.hasPrefix("KV_") {
      all[name] = stream.lastSequence
    }
    return all
  }
}
