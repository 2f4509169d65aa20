package import BridgeConfiguration
import JSON
package import JetStream
import Mapping

/// Compares, with the code by which a start decides. Changes nothing.
package struct StreamsComparer: Sendable {
  private let planner: StreamPlanner

  package init(_ configuration: BridgeConfiguration, _ jetStream: JetStreamClient) {
    var planner = StreamPlanner(configuration, jetStream)
    planner.losses = .accept
    self.planner = planner
  }

  private var configuration: BridgeConfiguration { planner.configuration }

  /// - Parameter asksServer: whether the server itself judges each change, by requests that it can't carry out,
  ///   and lists consumers that the configuration lacks.
  /// - Throws: `JetStreamError` if it can't be asked, `StartRefusal` for what can't be told in any item.
  package func compare(asksServer: Bool) async throws -> StreamsComparison {
    var items: [StreamsComparison.Item] = []
    var replicas = 1
    for stream in configuration.streams {
      let plan = try await judged(try await planner.draft(stream), asksServer)
      replicas = max(replicas, plan.replicas)
      items.append(item(plan, stream))
      items += try await consumers(stream, of: plan, asksServer)
    }
    if planner.hasLetterStream {
      let plan = try await judged(try await planner.draftLetters(replicas: replicas), asksServer)
      items.append(item(plan, nil))
    }
    items.append(try await stateBucket(replicas: replicas, asksServer))
    for rule in configuration.signalRules {
      var item = StreamsComparison.Item(kind: .signal, name: rule.name, action: .none)
      do {
        try await SignalCapture(planner).check(rule)
      } catch let refusal as StartRefusal {
        item.action = .refuse
        item.refusal = refusal
      }
      items.append(item)
    }
    return StreamsComparison(items: items)
  }

  private func item(_ plan: StreamPlan, _ spec: StreamSpec?) -> StreamsComparison.Item {
    StreamsComparison.Item(
      plan, spec?.bucket == nil ? .stream : .bucket, name: spec?.bucket ?? plan.name,
      version: planner.version)
  }

  private func judged(_ plan: StreamPlan, _ asksServer: Bool) async throws -> StreamPlan {
    guard asksServer, plan.refusal == nil else { return plan }
    var plan = plan
    do {
      try await ServerJudgement(planner).check(plan)
    } catch let refusal as StartRefusal {
      plan.refusal = refusal
    }
    return plan
  }

  private func consumers(
    _ stream: StreamSpec, of plan: StreamPlan, _ asksServer: Bool
  ) async throws -> [StreamsComparison.Item] {
    var items: [StreamsComparison.Item] = []
    let together = ConsumerSetRules(
      stream: stream.name, streamConfig: plan.config, consumers: stream.consumers
    ).refusal
    for draft in try await planner.draftConsumers(stream, of: plan) {
      var draft = draft
      draft.refusal = draft.refusal ?? together
      if asksServer, draft.refusal == nil, draft.fixedField == nil,
        let made = try draft.plan(.accept)
      {
        do {
          try await ServerJudgement(planner).check(made, of: plan)
        } catch let refusal as StartRefusal {
          draft.refusal = refusal
        }
      }
      items.append(StreamsComparison.Item(draft, of: stream.name))
    }
    if asksServer, plan.present != nil {
      items += try await planner.forgottenConsumers(stream).map {
        StreamsComparison.Item($0, of: stream.name)
      }
    }
    return items
  }

  /// The bridge makes it where it is missing; an existing one keeps its settings.
  private func stateBucket(
    replicas: Int, _ asksServer: Bool
  ) async throws -> StreamsComparison.Item {
    let name = configuration.bridge.stateBucket
    var item = StreamsComparison.Item(kind: .bucket, name: name, action: .none)
    do {
      guard try await !planner.hasBucket() else { return item }
      item.action = .create
      let bucket = KeyValueBucket(planner.jetStream, name: name)
      item.settings = SettingChange.list(
        from: .object([]), to: bucket.configuration(replicas: replicas)
      ) { _ in .changes }
      if asksServer { try await ServerJudgement(planner).checkNewBucket() }
    } catch let refusal as StartRefusal {
      item.action = .refuse
      item.refusal = refusal
    }
    return item
  }
}
