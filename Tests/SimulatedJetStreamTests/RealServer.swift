import Foundation
import NATS
import NIOCore
import SimulatedJetStream
import Synchronization
import TestServers

/// Sends steps to a nats-server and hears its answers.
///
/// Sendable invariant: `state` is locked; the connection is used on its event loop only.
final class RealServer: NATSRawHandler, @unchecked Sendable {
  private struct State {
    var heard: [Heard] = []
    var wanted = 0
    var waiting: (CheckedContinuation<Void, Never>, Scheduled<Void>)?
  }

  let connection: NATSConnection
  private let inbox: String
  private let state = Mutex(State())

  init(_ connection: NATSConnection, _ name: String) async throws {
    self.connection = connection
    inbox = "_SIM.\(name)"
    let ready = connection.eventLoop.makePromise(of: Void.self)
    connection.eventLoop.execute {
      _ = connection.subscribeRaw("\(self.inbox).>", handler: self)
      ready.succeed(())
    }
    try await ready.futureResult.get()
  }

  func received(_ message: borrowing NATSMessageView) {
    let reply = String(decoding: message.subject.dropFirst(inbox.utf8.count + 1), as: UTF8.self)
    let heard = Heard(
      reply: reply, status: message.status, headers: Array(message.headers),
      payload: Array(message.payload))
    let waiting = state.withLock { state -> (CheckedContinuation<Void, Never>, Scheduled<Void>)? in
      state.heard.append(heard)
      guard state.heard.count >= state.wanted else { return nil }
      defer { state.waiting = nil }
      return state.waiting
    }
    waiting?.1.cancel()
    waiting?.0.resume()
  }

  /// Sends lines in one write.
  func send(_ lines: [Line], step: Int) {
    var bytes = ByteBuffer()
    for line in lines {
      let headers = line.headerBlock
      bytes.writeString(headers.isEmpty ? "PUB \(line.subject) " : "HPUB \(line.subject) ")
      if let reply = line.reply { bytes.writeString("\(inbox).\(step).\(reply) ") }
      if !headers.isEmpty { bytes.writeString("\(headers.count) ") }
      bytes.writeString("\(headers.count + line.payload.count)\r\n")
      bytes.writeBytes(headers)
      bytes.writeBytes(line.payload)
      bytes.writeString("\r\n")
    }
    connection.eventLoop.execute { [connection, bytes] in
      connection.writeRaw(bytes)
      connection.flushWrites()
    }
  }

  /// The next answers, in order: `count` of them, or those that come within `limit`.
  func hear(_ count: Int, limit: TimeAmount = .seconds(5)) async -> [Heard] {
    await withCheckedContinuation { continuation in
      let timer = connection.eventLoop.scheduleTask(in: limit) {
        let waiting = self.state.withLock { state in
          defer { state.waiting = nil }
          return state.waiting
        }
        waiting?.0.resume()
      }
      let isThere = state.withLock { state in
        state.wanted = count
        if state.heard.count >= count { return true }
        state.waiting = (continuation, timer)
        return false
      }
      if isThere {
        timer.cancel()
        continuation.resume()
      }
    }
    return state.withLock { state in
      defer { state.heard.removeAll() }
      return state.heard
    }
  }
}

/// A server with JetStream, which keeps its streams in `store` or in a folder of its own.
func withServer(_ version: String, store: URL? = nil, _ body: (TestServer) async throws -> Void)
  async throws
{
  let folder = try temporaryFolder()
  let configuration = "jetstream { store_dir: \"\((store ?? folder).path)/js\" }"
  try await TestServer.with(version, configuration: configuration, folder: folder) { server in
    let connection = try await server.connect()
    for _ in 0..<100 {
      if (try? await connection.request("$JS.API.INFO", timeout: .seconds(1))) != nil { break }
      try await Task.sleep(for: .milliseconds(50))
    }
    await connection.close()
    try await body(server)
  }
}

/// Three servers that replicate. `body` gets the first.
func withCluster(_ version: String, _ body: (TestServer) async throws -> Void) async throws {
  let ports = try freePorts(3)
  let routes = ports.map { "\"nats://127.0.0.1:\($0)\"" }.joined(separator: ", ")
  func configuration(_ index: Int, _ folder: URL) -> String {
    """
    server_name: n\(index)
    cluster { name: sim, listen: "127.0.0.1:\(ports[index])", routes: [\(routes)] }
    jetstream { store_dir: "\(folder.path)/js" }
    """
  }
  let folders = try (0..<3).map { _ in try temporaryFolder() }
  func start(_ index: Int, _ body: (TestServer) async throws -> Void) async throws {
    try await TestServer.with(
      version, configuration: configuration(index, folders[index]), folder: folders[index], body)
  }
  try await start(0) { first in
    try await start(1) { _ in
      try await start(2) { _ in
        try await waitForReplication(first)
        try await body(first)
      }
    }
  }
}

/// Until a stream with three replicas can be made.
private func waitForReplication(_ server: TestServer) async throws {
  let connection = try await server.connect()
  for _ in 0..<200 {
    let answer = try? await connection.request(
      "$JS.API.STREAM.CREATE.READY",
      payload: Array(#"{"name":"READY","subjects":["ready"],"num_replicas":3}"#.utf8),
      timeout: .seconds(2))
    if let answer, !String(buffer: answer.payload).contains("\"error\"") { break }
    try await Task.sleep(for: .milliseconds(100))
  }
  _ = try await connection.request("$JS.API.STREAM.DELETE.READY")
  await connection.close()
}

/// Ports that nobody listens on just now.
private func freePorts(_ count: Int) throws -> [UInt16] {
  var sockets: [Int32] = []
  defer { for socket in sockets { close(socket) } }
  return try (0..<count).map { _ in
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    sockets.append(descriptor)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
      }
    }
    guard isBound else { throw TestFailure("no free port") }
    return UInt16(bigEndian: address.sin_port)
  }
}
