import Foundation
import JetStream
import NATS
import TestServers

/// A nats-server of that version with JetStream, for the duration of `body`.
func withJetStream(
  _ version: String, _ body: (JetStreamClient) async throws -> Void
) async throws {
  let folder = try temporaryFolder()
  let configuration = "jetstream { store_dir: \"\(folder.path)/js\" }"
  try await TestServer.with(version, configuration: configuration, folder: folder) { server in
    let connection = try await server.connect()
    let jetStream = JetStreamClient(connection)
    // A server listens a moment before JetStream answers.
    for _ in 0..<100 {
      if (try? await jetStream.request("INFO")) != nil { break }
      try await Task.sleep(for: .milliseconds(50))
    }
    do {
      try await body(jetStream)
    } catch {
      await connection.close()
      throw error
    }
    await connection.close()
  }
}
