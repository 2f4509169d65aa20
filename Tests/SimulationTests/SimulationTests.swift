import DeliberateErrors
import Foundation
import Testing

/// The simulator as a program of its own: clocks, random numbers and tasks are its process's.
@Suite("The simulated world", .serialized) struct SimulationTests {
  /// Histories that failed once, and what was wrong.
  static let regressions: [(seed: UInt64, why: String)] = []

  @Test("Fresh seeds, for as long as SIM_SECONDS says")
  func freshSeeds() throws {
    let seconds = ProcessInfo.processInfo.environment["SIM_SECONDS"].flatMap { Double($0) } ?? 90
    let result = try simulate("--minutes", "\(seconds / 60)")
    print(result.output)
    #expect(result.code == 0, "\(result.output)")
  }

  @Test("Histories that failed once", arguments: regressions.map(\.seed))
  func regression(_ seed: UInt64) throws {
    let result = try simulate("--seed", "\(seed)", "--brief")
    #expect(result.code == 0, "\(result.output)")
  }

  @Test("The same seed makes the same history")
  func isDeterministic() throws {
    let seed = "\(UInt32.random(in: 0..<1_000_000))"
    let digests = try (0..<2).map { _ in
      try simulate("--seed", seed).output.split(separator: "\n").last.map(String.init) ?? ""
    }
    #expect(digests[0].hasPrefix("digest "))
    #expect(digests[0] == digests[1], "seed \(seed)")
  }

  /// Within 5,000 histories each.
  @Test("Every deliberate error is found", arguments: DeliberateError.allCases)
  func deliberateError(_ error: DeliberateError) throws {
    let result = try simulate(
      "--error", error.rawValue, "--first", "\(Self.first[error] ?? 1)", "--seeds", "5000",
      "--brief")
    #expect(result.code == 1, "\(error.rawValue): \(result.output)")
  }

  /// Where to begin, so that an error is found soon.
  static let first: [DeliberateError: UInt64] = [:]

  private func simulate(_ arguments: String...) throws -> (code: Int32, output: String) {
    let process = Process()
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
