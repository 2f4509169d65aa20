import Foundation
import JSON
import NATS
import SimulatedJetStream
import Synchronization
import TestRandom
import TestServers
import Testing

/// Servers that the model knows, of those that this machine has.
let comparedServers = ["2.15.1", "2.12.8", "2.10.26"].filter(ServerBinary.available.contains)

/// Sequences with each server: `SIM_MODEL_ROUNDS`, else as many as take a few seconds.
func rounds(_ usual: Int) -> Int {
  ProcessInfo.processInfo.environment["SIM_MODEL_ROUNDS"].flatMap { Int($0) } ?? usual
}

let firstSeed =
  ProcessInfo.processInfo.environment["SIM_MODEL_SEED"].flatMap { UInt64($0) } ?? 1

/// What many sequences came to.
struct Outcome: Sendable {
  var answers = 0
  var tally: [String: Int] = [:]
  var differences: [Difference] = []
  /// Found by sequences that took so long that their waits no longer mean what they should.
  var late: [Difference] = []
}

/// How sequences are made.
struct Course: Sendable {
  var steps = 40
  /// Seconds to wait, each followed by as many steps.
  var waits: [Double] = []
  var settings: JSONValue = .object([])
  /// Ends after so many differences.
  var stop = 1
  var workers = 4
  /// Three servers, and streams with three replicas.
  var isClustered = false
}

/// What the connections share.
private final class Board: Sendable {
  private let state = Mutex((next: 0, outcome: Outcome()))
  private let rounds: Int
  private let stop: Int

  init(rounds: Int, stop: Int) {
    self.rounds = rounds
    self.stop = stop
  }

  /// The next sequence; nil: enough.
  func next() -> Int? {
    state.withLock { state in
      guard state.next < rounds, state.outcome.differences.count < stop else { return nil }
      defer { state.next += 1 }
      return state.next
    }
  }

  func note(_ answers: Int, _ tally: [String: Int], _ difference: Difference?, isLate: Bool) {
    state.withLock { state in
      state.outcome.answers += answers
      state.outcome.tally.merge(tally) { $0 + $1 }
      if let difference {
        if isLate {
          state.outcome.late.append(difference)
        } else {
          state.outcome.differences.append(difference)
        }
      }
    }
  }

  var outcome: Outcome { state.withLock { $0.outcome } }
}

/// Runs sequences on several connections at once.
func compare(
  _ version: String, rounds: Int, _ course: Course = Course(), rules: ServerRules? = nil
) async throws -> Outcome {
  let board = Board(rounds: rounds, stop: course.stop)
  let number = try #require(ServerVersion(version))
  func body(_ server: TestServer) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for worker in 0..<course.workers {
        group.addTask { try await work(server, worker, board, course, number, rules) }
      }
      try await group.waitForAll()
    }
  }
  if course.isClustered {
    try await withCluster(version, body)
  } else {
    try await withServer(version, body)
  }
  return board.outcome
}

private func work(
  _ server: TestServer, _ worker: Int, _ board: Board, _ course: Course, _ version: ServerVersion,
  _ rules: ServerRules?
) async throws {
  let connection = try await server.connect()
  while let round = board.next() {
    let real = try await RealServer(connection, "w\(worker).\(round)")
    let model = SimulatedServer(version, isClustered: course.isClustered, rules: rules)
    let comparison = Comparison(seed: firstSeed + UInt64(round), model: model, real: real)
    var found: Difference?
    let start = ContinuousClock.now
    do {
      try await run(comparison, course, prefix: "s\(round)")
    } catch let difference as Difference {
      found = difference
      _ = try? await connection.request("$JS.API.STREAM.DELETE.s\(round)A")
    }
    let busy = ContinuousClock.now - start - .seconds(comparison.waited)
    board.note(
      comparison.answers, comparison.tally, found,
      isLate: !course.waits.isEmpty && busy > .milliseconds(800))
  }
  await connection.close()
}

