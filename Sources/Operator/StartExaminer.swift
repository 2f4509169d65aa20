import Bridge
import BridgeConfiguration
import JSON
import JetStream
import MongoSource
import NATS

extension Diagnosis {
  init(_ refusal: StartRefusal) {
    self.init(refusal.check, .fail, refusal.why, remedy: refusal.remedy)
  }
}

/// What `run` would make of the streams, judged by the same code and, where the server decides, by requests
/// that it can't carry out.
struct StartExaminer {
  let examiner: NATSExaminer
  let planner: StreamPlanner
  private(set) var found: [Diagnosis] = []
  /// One for each stream that can serve.
  private(set) var plans: [StreamPlan] = []
  /// What can't be asked; the lack of a right has a diagnosis of its own.
  private(set) var unseen: [Diagnosis] = []

  private var configuration: BridgeConfiguration { examiner.configuration }
  private var jetStream: JetStreamClient { planner.jetStream }

  init(_ examiner: NATSExaminer) {
    self.examiner = examiner
    var jetStream = JetStreamClient(examiner.connection)
    jetStream.attempts = 2
    planner = StreamPlanner(examiner.configuration, jetStream)
  }

  /// Nil unless every stream can serve.
  var allPlans: [StreamPlan]? {
    plans.count == configuration.streams.count + (planner.hasLetterStream ? 1 : 0) ? plans : nil
  }

  mutating func examine() async {
    for stream in configuration.streams {
      await judge("nats.stream.\(stream.name)") { planner, server in
        let plan = try await planner.plan(stream)
        try await server.check(plan)
        try server.checkReplicas(plan)
        let consumers = try await planner.planConsumers(stream, of: plan)
        for consumer in consumers { try await server.check(consumer, of: plan) }
        return plan
      }
    }
    if planner.hasLetterStream {
      let replicas = plans.map(\.replicas).max() ?? 1
      await judge("nats.stream.\(configuration.deadLetter.stream)") { planner, server in
        let plan = try await planner.planLetters(replicas: replicas)
        try await server.check(plan)
        try server.checkReplicas(plan)
        return plan
      }
    }
    await judge("nats.bucket.\(configuration.bridge.stateBucket)") { planner, server in
      if try await !planner.hasBucket() { try await server.checkNewBucket() }
      return nil
    }
    for rule in configuration.signalRules {
      await judge(SignalCapture.check(of: rule)) { planner, _ in
        try await SignalCapture(planner).check(rule)
        return nil
      }
    }
    var unpublished: [Diagnosis] = []
    await judge("nats.schemas") { planner, _ in
      let contracts = PublishedContracts(planner.configuration, planner.jetStream)
      for finding in try await contracts.findings() {
        if let refusal = finding.refusal { throw refusal }
        guard let warning = finding.warning else { continue }
        unpublished.append(
          Diagnosis(
            finding.check, .warn, warning,
            remedy: "tailrace schema publish \(finding.version.name) FILE"))
      }
      return nil
    }
    found += unpublished
    await compare()
  }

  /// What is there and differs; what can't serve has been named already.
  private mutating func compare() async {
    let comparer = StreamsComparer(configuration, jetStream)
    guard let comparison = try? await comparer.compare(asksServer: false) else { return }
    for item in comparison.drift
    where item.action != .create && item.action != .refuse
      && !found.contains(where: { $0.id == item.check })
    {
      found.append(
        Diagnosis(
          item.check, .warn,
          "differs from the configuration: \(item.summary)"
            + (item.isDestructive ? "; a start leaves it, because something would be lost" : ""),
          remedy: "tailrace streams plan\ntailrace streams apply"
            + (item.isDestructive ? " --allow-destructive" : "")))
    }
  }

  private mutating func judge(
    _ id: String, _ judgement: (StreamPlanner, ServerJudgement) async throws -> StreamPlan?
  ) async {
    do {
      if let plan = try await judgement(planner, ServerJudgement(planner)) { plans.append(plan) }
    } catch let refusal as StartRefusal {
      found.append(Diagnosis(refusal))
    } catch let error as JetStreamError {
      if let refusal = StartRefusal(error) {
        found.append(Diagnosis(refusal))
      } else {
        unseen.append(Diagnosis(id, .fail, "\(error)", remedy: "nats server report jetstream"))
      }
    } catch {
      unseen.append(Diagnosis(id, .fail, "\(error)"))
    }
  }
}
