import CSimulation
import DeliberateErrors

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// `simulate [--seed N | --first N] [--seeds N | --minutes N] [--error NAME] [--instances 1…3] [--bridges 1…2] [--cutover] [--buckets] [--made-again] [--dense] [--aimed NAME] [--lines N] [--brief] [--story] [--whole] [--twice] [--facts]`
///
/// Runs histories until one fails: exit code 1, with the shortest list of faults that was found and what happened.
/// In a long run a state that no history has reached is a failure as well.
///
/// `--aimed NAME`: histories in which that deliberate error, if it is on, has its chance (`Aim`).
///
/// `--story`: one run, with a line for whatever happens, and the verdict.
///
/// `simulate --scenarios [--first N] [--seeds N]`: what the histories of seeds are made of; none is run.
/// `simulate --find-errors [--first N] [--seeds N] [--error NAME]`: a seed that finds each deliberate error.
package struct Command {
  private var first: UInt64?
  private var count = 100
  private var minutes: Double?
  private var lines = 200
  /// A failure is reported in one line.
  private var isBrief = false
  /// A failure is reported with all its faults: the list is not shortened, which takes up to two minutes.
  private var keepsFaults = false
  /// Each history is run twice, and has to be the same.
  private var runsTwice = false
  private var findsErrors = false
  private var tellsScenarios = false
  private var error: DeliberateError?
  private var problem: String?

  /// After so many histories every state has to have been reached.
  private static let longRun = 300

  package init(_ arguments: some Sequence<String>) {
    var arguments = arguments.makeIterator()
    while let name = arguments.next() {
      if name == "--twice" {
        runsTwice = true
        continue
      }
      if name == "--whole" {
        keepsFaults = true
        continue
      }
      if name == "--scenarios" {
        tellsScenarios = true
        continue
      }
      if name == "--find-errors" {
        findsErrors = true
        continue
      }
      if name == "--brief" {
        isBrief = true
        continue
      }
      if name == "--story" {
        History.tellsStory = true
        isBrief = true
        continue
      }
      if name == "--cutover" {
        Scenario.choice.cutsOver = true
        continue
      }
      if name == "--buckets" {
        Scenario.choice.hasBucket = true
        continue
      }
      if name == "--made-again" {
        Scenario.choice.makesAgain = true
        continue
      }
      if name == "--dense" {
        Scenario.choice.isDense = true
        continue
      }
      if name == "--facts" {
        History.tellsAll = true
        continue
      }
      guard let value = arguments.next() else {
        problem = "\(name) needs a value"
        return
      }
      switch name {
      case "--seed":
        first = UInt64(value)
        count = 1
      case "--error":
        guard let error = DeliberateError(rawValue: value) else {
          problem = "there is no deliberate error \(value)"
          return
        }
        self.error = error
      case "--aimed":
        guard let error = DeliberateError(rawValue: value), let aim = Aim(error) else {
          problem = "no histories aim at \(value)"
          return
        }
        Scenario.choice = aim.choice
      case "--first": first = UInt64(value)
      case "--seeds": count = Int(value) ?? 0
      case "--instances": Scenario.choice.instances = Int(value)
      case "--bridges": Scenario.choice.bridges = Int(value)
      case "--minutes": minutes = Double(value)
      case "--lines": lines = Int(value) ?? 0
      default: problem = "unknown option \(name)"
      }
    }
  }

  package func run() -> Int32 {
    if let problem {
      print("simulate: \(problem)")
      return 64
    }
    simulation_print_lines()
    let began = simulation_system_clock()
    // Before the simulation takes the place of what is random.
    var random = SystemRandomNumberGenerator()
    if tellsScenarios {
      let first = first ?? 1
      for seed in first..<first + UInt64(count) { print(seed, Simulation(seed: seed).summary) }
      return 0
    }
    if findsErrors {
      return ErrorSearch(
        errors: error.map { [$0] } ?? DeliberateError.allCases, most: count, first: first ?? 1
      ).run()
    }
    let first = first ?? random.next() >> 32
    print("first seed \(first)")
    if let error { DeliberateError.switchOn(error) }
    var total = Totals()
    var seed = first
    while minutes.map({ Double(simulation_system_clock() - began) < $0 * 60e9 })
      ?? (total.histories < count)
    {
      let outcome = Simulation(seed: seed).run()
      if runsTwice {
        let again = Simulation(seed: seed).run()
        guard again.digest == outcome.digest else {
          print("seed \(seed) gives two histories: \(outcome.digest) and \(again.digest)")
          return 1
        }
      }
      total.add(outcome)
      if let failure = outcome.failure {
        report(seed, failure, outcome)
        return 1
      }
      seed += 1
    }
    let seconds = Double(simulation_system_clock() - began) / 1e9
    print("seeds \(first)…\(seed - 1)")
    total.show(seconds)
    guard total.histories >= Self.longRun, error == nil else { return 0 }
    for surprise in total.reached.surprises { print("FAILURE: \(surprise)") }
    return total.reached.surprises.isEmpty ? 0 : 1
  }

  private func report(_ seed: UInt64, _ failure: String, _ outcome: Simulation.Outcome) {
    print("seed \(seed) fails at \(Nano.text(outcome.failedAt)) s: \(failure)")
    if isBrief { return }
    let whole = Simulation(seed: seed)
    let again = whole.run()
    var shrinker = Shrinker(whole, outcome)
    if !keepsFaults { shrinker.shrink() }
    let shortest = Simulation(whole.scenario, shrinker.faults)
      .run(keepingLines: true, lines: lines)
    print("the shortest list of faults found (\(shrinker.faults.count) of \(whole.faults.count)):")
    for fault in shrinker.faults { print("  \(Nano.text(fault.time)) \(fault.fault.rawValue)") }
    print("what happens with them:")
    for line in shortest.lines { print("  \(line)") }
    print(
      "with them it fails at \(Nano.text(shortest.failedAt)) s: \(shortest.failure ?? "not at all")"
    )
    if again.digest != outcome.digest {
      print("the same seed gave another history: a fault of the simulator")
    }
    print("seed \(seed) fails at \(Nano.text(outcome.failedAt)) s: \(failure)")
  }
}