private func run(_ comparison: Comparison, _ course: Course, prefix: String) async throws {
  var generator = Generator(seed: comparison.seed, model: comparison.model, prefix: prefix)
  generator.settings = course.settings
  for _ in 0..<course.steps { try await comparison.run(generator.next()) }
  for wait in course.waits {
    try await comparison.run(.wait(seconds: wait))
    for _ in 0..<course.steps { try await comparison.run(generator.next()) }
  }
  try await comparison.finish()
}

private func report(_ version: String, _ outcome: Outcome) {
  let tally = outcome.tally.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
  print("\(version): \(outcome.answers) answers: \(tally.joined(separator: ", "))")
  if !outcome.late.isEmpty {
    print("\(version): \(outcome.late.count) sequences took too long to tell")
  }
  for difference in outcome.differences { Issue.record("\(version): \(difference)") }
}

@Suite struct DifferentialTests {
  @Test(arguments: comparedServers)
  func `random sequences are answered alike by server and model`(version: String) async throws {
    report(version, try await compare(version, rounds: rounds(version == "2.15.1" ? 40 : 20)))
  }

  /// The waits are a second from the window's end on both sides: a busy machine takes its time.
  private static let timed = Course(
    steps: 10, waits: [1, 3], settings: ["duplicate_window": 2_000_000_000, "no_ack": false],
    workers: 6)

  @Test(arguments: comparedServers)
  func `ids are known within the window and forgotten behind it`(version: String) async throws {
    report(version, try await compare(version, rounds: 6, Self.timed))
  }

  @Test(arguments: comparedServers)
  func `messages are kept until they are too old`(version: String) async throws {
    var course = Self.timed
    course.settings = ["max_age": 2_000_000_000, "no_ack": false]
    report(version, try await compare(version, rounds: 6, course))
  }

  /// Three servers are slow to start: some sequences with the newest, the others for the record.
  @Test(arguments: comparedServers)
  func `streams with three replicas are answered alike by server and model`(version: String)
    async throws
  {
    guard version == "2.15.1" || rounds(0) > 0 else { return }
    let course = Course(steps: 30, settings: ["num_replicas": 3], isClustered: true)
    report("\(version) R3", try await compare(version, rounds: rounds(100) / 10, course))
  }

  // MARK: - Deliberate errors

  struct DeliberateError: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var rounds = 500
    var course = Course()
    var change: @Sendable (inout ServerRules) -> Void
  }

  private static let errors: [DeliberateError] = [
    .init(testDescription: "ids before sequences") { $0.comparesSequencesBeforeIDs.toggle() },
    .init(testDescription: "the asserted subject is ignored") { $0.knowsSequenceSubject = false },
    .init(testDescription: "a message that fills the stream to the byte is refused") {
      $0.refusesExactFit.toggle()
    },
    .init(testDescription: "a message's size is looked at last") { $0.checksSizeFirst = false },
    .init(testDescription: "an atomic batch can't end with a message that is not stored") {
      $0.knowsEndOfBatch = false
    },
    .init(testDescription: "ids are forgotten at once") { $0.duplicateWindowPercent = 0 },
    .init(testDescription: "ids are forgotten too early", rounds: 30, course: timed) {
      $0.duplicateWindowPercent = 40
    },
    .init(testDescription: "ids are forgotten too late", rounds: 30, course: timed) {
      $0.duplicateWindowPercent = 300
    },
  ]

  /// The comparison finds a model that is wrong in one point.
  @Test(arguments: errors)
  func `a wrong rule is found`(error: DeliberateError) async throws {
    var rules = ServerRules(try #require(ServerVersion("2.15.1")))
    error.change(&rules)
    let outcome = try await compare("2.15.1", rounds: error.rounds, error.course, rules: rules)
    #expect(!(outcome.differences + outcome.late).isEmpty, "\(error.testDescription): not found")
  }
}
