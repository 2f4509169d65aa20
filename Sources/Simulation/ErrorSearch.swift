import CSimulation
import DeliberateErrors

/// Finds, for each deliberate error, the first seed whose history fails with it.
struct ErrorSearch {
  let errors: [DeliberateError]
  let seeds: Range<UInt64>

  /// Prints a line for each, as soon as it is known: name, seed, reason.
  func run() -> Int32 {
    var left = errors
    for seed in seeds where !left.isEmpty {
      for error in left {
        DeliberateError.switchOn(error)
        let outcome = Simulation(seed: seed).run()
        DeliberateError.switchOn(nil)
        guard let failure = outcome.failure else { continue }
        left.removeAll { $0 == error }
        print(error.rawValue, seed, failure)
      }
    }
    for error in left { print(error.rawValue, "is not found") }
    return left.isEmpty ? 0 : 1
  }
}
