import Bridge
import BridgeConfiguration
import Foundation
import JetStream
import MongoSource
import Oplog

/// Asks MongoDB once.
private struct SingleQuestions: MongoAsking {
  let answers: MongoServerAnswers

  init(_ options: MongoSourceOptions) { answers = MongoServerAnswers(options) }

  func askMongo<T: Sendable>(
    _ question: @escaping @Sendable (any MongoAnswering) async throws -> T
  ) async throws -> T {
    do {
      return try await question(answers)
    } catch let error as MongoError {
      if !error.isTransient { throw BridgeError.configuration("\(error)") }
      throw BridgeError.unavailable("\(error)")
    }
  }
}

/// Where `run` would continue, or why it would not.
struct PositionExaminer {
  let configuration: BridgeConfiguration
  let jetStream: JetStreamClient

  struct Findings {
    var diagnosis: Diagnosis?
    /// Where reading would continue: this must be in the oplog.
    var resume: ResumePoint?
    /// No resume position is known, and reading begins as `source.start` says.
    var isFresh = false
  }

  private static let id = "bridge.place"

  private var store: CheckpointStore {
    CheckpointStore(
      jetStream, bucket: configuration.bridge.stateBucket, bridge: configuration.bridge.name)
  }

  /// Nil where MongoDB doesn't say what it is called, which is a finding of its own.
  func survey() async -> EpochSurvey? {
    let mongo = SingleQuestions(configuration.mongoSourceOptions)
    var name = configuration.source.name
    if name == nil {
      name = try? await MongoAdmin.identify(configuration.mongoSourceOptions).setName
    }
    return name.map {
      EpochSurvey(
        configuration: configuration, sourceName: $0, jetStream: jetStream, mongo: mongo,
        rules: configuration.ruleSet(sourceName: $0).identity)
    }
  }

  /// Before the streams are looked at: beside a bridge that runs, they are then ahead of it as they are
  /// after a crash, and never behind.
  func checkpoint(_ survey: EpochSurvey) async -> Result<Checkpoint?, any Error> {
    do {
      guard try await store.bucket.exists else { return .success(nil) }
      return .success(try await survey.load(store).checkpoint)
    } catch {
      return .failure(error)
    }
  }

  /// - Parameter plans: nil where some stream can't serve.
  func examine(
    _ survey: EpochSurvey, _ checkpoint: Result<Checkpoint?, any Error>, _ plans: [StreamPlan]?
  ) async -> Findings {
    var findings = Findings()
    do {
      let checkpoint = try checkpoint.get()
      findings.resume = checkpoint.map { ResumePoint(position: $0.resume, term: $0.term) }
      guard let plans, checkpoint?.snapshot.map(\.isOver) ?? true else { return findings }
      let now = Date.now.formatted(.iso8601)
      let streams = plans.map { plan in
        plan.expected(
          now: now, cautious: false, mayRepeatIDs: configuration.mayRepeatIDs(plan.name))
      }
      try await decide(survey, checkpoint, streams, &findings)
    } catch is MongoError {
      // A finding of its own.
    } catch BridgeError.unavailable {
    } catch {
      findings.diagnosis = Self.diagnosis(error)
    }
    return findings
  }

  private func decide(
    _ survey: EpochSurvey, _ checkpoint: Checkpoint?, _ streams: [PreparedStream],
    _ findings: inout Findings
  ) async throws {
    var settings = configuration.epochSettings(RunOptions())
    // Whether a position is in the oplog is a question of its own, with a finding of its own.
    settings.readsOplog = false
    let decision = try await survey.decide(EpochMachine(settings), streams, checkpoint)
    switch decision.mode {
    case .tail(let plan) where !plan.isFresh:
      if checkpoint == nil {
        findings.resume = ResumePoint(position: plan.start, term: plan.term)
      }
      findings.diagnosis = Diagnosis(Self.id, .ok, "continues at \(plan.start), \(plan.note)")
    case .snapshot where decision.reason != nil:
      findings.diagnosis = Diagnosis(
        Self.id, .warn, "a snapshot will begin: \(decision.reason ?? "")")
    case .tail, .snapshot:
      findings.isFresh = true
      findings.diagnosis = Diagnosis(
        Self.id, .ok, "a first start, which begins as source.start says")
    }
  }

  private static func diagnosis(_ error: any Error) -> Diagnosis {
    var remedy = "tailrace checkpoint show"
    switch error as? BridgeError {
    case .positionLost(let why):
      remedy =
        why.contains("tailrace snapshot")
        ? "tailrace snapshot"
        : why.contains("once it is deleted")
          ? "# See what it holds, then delete it:\ntailrace checkpoint export"
          : "# Decide where to continue, once:\ntailrace run --from oldest --force"
    case .configuration(let why) where why.hasPrefix("MongoDB: "):
      remedy = "# First what mongodb.reachable says."
    case .configuration:
      remedy = "# In the configuration, a bridge of its own:\nbridge: { name: <another name> }"
    default: break
    }
    return Diagnosis(id, .fail, "\(error)", remedy: remedy)
  }
}
