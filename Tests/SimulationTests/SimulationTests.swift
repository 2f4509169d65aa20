import DeliberateErrors
import Foundation
import Testing

/// The simulator as a program of its own: clocks, random numbers and tasks are its process's.
@Suite("The simulated world", .serialized) struct SimulationTests {
  /// Seeds that once failed, and whatever else is to be kept: all that is judged holds.
  @Test(arguments: [324, 579, 2_428_931_907])
  func `a history holds`(seed: Int) throws {
    let result = try simulate("--seed", "\(seed)", "--brief", "--instances", "1", "--bridges", "1")
    #expect(result.code == 0, "\(result.output)")
  }

  /// The same seed makes the same history in every process, whatever its environment.
  @Test func `the same history in two processes`() throws {
    let arguments = ["--seed", "381", "--brief", "--instances", "2", "--bridges", "1"]
    let results = [
      try simulate(arguments), try simulate(arguments, environment: [:]),
      try simulate(arguments, environment: ["PADDING": String(repeating: "x", count: 4_097)]),
    ]
    for result in results { #expect(result.code == 0, "\(result.output)") }
    let digests = results.map { $0.output.split(separator: "\n").last.map(String.init) ?? "" }
    #expect(digests[0].hasPrefix("digest "))
    #expect(Set(digests).count == 1, "\(digests)")
  }

  /// Two bridges with a stream and dead letters in common.
  @Test(arguments: [11])
  func `a history of two bridges holds`(seed: Int) throws {
    let result = try simulate("--seed", "\(seed)", "--brief", "--instances", "1", "--bridges", "2")
    #expect(result.code == 0, "\(result.output)")
  }

  /// An instance is frozen while it judges its start, for longer than the oplog reaches back: another one leads by then,
  /// and the checkpoint is newer.
  @Test(arguments: [1_443_338_507, 1_181, 2_117_448_207, 73_011, 95_006])
  func `a history of three instances holds`(seed: Int) throws {
    let result = try simulate("--seed", "\(seed)", "--brief", "--instances", "3", "--bridges", "1")
    #expect(result.code == 0, "\(result.output)")
  }

  /// A group goes through all phases, and back from some. (93012, and 91007 below: what the last attempt to follow a group
  /// met was reported for ever, when nobody followed it any more.)
  @Test(arguments: [206, 6_041, 71_048, 93_012])
  func `a history with a cut-over holds`(seed: Int) throws {
    let result = try simulate("--cutover", "--seed", "\(seed)", "--brief", "--instances", "1")
    #expect(result.code == 0, "\(result.output)")
  }

  /// A group is given back, and handed over again before the pipeline has come as far.
  @Test(arguments: [76_006, 91_007])
  func `a history with a cut-over and three instances holds`(seed: Int) throws {
    let result = try simulate("--cutover", "--seed", "\(seed)", "--brief", "--instances", "3")
    #expect(result.code == 0, "\(result.output)")
  }

  /// Entries of buckets: 5010, what only ids tell is in doubt when those are forgotten; 21001, what a key's history has
  /// removed does not come back behind a newer value.
  @Test(arguments: [5_010, 21_001])
  func `a history with a bucket holds`(seed: Int) throws {
    let result = try simulate(
      "--buckets", "--seed", "\(seed)", "--brief", "--instances", "1", "--bridges", "1")
    #expect(result.code == 0, "\(result.output)")
  }

  /// A bridge that makes the mistake is found out, and says by what.
  @Test(arguments: DeliberateErrorSeed.all)
  func `a deliberate error is found`(_ one: DeliberateErrorSeed) throws {
    let result = try simulate(["--error", one.error] + one.history.arguments)
    #expect(result.code == 1, "\(result.output)")
    #expect(result.output.contains(one.words), "\(result.output)")
  }

  /// It is the error that is found, and nothing else in that history.
  @Test(arguments: DeliberateErrorSeed.histories)
  func `without the error the history holds`(_ history: DeliberateErrorSeed.History) throws {
    let result = try simulate(history.arguments)
    #expect(result.code == 0, "\(result.output)")
  }

  @Test func `each deliberate error has a seed`() {
    #expect(
      Set(DeliberateErrorSeed.all.map(\.error))
        == Set(DeliberateError.allCases.map(\.rawValue)).subtracting(DeliberateErrorSeed.open))
  }

  private func simulate(_ arguments: String...) throws -> (code: Int32, output: String) {
    try simulate(arguments)
  }

  private func simulate(
    _ arguments: [String], environment: [String: String]? = nil
  ) throws -> (code: Int32, output: String) {
    let process = Process()
    if let environment { process.environment = environment }
    process.executableURL = URL(fileURLWithPath: CommandLine.arguments[0])
      .deletingLastPathComponent().appendingPathComponent("simulate")
    process.arguments = arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: output, as: UTF8.self))
  }
}
