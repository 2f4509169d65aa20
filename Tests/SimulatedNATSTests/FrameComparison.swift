import Foundation
import JSON
import NATS
import SimulatedJetStream
import SimulatedNATS
import TestServers

/// What clients do in one moment, and how long nothing happens then.
struct WireStep: Sendable, CustomStringConvertible {
  /// Which of the connections.
  var client = 0
  var text: String
  /// Seconds.
  var wait = 0.0
  /// The answer names a consumer that the server names; later texts call it `{E<n>}`, n from 0 on.
  var namesConsumer = false

  var description: String { "\(client): \(text)" + (wait > 0 ? "   (waits \(wait) s)" : "") }
}

/// One conversation with a nats-server and the simulated one at once.
final class FrameComparison {
  private let simulated: SimulatedClients
  private let numbers: [Int]
  private let real: [RawClient]
  private var history: [WireStep] = []
  /// Names that servers chose: the real one's, the simulated one's.
  private var names: [(String, String)] = []
  private(set) var compared = 0
  private(set) var tally: [String: Int] = [:]

  /// - Parameter clients: connections to both.
  init(_ version: String, port: Int, clients: Int) async throws {
    guard let number = ServerVersion(version) else { throw TestFailure("no version: \(version)") }
    simulated = SimulatedClients(number, now: Int64(Date().timeIntervalSince1970) * 1_000_000_000)
    var real: [RawClient] = []
    for _ in 0..<clients { real.append(try await RawClient.connect(port: port)) }
    self.real = real
    let simulated = simulated
    numbers = (0..<clients).map { _ in simulated.accept() }
  }

  func close() async { for client in real { await client.close() } }

  func run(_ step: WireStep) async throws {
    history.append(step)
    try await real[step.client].send(named(step.text, \.0))
    simulated.server.receive(Array(named(step.text, \.1).utf8), on: numbers[step.client])
    if step.wait > 0 {
      simulated.advance(nanoseconds: Int64(step.wait * 1_000_000_000))
      try await Task.sleep(for: .seconds(step.wait))
    }
    for (index, client) in real.enumerated() {
      var expected = try simulated.frames(of: numbers[index])
      var heard = try await client.hear(expected.count)
      if step.namesConsumer, index == step.client {
        names.append((Self.name(in: heard), Self.name(in: expected)))
      }
      expected = renamed(expected, \.1)
      heard = renamed(heard, \.0)
      compared += expected.count
      for frame in heard { tally[Self.kind(frame), default: 0] += 1 }
      guard
        Self.bySubscription(Self.unordered(heard)) != Self.bySubscription(Self.unordered(expected))
      else { continue }
      throw TestFailure(
        """
        connection \(index) differs
        server: \(heard.map(\.description).joined(separator: "\n        "))
        model:  \(expected.map(\.description).joined(separator: "\n        "))
        after
        \(history.map(\.description).joined(separator: "\n"))
        """)
    }
  }

  /// Both closed the connection, or neither did.
  func compareEnd(of client: Int) async throws {
    let isClosed = simulated.server.isClosedByServer(numbers[client])
    guard isClosed else { return }
    guard try await real[client].isClosed() else {
      throw TestFailure("the server did not close connection \(client) after \(history)")
    }
  }

  var model: SimulatedServer { simulated.model }

  // MARK: - Names of consumers

  private func named(_ text: String, _ side: KeyPath<(String, String), String>) -> String {
    names.enumerated().reduce(text) { text, pair in
      text.replacingOccurrences(of: "{E\(pair.offset)}", with: pair.element[keyPath: side])
    }
  }

  private static func name(in frames: [Frame]) -> String {
    frames.lazy.compactMap { $0.content?["name"]?.stringValue }.first ?? "?"
  }

  private func renamed(_ frames: [Frame], _ side: KeyPath<(String, String), String>) -> [Frame] {
    frames.map { frame in
      var frame = frame
      for (index, pair) in names.enumerated() {
        let name = pair[keyPath: side]
        func rename(_ text: String) -> String {
          text.replacingOccurrences(of: name, with: "{E\(index)}")
        }
        frame.headers = rename(frame.headers)
        frame.reply = rename(frame.reply)
        if let content = frame.content, content.text().contains(name) {
          frame.content = try? JSONValue(parsing: rename(content.text()))
        }
      }
      if let names = frame.content?["consumers"]?.arrayValue?.compactMap(\.stringValue) {
        frame.content?["consumers"] = .array(names.sorted().map { .string($0) })
      }
      return frame
    }
  }

  // MARK: - Order

  /// A stream's consumers are ended in any order when it is deleted.
  private static func unordered(_ frames: [Frame]) -> [Frame] {
    var frames = frames
    var first = 0
    while first < frames.count {
      var end = first
      while end < frames.count, frames[end].headers.contains("409 Consumer Deleted") { end += 1 }
      frames[first..<end].sort { $0.subject < $1.subject }
      first = end + 1
    }
    return frames
  }

  /// Frames of one subscription are in order; those of different ones are not, but for what has none.
  private static func bySubscription(_ frames: [Frame]) -> [String: [Frame]] {
    Dictionary(grouping: frames) { $0.kind == .message ? $0.sid : "-" }
  }

  private static func kind(_ frame: Frame) -> String {
    guard frame.kind == .message else { return frame.kind.rawValue }
    if let code = frame.content?["error"]?["err_code"]?.integer(Int.self) { return "\(code)" }
    if let type = frame.content?["type"]?.stringValue {
      return String(type.split(separator: ".").last ?? "")
    }
    if frame.headers.hasPrefix("NATS/1.0 ") {
      return String(frame.headers.prefix { $0 != "|" }.dropFirst(9))
    }
    if frame.reply.hasPrefix("$JS.ACK") { return "delivery" }
    return frame.payload.hasPrefix("{\"stream\"") ? "stored" : "message"
  }
}

/// A server with JetStream in a folder of its own.
func withServer(_ version: String, _ body: (TestServer) async throws -> Void) async throws {
  let folder = try temporaryFolder()
  let configuration = "jetstream { store_dir: \"\(folder.path)/js\" }"
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
