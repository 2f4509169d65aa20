import Bridge
import Foundation
import JSON
import JetStream

/// The streams of one self-test: in memory, and gone when it ends. What a killed one leaves behind, the next
/// one removes.
struct ScratchStream: Sendable {
  let name: String
  private let jetStream: JetStreamClient

  private static let prefix = "TAILRACE_SELFTEST"
  /// A self-test makes its streams again for each round, which takes seconds. Older ones are nobody's.
  private static let longestRound: Double = 600

  static func newName() -> String { "\(prefix)_\(UInt32.random(in: 0...UInt32.max))" }
  static func letters(_ name: String) -> String { "\(name)_DLQ" }
  /// Of all its messages, the first tokens.
  static func subject(_ name: String) -> String {
    "\(prefix).\(name.dropFirst(prefix.count + 1))"
  }

  init(_ jetStream: JetStreamClient, name: String) {
    self.jetStream = jetStream
    self.name = name
  }

  var names: [String] { [name, Self.letters(name)] }

  /// Empty streams, whatever was there.
  func make() async throws {
    try await delete()
    for name in names {
      let (_, info) = try await jetStream.ensureStream(
        name,
        settings: [
          "subjects": [.string("\(Self.subject(name)).>")], "storage": "memory", "num_replicas": 1,
          "duplicate_window": .int(100_000_000), "max_bytes": .int(64 << 20), "discard": "new",
          // Frees the memory of what is left behind.
          "max_age": .int(UInt64(Self.longestRound) * 1_000_000_000),
          "description": "scratch stream of tailrace verify selftest: may be deleted",
        ])
      if name == self.name { await removeLeftovers(now: info.created) }
    }
  }

  private func delete() async throws {
    for name in names {
      do {
        _ = try await jetStream.request("STREAM.DELETE.\(name)")
      } catch {
        if error.code != JetStreamCode.streamNotFound { throw error }
      }
    }
  }

  /// Removes the streams, also where the task that asks is cancelled.
  func cleanUp() async {
    await Task { [self] in
      // Each by itself: of one that can't be removed, the other may be.
      for name in names { _ = try? await jetStream.request("STREAM.DELETE.\(name)") }
    }.value
  }

  /// Removes the streams of self-tests that were killed.
  ///
  /// - Parameter now: by the server's clock.
  private func removeLeftovers(now: String) async {
    guard let now = Self.time(now) else { return }
    var once = jetStream
    once.attempts = 1
    // There may be no right to ask.
    let found = try? await once.streams(overlapping: "\(Self.prefix).>")
    for name in found ?? [] where name.hasPrefix("\(Self.prefix)_") && !names.contains(name) {
      guard let info = try? await once.stream(name), let made = Self.time(info.created),
        now - made > Self.longestRound, info.config["storage"]?.stringValue == "memory"
      else { continue }
      _ = try? await once.request("STREAM.DELETE.\(name)")
    }
  }

  /// Seconds, of a time as servers write it.
  private static func time(_ text: String) -> Double? {
    (try? Date("\(text.prefix(19))Z", strategy: .iso8601))?.timeIntervalSince1970
  }
}
