public import BridgeConfiguration
public import Logging
import Mapping
public import MongoSource
import NATS
import Oplog

/// `tailrace doctor`: connects, and says what would hurt later. Changes nothing.
public struct Doctor: Sendable {
  private let configuration: BridgeConfiguration
  private let logger: Logger

  public init(_ configuration: BridgeConfiguration, logger: Logger) {
    self.configuration = configuration
    self.logger = logger
  }

  /// Every check's finding; what can't be reached is a finding too.
  public func examine() async -> [Diagnosis] {
    var demands = MongoDemands()
    demands.databases = databases
    demands.preImages = configuration.rules.compactMap { rule in
      guard rule.fullDocumentBeforeChange != .off, let database = rule.namespace.literalDatabase,
        let collection = rule.namespace.literalCollection
      else { return nil }
      return "\(database).\(collection)"
    }
    let nats = await look(&demands)
    return await MongoDoctor.examine(configuration.mongoSourceOptions, demands) + [nats]
  }

  /// The databases that rules name; none where one of them takes any.
  private var databases: [String] {
    let named = configuration.rules.map(\.namespace.literalDatabase)
    return named.contains(nil) ? [] : Array(Set(named.compactMap { $0 })).sorted()
  }

  /// What NATS tells for the other checks: the largest message, and where the bridge is.
  private func look(_ demands: inout MongoDemands) async -> Diagnosis {
    do {
      let connection = try await NATSConnection.connect(
        to: configuration.natsServers, options: try configuration.natsOptions(), logger: logger)
      demands.maxPayload = connection.info.maxPayload
      let server = "\(connection.info.serverName), nats-server \(connection.info.version)"
      await connection.close()
      if let checkpoint = try await CheckpointOperator(configuration, logger: logger).show() {
        demands.checkpoint = ResumePoint(position: checkpoint.resume, term: checkpoint.term)
      }
      return Diagnosis("nats.reachable", .ok, server)
    } catch {
      return Diagnosis(
        "nats.reachable", .fail, "\(error)",
        remedy: "check nats.servers and the credentials in the configuration")
    }
  }
}
