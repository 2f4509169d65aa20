import CSimulation
import DeliberateErrors

/// Finds, for each deliberate error, a seed whose history fails with it and holds without it: cheap histories first,
/// so that a test of all of them takes seconds. Histories are of one bridge, and of one instance or three, or those that
/// aim at the error (`Aim`).
struct ErrorSearch {
  let errors: [DeliberateError]
  /// Of all that are looked at, how many are run.
  let most: Int
  let first: UInt64

  private static let considered: UInt64 = 2_000
  /// Fewer faults find little.
  private static let fewestFaults = 80

  /// About who leads.
  private static let ofInstances: Set<DeliberateError> = [.lapsedLeaseIgnored]
  private static let instances = 3

  /// Prints a line for each, as soon as it is known: name, seed, how (the number of instances, or `aimed`), reason.
  func run() -> Int32 {
    let others = errors.filter { Aim($0) == nil }
    Scenario.choice = Scenario.Choice(instances: 1, bridges: 1)
    var left = find(others.filter { !Self.ofInstances.contains($0) }, "1")
    Scenario.choice = Scenario.Choice(instances: Self.instances, bridges: 1)
    left += find(others.filter(Self.ofInstances.contains), "\(Self.instances)")
    for error in errors {
      guard let aim = Aim(error) else { continue }
      Scenario.choice = aim.choice
      left += find([error], "aimed")
    }
    for error in left { print(error.rawValue, "is not found") }
    return left.isEmpty ? 0 : 1
  }

  /// - Returns: those that were not found.
  private func find(_ errors: [DeliberateError], _ how: String) -> [DeliberateError] {
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
        print(error.rawValue, seed, how, failure)
      }
    }
    return left
  }

  private var seeds: [UInt64] {
    // All alike.
    if Scenario.choice.aim != nil { return Array(first..<first + UInt64(most)) }
    let all = (first..<first + Self.considered).map { seed in
      let simulation = Simulation(seed: seed)
      let faults = simulation.faults.count
      let cost = Int(simulation.scenario.length / Nano.minute) + faults / 30
      return (seed: seed, faults: faults, cost: cost)
    }
    return all.filter { $0.faults >= Self.fewestFaults }
      .sorted { ($0.cost, $0.seed) < ($1.cost, $1.seed) }.map(\.seed)
  }
}
