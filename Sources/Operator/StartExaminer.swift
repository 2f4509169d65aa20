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
      await judge("nats.stream.\(stream.name)") { examiner, planner in
        let plan = try await planner.plan(stream)
        let judge = ServerJudgement(examiner, planner)
        try await judge.check(plan)
        try await planner.checkConsumers(stream, of: plan)
        for consumer in stream.consumers { try await judge.check(consumer, of: plan) }
        return plan
      }
    }
    if planner.hasLetterStream {
      let replicas = plans.map(\.replicas).max() ?? 1
      await judge("nats.stream.\(configuration.deadLetter.stream)") { examiner, planner in
        let plan = try await planner.planLetters(replicas: replicas)
        try await ServerJudgement(examiner, planner).check(plan)
        return plan
      }
    }
    await judge("nats.bucket.\(configuration.bridge.stateBucket)") { examiner, planner in
      try await planner.checkBucket()
      try await ServerJudgement(examiner, planner).checkNewBucket()
      return nil
    }
  }

  private mutating func judge(
    _ id: String, _ judgement: (NATSExaminer, StreamPlanner) async throws -> StreamPlan?
  ) async {
    do {
      if let plan = try await judgement(examiner, planner) { plans.append(plan) }
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

/// The server's own judgement of what it would be asked for, by requests that it can't carry out.
struct ServerJudgement {
  let examiner: NATSExaminer
  let planner: StreamPlanner

  init(_ examiner: NATSExaminer, _ planner: StreamPlanner) {
    self.examiner = examiner
    self.planner = planner
  }

  /// A name that no stream or consumer has.
  private static let nobody = "tailrace-doctor"

  /// - Throws: `StartRefusal`
  func check(_ plan: StreamPlan) async throws {
    let isNew = plan.present == nil
    guard isNew || !plan.changed.isEmpty else { return }
    try checkReplicas(plan)
    let subjects = plan.config["subjects"]?.arrayValue?.compactMap(\.stringValue) ?? []
    let added = subjects.filter { !(plan.present?.subjects.contains($0) ?? false) }
    try await checkOverlap(added, plan.name, isNew ? "STREAM.CREATE" : "STREAM.UPDATE")
    // The server judges the settings before it finds that they are not this stream's.
    var config = plan.config
    config["name"] = .string(Self.nobody)
    guard
      case .json(let answer) = await examiner.ask(
        "$JS.API.STREAM.UPDATE.\(plan.name)", payload: config.text()),
      let failure = answer["error"],
      failure["err_code"]?.integer(Int.self) != JetStreamCode.nameMismatch
    else { return }
    let error = JetStreamError("STREAM.UPDATE.\(plan.name)", refusedWith: failure)
    if let refusal = StartRefusal(error) { throw refusal }
  }

  /// Servers that are not there can't be counted, but those that are say so.
  private func checkReplicas(_ plan: StreamPlan) throws(StartRefusal) {
    let info = examiner.connection.info
    let servers = Set(info.connectURLs).count
    guard planner.isClustered, servers > 0, servers < plan.replicas,
      plan.present?.replicas != plan.replicas
    else { return }
    throw .stream(
      plan.name,
      "num_replicas is \(plan.replicas), but the cluster \(info.cluster ?? "") announces \(servers) servers",
      remedy: """
        # In the configuration, unless more servers join:
        streams:
          - { name: \(plan.name), num_replicas: \(servers > 2 ? 3 : 1) }
        """)
  }

  private func checkOverlap(
    _ subjects: [String], _ stream: String, _ operation: String
  ) async throws {
    guard
      let overlaps = try? await SubjectOverlap.find(
        subjects, besides: stream, planner.jetStream), !overlaps.isEmpty
    else { return }
    if let refusal = StartRefusal(SubjectOverlap.refusal(overlaps, "\(operation).\(stream)")) {
      throw refusal
    }
  }

  /// A bucket that has to be made.
  func checkNewBucket() async throws {
    let bucket = planner.configuration.bridge.stateBucket
    guard try await planner.jetStream.stream("KV_\(bucket)") == nil else { return }
    try await checkOverlap(["$KV.\(bucket).>"], "KV_\(bucket)", "STREAM.CREATE")
  }

  /// Servers from 2.10 on know an action that makes nothing.
  func check(_ consumer: JSONValue, of plan: StreamPlan) async throws {
    guard plan.present != nil, planner.version >= NATSVersion(2, 10, 0),
      let (name, planned) = try await planner.plan(consumer, of: plan)
    else { return }
    let isNew = try await planner.jetStream.consumer(name, of: plan.name) == nil
    // One that is there would be changed.
    let asked = isNew ? name : Self.nobody
    var config = planned
    config["durable_name"] = .string(asked)
    if config["name"] != nil { config["name"] = .string(asked) }
    let request: JSONValue = [
      "stream_name": .string(plan.name), "config": config, "action": "update",
    ]
    guard
      case .json(let answer) = await examiner.ask(
        "$JS.API.CONSUMER.DURABLE.CREATE.\(plan.name).\(asked)", payload: request.text()),
      let failure = answer["error"],
      failure["err_code"]?.integer(Int.self) != JetStreamCode.consumerDoesNotExist
    else { return }
    let error = JetStreamError(
      "CONSUMER.DURABLE.CREATE.\(plan.name).\(name)", refusedWith: failure)
    if let refusal = StartRefusal(error) { throw refusal }
  }
}
