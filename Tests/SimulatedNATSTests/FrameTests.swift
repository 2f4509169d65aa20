import Foundation
import SimulatedNATS
import TestRandom
import TestServers
import Testing

/// Servers that the model knows, of those that this machine has.
let comparedServers = ["2.15.1", "2.12.8", "2.10.26"].filter(ServerBinary.available.contains)

/// Conversations with each server: `SIM_MODEL_ROUNDS`, else as many as take a few seconds.
private func rounds(_ usual: Int) -> Int {
  ProcessInfo.processInfo.environment["SIM_MODEL_ROUNDS"].flatMap { Int($0) } ?? usual
}

private let firstSeed =
  ProcessInfo.processInfo.environment["SIM_MODEL_SEED"].flatMap { UInt64($0) } ?? 1

@Suite(.timeLimit(.minutes(60))) struct FrameTests {
  @Test(arguments: comparedServers)
  func `conversations are answered alike by server and model`(version: String) async throws {
    let rounds = rounds(12)
    try await withServer(version) { server in
      let port = server.port
      let results = try await withThrowingTaskGroup(
        of: [(Int, [String: Int])].self, returning: [(Int, [String: Int])].self
      ) { group in
        for worker in 0..<4 {
          group.addTask {
            var done: [(Int, [String: Int])] = []
            for round in stride(from: worker, to: rounds, by: 4) {
              done.append(try await Self.converse(version, port, round))
            }
            return done
          }
        }
        return try await group.reduce(into: []) { $0 += $1 }
      }
      var tally: [String: Int] = [:]
      for result in results { tally.merge(result.1) { $0 + $1 } }
      let kinds = tally.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
      print(
        "\(version): \(results.reduce(0) { $0 + $1.0 }) frames: \(kinds.joined(separator: ", "))")
    }
  }

  private static func converse(_ version: String, _ port: Int, _ round: Int) async throws -> (
    Int, [String: Int]
  ) {
    let seed = firstSeed + UInt64(round)
    let comparison = try await FrameComparison(version, port: port, clients: 2)
    var generator = WireGenerator(seed: seed, prefix: "w\(round)")
    do {
      for step in generator.beginning() { try await comparison.run(step) }
      for _ in 0..<60 { try await comparison.run(generator.next()) }
      for step in generator.end() { try await comparison.run(step) }
    } catch {
      await comparison.close()
      throw TestFailure("\(version), seed \(seed): \(error)")
    }
    await comparison.close()
    return (comparison.compared, comparison.tally)
  }

  private static let greeting = "CONNECT \(SimulatedClients.options)\r\nPING\r\n"

  /// What clients do wrong.
  @Test(arguments: comparedServers)
  func `mistakes are answered alike by server and model`(version: String) async throws {
    try await withServer(version) { server in
      for text in [
        "FOO\r\n", "PUB a 2000000\r\n", "PUB a 3\r\nabcd\r\nPING\r\n", "PUB a b c d\r\nPING\r\n",
        "HPUB a 30 20\r\nPING\r\n", "HPUB a 5 5\r\nhello\r\nPING\r\n", "SUB a..b 1\r\nPING\r\n",
        "SUB a b c d\r\nPING\r\n", "UNSUB 7\r\nPING\r\n", "PUB a. 1\r\nx\r\nPING\r\n",
        "SUB x. 1\r\nPING\r\n", "ping\r\npub a 1\r\nx\r\nPING\r\n", "PUB  a\t 1 \r\nx\r\nPING\n",
        "SUB a 1\r\nSUB b 1\r\nPUB b 1\r\nx\r\nPUB a 1\r\ny\r\nPING\r\n", "PUB a 0\n\nPING\r\n",
        "SUB a 1\r\nHPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\nPING\r\n", "PUB a\r\nPING\r\n",
        "SUB a* 1\r\nPUB a* 1\r\nx\r\nPUB ab 1\r\nx\r\nPING\r\n", "UNSUB\r\n", "SUB a\r\n",
      ] {
        try await Self.compare(version, server.port, [Self.greeting, text])
      }
      for options in [
        #"{"verbose":true,"headers":true,"no_responders":true,"protocol":1,"pedantic":false}"#,
        #"{"verbose":false,"headers":true,"echo":false,"protocol":1,"pedantic":false}"#,
        #"{"verbose":false,"headers":false,"no_responders":true,"protocol":1,"pedantic":false}"#,
        #"{"verbose":false,"headers":false,"protocol":0,"pedantic":false}"#,
        #"{"verbose":false,"headers":true,"no_responders":false,"protocol":1,"pedantic":false}"#,
      ] {
        let text =
          "SUB a.* q 1\r\nSUB in.1 2\r\nPUB a.b in.1 1\r\nx\r\nPUB c in.1 0\r\n\r\nUNSUB 1 1\r\nPING\r\n"
        try await Self.compare(version, server.port, ["CONNECT \(options)\r\nPING\r\n", text])
      }
    }
  }

  private static func compare(_ version: String, _ port: Int, _ texts: [String]) async throws {
    let comparison = try await FrameComparison(version, port: port, clients: 1)
    do {
      for text in texts { try await comparison.run(WireStep(text: text, wait: 0.03)) }
      try await comparison.compareEnd(of: 0)
    } catch {
      Issue.record("\(version): \(error)")
    }
    await comparison.close()
  }
}
