import Bridge
public import BridgeConfiguration
import JetStream
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
    for rule in configuration.rules where rule.fullDocumentBeforeChange != .off {
      demands.preImageRules.append(rule.name)
      guard let database = rule.namespace.literalDatabase,
        let collection = rule.namespace.literalCollection
      else { continue }
      demands.preImages.append("\(database).\(collection)")
      if rule.fullDocumentBeforeChange == .required {
        demands.requiredPreImages.insert("\(database).\(collection)")
      }
    }
    demands.readsOplog = configuration.source.reader == .oplog
    demands.snapshotsOnLoss = configuration.source.onPositionLost == .snapshot
    let http = await ListenCheck(configuration: configuration).examine()
    let nats = await look(&demands)
    demands.startsWithSnapshot =
      configuration.source.start == .snapshot && demands.checkpoint == nil
    demands.rules = ruleDemands(startsWithSnapshot: demands.startsWithSnapshot)
    var mongo = await MongoDoctor.examine(configuration.mongoSourceOptions, demands)
    if !demands.readsOplog { mongo += await changeStreamLoss(mongo, demands) }
    return mongo + nats + [http]
  }

  /// Whether a change stream reaches back to the resume position, which only the server can say.
  private func changeStreamLoss(
    _ found: [Diagnosis], _ demands: MongoDemands
  ) async -> [Diagnosis] {
    guard let position = demands.checkpoint?.position ?? demands.start,
      found.contains(where: { $0.id == "mongodb.change_stream" && $0.verdict == .ok })
    else { return [] }
    let id = demands.checkpoint == nil ? "mongodb.start" : "mongodb.checkpoint"
    do {
      let options = configuration.mongoSourceOptions
      guard let loss = try await MongoAdmin.changeStreamLoss(options, at: position) else {
        return []
      }
      return [
        Diagnosis(
          id, demands.snapshotsOnLoss ? .warn : .fail, loss,
          remedy: "# Close the gap with a snapshot of the collections, or accept it:\n"
            + "tailrace run --from now --force")
      ]
    } catch {
      return [Diagnosis(id, .warn, "can't be seen: \(error)")]
    }
  }

  private func ruleDemands(startsWithSnapshot: Bool) -> [RuleDemand] {
    configuration.rules.map { rule in
      var demand = RuleDemand(
        rule: rule.name, namespace: rule.namespace.text, database: rule.namespace.literalDatabase,
        collection: rule.namespace.literalCollection,
        matches: { [namespace = rule.namespace] in namespace.matches($0) })
      if rule.fullDocument != .off, rule.operations.contains(.update) {
        demand.reads = "full documents"
        demand.needsReads = true
      } else if rule.operations.contains(.insert),
        startsWithSnapshot || configuration.source.onPositionLost == .snapshot
      {
        demand.reads = "snapshots"
        demand.needsReads = startsWithSnapshot
      }
      return demand
    }
  }

  /// The databases that rules name; none where one of them takes any.
  private var databases: [String] {
    let named = configuration.rules.map(\.namespace.literalDatabase)
    return named.contains(nil) ? [] : Array(Set(named.compactMap { $0 })).sorted()
  }

  /// What NATS tells for the other checks: the largest message, and where the bridge is.
  private func look(_ demands: inout MongoDemands) async -> [Diagnosis] {
    let connection: NATSConnection
    do {
      connection = try await NATSConnection.connect(
        to: configuration.natsServers, options: try configuration.natsOptions(), logger: logger)
    } catch {
      return [
        Diagnosis(
          "nats.reachable", .fail, "\(error)",
          remedy: "check nats.servers and the credentials in the configuration")
      ]
    }
    // Refused subjects are what is looked for.
    connection.onServerError { _ in }
    let info = connection.info
    demands.maxPayload = info.maxPayload
    var found = [
      Diagnosis(
        "nats.reachable", .ok,
        "\(info.serverName), nats-server \(info.version), max_payload \(info.maxPayload)")
    ]
    let examiner = PositionExaminer(
      configuration: configuration, jetStream: JetStreamClient(connection))
    let survey = await examiner.survey()
    var checkpoint: Result<Checkpoint?, any Error>?
    if let survey { checkpoint = await examiner.checkpoint(survey) }
    var plans: [StreamPlan]?
    found += await NATSExaminer(configuration, connection).examine(&plans)
    // A right that lacks, or JetStream itself, has been named already.
    let canAsk = found.allSatisfy { $0.verdict != .fail || !$0.isOfAccess }
    if canAsk, let survey, let checkpoint {
      let findings = await examiner.examine(survey, checkpoint, plans)
      if let diagnosis = findings.diagnosis { found.append(diagnosis) }
      demands.checkpoint = findings.resume
      if findings.isFresh, case .at(let position) = configuration.start {
        demands.start = position
      }
    }
    await connection.close()
    return found
  }
}

extension Diagnosis {
  /// Whether NATS may be asked at all.
  fileprivate var isOfAccess: Bool {
    id.hasPrefix("nats.permissions") || id == "nats.jetstream" || id == "nats.reachable"
  }
}
