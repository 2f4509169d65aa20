import CSimulation

/// Finds a short list of faults with which a history still fails.
struct Shrinker {
  private let scenario: Scenario
  private(set) var faults: [PlannedFault]
  private(set) var outcome: Simulation.Outcome
  private var runs = 0
  private let deadline: Int64

  private static let mostRuns = 400

  /// - Parameter seconds: for how long to try, by the system's clock.
  init(_ simulation: Simulation, _ outcome: Simulation.Outcome, seconds: Int64 = 120) {
    scenario = simulation.scenario
    self.outcome = outcome
    // What was to come behind the failure plays no part.
    faults = simulation.faults.filter { $0.time <= outcome.failedAt }
    deadline = simulation_system_clock() + seconds * Nano.second
  }

  mutating func shrink() {
    var part = max(1, faults.count / 2)
    while true {
      var at = 0
      var hasShrunk = false
      while at < faults.count {
        guard runs < Self.mostRuns, simulation_system_clock() < deadline else { return }
        var fewer = faults
        fewer.removeSubrange(at..<min(at + part, fewer.count))
        if fails(fewer) { hasShrunk = true } else { at += part }
      }
      if part == 1, !hasShrunk { return }
      part = max(1, part / 2)
    }
  }

  private mutating func fails(_ fewer: [PlannedFault]) -> Bool {
    runs += 1
    let result = Simulation(scenario, fewer).run()
    guard result.failure != nil else { return false }
    faults = fewer.filter { $0.time <= result.failedAt }
    outcome = result
    return true
  }
}