/// Of all histories.
private struct Totals {
  var histories = 0
  var length: Int64 = 0
  var messages = 0
  var checkpoints = 0
  var writes = 0
  var rollbacks = 0
  var elections = 0
  var faults: [Fault: Int] = [:]
  var health: [String: Int] = [:]
  var ends: [String: Int] = [:]
  var digest: UInt64 = 0
  var reached = ReachedStates()

  mutating func add(_ outcome: Simulation.Outcome) {
    histories += 1
    length += outcome.length
    messages += outcome.messages
    checkpoints += outcome.checkpoints
    writes += outcome.writes
    rollbacks += outcome.rollbacks
    elections += outcome.elections
    faults.merge(outcome.faults, uniquingKeysWith: +)
    health.merge(outcome.health, uniquingKeysWith: +)
    ends.merge(outcome.ends, uniquingKeysWith: +)
    reached.add(outcome.reached)
    digest = digest &* 31 &+ outcome.digest
  }

  func show(_ seconds: Double) {
    let all = faults.values.reduce(0, +)
    func rate(_ count: Int) -> Int { Int(Double(count) / max(seconds, 0.001)) }
    print(
      "\(histories) histories, \(length / Nano.minute) simulated minutes, \(all) faults, \(messages) messages in \(Int(seconds)) s: \(rate(all)) faults/s"
    )
    print("a history lasts \(length / Nano.minute / Int64(max(histories, 1))) simulated minutes")
    print(
      "writes \(writes), elections \(elections), entries rolled back \(rollbacks), checkpoints \(checkpoints)"
    )
    for fault in Fault.allCases where !fault.isAimed || faults[fault] != nil {
      print("  \(fault.rawValue): \(faults[fault] ?? 0)")
    }
    print("health: \(text(health))")
    for line in reached.lines + (Scenario.choice.cutsOver ? reached.cutoverLines : []) {
      print("  \(line.state): \(line.count)\(line.isMissing.map { " (\($0))" } ?? "")")
    }
    print("ends of processes: \(text(ends))")
    print("digest \(String(digest, radix: 16))")
  }

  private func text(_ counts: [String: Int]) -> String {
    counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
  }
}
