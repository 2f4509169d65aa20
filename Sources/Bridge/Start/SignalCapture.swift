import BridgeConfiguration
import JetStream
package import Mapping

/// Streams that would store signals (`delivery: core`), which nothing may store.
package struct SignalCapture: Sendable {
  private let configuration: BridgeConfiguration
  private let jetStream: JetStreamClient

  package init(_ planner: StreamPlanner) {
    configuration = planner.configuration
    jetStream = planner.jetStream
  }

  package static func check(of rule: Rule) -> String { "nats.signal.\(rule.name)" }

  /// - Throws: `StartRefusal` for the first rule whose signals a stream takes, or where that can't be seen.
  package func check() async throws {
    for rule in configuration.signalRules { try await check(rule) }
  }

  package func check(_ rule: Rule) async throws {
    do {
      if let refusal = try await refusal(of: rule) { throw refusal }
    } catch let error as JetStreamError where error.isPermission {
      throw StartRefusal(
        check: Self.check(of: rule),
        why: """
          rule \(rule.name): it can't be seen whether a stream would store its signals: \(error.message)
          """,
        remedy: "# Allow the bridge's user to publish to $JS.API.STREAM.NAMES.")
    }
  }

  /// The streams that take signals of the rule; nil: none does.
  func refusal(of rule: Rule) async throws(JetStreamError) -> StartRefusal? {
    for pattern in configuration.subjectPatterns(of: rule) {
      let streams = try await jetStream.streams(overlapping: pattern)
      guard let first = streams.first else { continue }
      return StartRefusal(
        check: Self.check(of: rule),
        why: """
          rule \(rule.name): its signals at \(pattern) would be stored, because stream \
          \(streams.prefix(5).joined(separator: ", ")) takes them
          """,
        remedy: """
          # Give the rule a subject that no stream takes, or the stream other subjects:
          nats stream edit \(first) --subjects '<its other subjects>'
          """)
    }
    return nil
  }
}

extension JetStreamError {
  /// The user may not ask.
  fileprivate var isPermission: Bool { message.lowercased().contains("permissions violation") }
}
