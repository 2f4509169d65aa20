public import Bridge
public import BridgeConfiguration
import JetStream
public import Logging
import NATS
import Oplog
import Parity

/// `tailrace verify repair`: publishes what a verification found missing, under the same ids. Never
/// deletes, and never publishes what it has not shown.
public struct Repair: Sendable {
  public enum Outcome: Sendable {
    case published(sequence: UInt64)
    /// The server takes it for a repetition: its dedup window still holds the id of the message that is
    /// gone.
    case refusedAsDuplicate
    case failed(String)
  }

  /// What would be done, and whether it would leave the streams in order.
  public struct Plan: Sendable {
    public var report: VerifyReport
    public var missing: [MissingMessage]
    /// Those that would come to stand behind messages of later changes.
    public var outOfOrder: Int
  }

  private let configuration: BridgeConfiguration
  private let options: VerifyOptions
  private let logger: Logger

  public init(_ configuration: BridgeConfiguration, options: VerifyOptions, logger: Logger) {
    var options = options
    options.keepsMissing = true
    self.configuration = configuration
    self.options = options
    self.logger = logger
  }

  /// Verifies, and says what is missing. Dead letters are none of it: they are replayed, not repaired.
  public func plan() async throws(BridgeError) -> Plan {
    let verification = EventVerification(
      configuration: configuration, options: options, logger: logger)
    let report = await verification.run()
    guard report.verdict != .inconclusive else {
      return Plan(report: report, missing: [], outOfOrder: 0)
    }
    let missing = verification.missing.filter {
      // An entry of a bucket would replace what its key got since.
      $0.mismatch.stream != configuration.deadLetter.stream
        && !configuration.isBucket($0.mismatch.stream)
    }
    var last: [String: EventPosition] = [:]
    try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
      do {
        for name in Set(missing.map(\.mismatch.stream)) {
          guard let info = try await jetStream.stream(name) else { continue }
          let tail = try await StreamTail(
            jetStream: jetStream, ownership: MessageOwnership(configuration)
          ).last(in: name, info)
          last[name] = tail?.position
        }
      } catch {
        throw BridgeError.unavailable("\(error)")
      }
    }
    let late = missing.count { message in
      guard let end = last[message.mismatch.stream], let position = message.mismatch.position
      else { return false }
      return position < end
    }
    return Plan(report: report, missing: missing, outOfOrder: late)
  }

  /// Publishes them, oldest first, each awaited.
  ///
  /// - Parameter lease: the bridge's; nothing more is published once it is lost.
  public func publish(
    _ missing: [MissingMessage], under lease: OperatorLease,
    _ told: (MissingMessage, Outcome) -> Void
  ) async throws(BridgeError) {
    try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
      for message in missing {
        guard await lease.confirm() else {
          throw .displaced(
            """
            the bridge's lease is lost, as this command was stopped or cut off for too long: what is not shown as \
            published was not; run it again
            """)
        }
        var headers = NATSHeaders(message.headers)
        headers.append("Nats-Expected-Stream", message.mismatch.stream)
        do throws(JetStreamError) {
          let ack = try await jetStream.publish(
            message.mismatch.subject, headers: headers, payload: message.body)
          told(message, ack.isDuplicate ? .refusedAsDuplicate : .published(sequence: ack.sequence))
        } catch {
          told(message, .failed("\(error)"))
        }
      }
    }
  }
}
