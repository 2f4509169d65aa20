import Foundation
import Testing

/// The simulator as a program of its own: clocks, random numbers and tasks are its process's.
@Suite("The simulated world", .serialized) struct SimulationTests {
  /// All that is judged holds, through 64 and 104 simulated minutes and 2,400 faults.
  @Test(arguments: [7, 200])
  func `a history holds`(seed: Int) throws {
    let result = try simulate("--seed", "\(seed)", "--brief", "--instances", "1", "--bridges", "1")
    #expect(result.code == 0, "\(result.output)")
  }

  /// Two bridges with a stream and dead letters in common.
  @Test(arguments: [502])
  func `a history of two bridges holds`(seed: Int) throws {
    let result = try simulate("--seed", "\(seed)", "--brief", "--instances", "1", "--bridges", "2")
    #expect(result.code == 0, "\(result.output)")
  }

  /// A bridge that takes refusals for acks is found out.
  @Test func `a deliberate error is found`() throws {
    let result = try simulate(
      "--error", "refusal_counted", "--first", "1", "--seeds", "50", "--brief", "--instances", "1",
      "--bridges", "1")
    #expect(result.code == 1, "\(result.output)")
    #expect(result.output.contains(" holds ") || result.output.contains("checkpoint claims"))
  }

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
