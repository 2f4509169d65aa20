import Foundation
import NATS
import NIOCore
import TestServers
import Testing

@Suite(
  "An official client at the other end", .timeLimit(.minutes(5)),
  .enabled(if: ServerBinary.python != nil, "no Python environment with nats-py"))
struct PeerTests {
  @Test("headers and payloads in both directions", arguments: ServerBinary.available)
  func peer(version: String) async throws {
    try await TestServer.with(version) { server in
      let peer = try Peer(url: "nats://\(server.address)")
      defer { peer.stop() }
      try peer.waitUntilReady()
      let connection = try await server.connect()

      let payload = [0, 13, 10] + (0..<5000).map { UInt8(truncatingIfNeeded: $0) }
      let echoed = try await connection.request(
        "peer.echo", headers: ["Nats-Msg-Id": "a:1.2.3", "empty": "", "spaced": "x  y"],
        payload: payload, timeout: .seconds(20))
      #expect(Array(echoed.payload.readableBytesView) == payload.reversed())
      #expect(echoed.headers?["Nats-Msg-Id"] == "a:1.2.3")
      #expect(echoed.headers?["spaced"] == "x  y")
      #expect(echoed.headers?["peer"] == "python")

      let out = try await connection.subscribe("peer.out")
      let done = try await connection.request(
        "peer.send", payload: Array("1000".utf8), timeout: .seconds(20))
      #expect(String(buffer: done.payload) == "done")
      try await within {
        for n in 0..<1000 {
          let message = try #require(try await out.next())
          #expect(String(buffer: message.payload) == "m\(n)")
          #expect(message.headers?["n"] == "\(n)")
          #expect(message.headers?["to"] == "swift")
        }
      }

      let service = try await connection.subscribe("swift.service")
      let responder = Task {
        let request = try #require(try await service.next())
        let asked = request.headers?["asked-by"] ?? ""
        try await connection.publish(
          try #require(request.reply), headers: ["answered-by": "swift", "asked-by": asked],
          payload: "to \(String(buffer: request.payload))")
      }
      let answer = try await connection.request(
        "peer.ask", payload: Array("swift.service".utf8), timeout: .seconds(20))
      try await responder.value
      #expect(String(buffer: answer.payload) == "to from python")
      #expect(answer.headers?["answered-by"] == "swift")
      #expect(answer.headers?["asked-by"] == "python")
      await connection.close()
    }
  }
}

/// peer.py as a process; it ends with its standard input.
private struct Peer {
  private let process = Process()
  private let input = Pipe()
  private let output = Pipe()

  init(url: String) throws {
    let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("peer.py")
    process.executableURL = URL(fileURLWithPath: try #require(ServerBinary.python))
    process.arguments = [script.path, url]
    process.standardInput = input
    process.standardOutput = output
    try process.run()
  }

  func waitUntilReady() throws {
    // Empty if the process has died.
    let line = output.fileHandleForReading.availableData
    guard String(decoding: line, as: UTF8.self).hasPrefix("ready") else {
      throw TestFailure("peer.py did not become ready")
    }
  }

  func stop() {
    try? input.fileHandleForWriting.close()
    process.waitUntilExit()
  }
}
