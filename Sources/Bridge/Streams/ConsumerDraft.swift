import BridgeConfiguration
package import JSON
import JetStream

/// How a change that would lose something is handled.
package enum LossPolicy: Sendable {
  /// A start: it leaves streams as they are, and refuses to make a consumer again.
  case refuse
  /// What loses nothing is made, the rest left.
  case leave
  /// Everything is made.
  case accept
}

/// A configured consumer beside the one on the server.
package struct ConsumerDraft: Sendable {
  package var name: String
  /// Its configuration on the server; nil if it has to be created.
  package var present: JSONValue?
  /// Its complete wanted configuration, merged over the present one.
  package var config: JSONValue
  /// A field that servers never change: the consumer has to be deleted and made again.
  package var fixedField: String?
  package var isUnchanged: Bool
  package var refusal: StartRefusal?

  /// Nil: nothing is to be done.
  func plan(_ losses: LossPolicy) throws(StartRefusal) -> ConsumerPlan? {
    if fixedField != nil {
      switch losses {
      case .refuse: break
      case .leave: return nil
      case .accept:
        return ConsumerPlan(name: name, config: config, isNew: true, replaces: true)
      }
    }
    if let refusal { throw refusal }
    return isUnchanged ? nil : ConsumerPlan(name: name, config: config, isNew: present == nil)
  }
}

/// A consumer that this bridge made and that the configuration lacks now.
package struct ForgottenConsumer: Sendable {
  package var name: String
  package var config: JSONValue
  /// Messages that it has not delivered or not seen acknowledged.
  package var waiting: UInt64
}

extension StreamPlanner {
  /// The stream's configured consumers beside those on the server.
  ///
  /// - Throws: `JetStreamError` if the server can't be asked, `StartRefusal` for one without a name.
  func draftConsumers(_ stream: StreamSpec, of plan: StreamPlan) async throws -> [ConsumerDraft] {
    var drafts: [ConsumerDraft] = []
    for consumer in stream.consumers {
      drafts.append(try await draft(consumer, of: plan))
    }
    return drafts
  }

  private func draft(_ consumer: JSONValue, of stream: StreamPlan) async throws -> ConsumerDraft {
    guard let name = (consumer["durable_name"] ?? consumer["name"])?.stringValue else {
      throw StartRefusal.consumer(
        "?", of: stream.name, "it needs a durable_name",
        remedy: "# Give it a durable_name, under streams, consumers.")
    }
    let present =
      stream.present == nil ? nil : try await jetStream.consumer(name, of: stream.name)
    func rules(_ present: JSONValue?) -> ConsumerRules {
      ConsumerRules(
        name, stream: stream.name, streamConfig: stream.config, present: present, wanted: consumer)
    }
    let found = rules(present)
    let fixed = found.fixedField
    // Another one in its place is judged like a new one.
    let made = fixed != nil && losses != .refuse ? rules(nil) : found
    return ConsumerDraft(
      name: name, present: present,
      config: fixed != nil || present == nil ? marked(made.config) : made.config,
      fixedField: fixed, isUnchanged: found.isUnchanged, refusal: made.refusal)
  }

  /// Consumers that the bridge makes name it, so that they can be told from others' once the configuration
  /// doesn't list them any more.
  private func marked(_ config: JSONValue) -> JSONValue {
    guard version >= Self.firstMetadata else { return config }
    var config = config
    config["metadata"] = StreamClaim.metadata(config, owner: configuration.bridge.name)
    return config
  }

  /// Durable consumers that name this bridge and are not configured; empty where the user may not list them.
  func forgottenConsumers(_ stream: StreamSpec) async throws(JetStreamError) -> [ForgottenConsumer]
  {
    guard version >= Self.firstMetadata else { return [] }
    let known = stream.consumers.compactMap { ($0["durable_name"] ?? $0["name"])?.stringValue }
    var found: [ForgottenConsumer] = []
    var seen = 0
    while true {
      var once = jetStream
      once.attempts = 2
      guard
        let answer = try? await once.request(
          "CONSUMER.LIST.\(stream.name)", ["offset": .int(seen)])
      else { return found }
      let page = answer["consumers"]?.arrayValue ?? []
      for info in page {
        guard let config = info["config"], let name = info["name"]?.stringValue,
          !known.contains(name), StreamClaim.owner(config) == configuration.bridge.name
        else { continue }
        let waiting = ["num_pending", "num_ack_pending"].reduce(UInt64(0)) {
          $0 + (info[$1]?.integer(UInt64.self) ?? 0)
        }
        found.append(ForgottenConsumer(name: name, config: config, waiting: waiting))
      }
      seen += page.count
      if page.isEmpty || seen >= answer["total"]?.integer(Int.self) ?? seen { return found }
    }
  }
}

extension StreamPlan {
  /// - Throws: its refusal.
  package func accepted() throws(StartRefusal) -> StreamPlan {
    if let refusal { throw refusal }
    return self
  }
}
