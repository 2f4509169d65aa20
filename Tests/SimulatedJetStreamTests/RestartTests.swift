import Foundation
import JSON
import NATS
import SimulatedJetStream
import TestServers
import Testing

/// What survives `kill -9`, by the server and by the model. (Removals may not: servers write them down late.)
@Suite struct RestartTests {
  /// 2.10.26 does not find messages by subject that it stored before.
  @Test(arguments: comparedServers.filter { $0 != "2.10.26" })
  func `a server that was killed knows what the model knows`(version: String) async throws {
    let number = try #require(ServerVersion(version))
    let store = try temporaryFolder()
    defer { try? FileManager.default.removeItem(at: store) }
    var pairs: [(Comparison, Generator)] = []
    try await withServer(version, store: store) { server in
      let connection = try await server.connect()
      for round in 0..<min(rounds(6), 40) {
        let real = try await RealServer(connection, "k\(round)")
        let model = SimulatedServer(number)
        let seed = firstSeed + UInt64(round)
        let comparison = Comparison(seed: seed, model: model, real: real)
        var generator = Generator(seed: seed, model: model, prefix: "k\(round)")
        generator.keepsEverything = true
        for _ in 0..<20 { try await comparison.run(generator.next()) }
        pairs.append((comparison, generator))
      }
      await connection.close()
    }
    try await withServer(version, store: store) { server in
      let connection = try await server.connect()
      for (round, (comparison, generator)) in pairs.enumerated() {
        comparison.real = try await RealServer(connection, "l\(round)")
        comparison.restart()
        var generator = generator
        for _ in 0..<20 { try await comparison.run(generator.next()) }
        try await comparison.finish()
      }
      await connection.close()
    }
  }
}
