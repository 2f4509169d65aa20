import CSimulation
import DeliberateErrors

/// Finds, for each deliberate error, a seed whose history fails with it and holds without it: cheap histories first,
/// so that a test of all of them takes seconds. Histories are of one bridge and, unless the error is about leadership,
/// of one instance.
struct ErrorSearch {
  let errors: [DeliberateError]
  /// Of all that are looked at, how many are run.
  let most: Int
  let first: UInt64

  private static let considered: UInt64 = 2_000
  /// Fewer faults find little.
  private static let fewestFaults = 80

  /// About who leads.
  private static let ofInstances: Set<DeliberateError> = [
    .firstOfBatchAsserts, .lapsedLeaseIgnored,
  ]
  private static let instances = 3
  /// About groups that are cut over.
  private static let ofCutover: Set<DeliberateError> = [
    .fenceFromLocalOptime, .verificationLeftOut, .phaseBeforeDrain, .rollbackWithoutOverlap,
  ]

  /// Prints a line for each, as soon as it is known: name, seed, instances, reason.
  func run() -> Int32 {
    let others = Self.ofInstances.union(Self.ofCutover)
    let left =
      find(errors.filter { !others.contains($0) }, instances: 1)
      + find(errors.filter(Self.ofInstances.contains), instances: Self.instances)
      + find(errors.filter(Self.ofCutover.contains), instances: 1, cutsOver: true)
    for error in left { print(error.rawValue, "is not found") }
    return left.isEmpty ? 0 : 1
  }

  /// - Returns: those that were not found.
  private func find(
    _ errors: [DeliberateError], instances: Int, cutsOver: Bool = false
  ) -> [DeliberateError] {
    Scenario.choice = Scenario.Choice(instances: instances, bridges: 1, cutsOver: cutsOver)
    var left = errors
    guard !left.isEmpty else { return [] }
    for seed in seeds.prefix(most) where !left.isEmpty {
      var holds: Bool?
      for error in left {
        DeliberateError.switchOn(error)
        let outcome = Simulation(seed: seed).run()
        DeliberateError.switchOn(nil)
        guard let failure = outcome.failure else { continue }
        if holds == nil {
          let wrong = Simulation(seed: seed).run().failure
          holds = wrong == nil
          if let wrong { print("seed \(seed) fails without an error: \(wrong)") }
        }
        guard holds == true else { break }
        left.removeAll { $0 == error }
        print(error.rawValue, seed, instances, failure)
      }
    }
    return left
  }

  private var seeds: [UInt64] {
    let all = (first..<first + Self.considered).map { seed in
      let simulation = Simulation(seed: seed)
      let faults = simulation.faults.count
      let cost = Int(simulation.scenario.length / Nano.minute) + faults / 30
      return (seed: seed, faults: faults, cost: cost)
    }
    let fewest = Scenario.choice.cutsOver ? 0 : Self.fewestFaults
    return all.filter { $0.faults >= fewest }
      .sorted { ($0.cost, $0.seed) < ($1.cost, $1.seed) }.map(\.seed)
  }
}
