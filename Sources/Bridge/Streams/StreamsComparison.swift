import JSON
import JetStream
import NATS

/// The configuration's streams, consumers and buckets beside those on the servers: what `streams plan` shows,
/// `streams apply` makes, and what health calls drift.
package struct StreamsComparison: Sendable {
  package enum Kind: String, Sendable {
    case stream, consumer, bucket
    /// Of a rule: a stream would store them.
    case signal
  }

  /// What has to be done for both to agree.
  package enum Action: String, Sendable {
    case none, create, change
    /// A consumer has to be deleted and made again.
    case replace
    case remove
    /// It can't be made so.
    case refuse
  }

  package struct Item: Sendable {
    package var kind: Kind
    /// `CHAT`; of a consumer `CHAT/notifications`.
    package var name: String
    package var action: Action
    package var settings: [SettingChange] = []
    package var losses: [StreamLoss] = []
    package var refusal: StartRefusal?

    package var differs: Bool { action != .none }

    /// `apply` makes it only if it may lose something.
    package var isDestructive: Bool { !losses.isEmpty }

    /// It differs in nothing but its owner's name, which not every user may write.
    var isUnnamedOnly: Bool {
      action == .change && settings.allSatisfy { $0.path.hasSuffix(StreamClaim.key) }
    }

    /// The check of `doctor`.
    package var check: String {
      "nats.\(kind.rawValue).\(name.split(separator: "/").joined(separator: "."))"
    }

    /// `stream CHAT: max_age: 7d -> 9d`
    package var summary: String {
      let what: String
      switch action {
      case .none: what = "as configured"
      case .create: what = "missing"
      case .remove: what = "not in the configuration"
      case .change, .replace, .refuse:
        let changes = settings.map(\.description).joined(separator: ", ")
        what = changes.isEmpty ? refusal?.why ?? "another one" : changes
      }
      return "\(kind.rawValue) \(name): \(what)"
    }
  }

  package var items: [Item]

  package init(items: [Item]) { self.items = items }

  package var differing: [Item] { items.filter(\.differs) }
  package var refused: [Item] { items.filter { $0.action == .refuse } }
  package var destructive: [Item] { items.filter(\.isDestructive) }

  /// What a running bridge has to report: nothing that only a right lacks for.
  package var drift: [Item] { differing.filter { !$0.isUnnamedOnly } }
}

extension StreamsComparison.Item {
  /// A stream, as planned with `LossPolicy.accept`.
  init(_ plan: StreamPlan, _ kind: StreamsComparison.Kind, name: String, version: NATSVersion) {
    self.kind = kind
    self.name = name
    let bridge = plan.bridge
    var target = plan.target
    switch plan.claim {
    case .claim: target["metadata"] = StreamClaim.metadata(target, owner: bridge)
    case .release: target["metadata"] = StreamClaim.metadata(target, owner: nil)
    case .settled, .contested, .refused: break
    }
    losses = plan.losses
    refusal = plan.refusal
    guard let present = plan.present else {
      action = refusal == nil ? .create : .refuse
      settings = SettingChange.list(from: .object([]), to: target) { _ in .changes }
        .filter { $0.path != "name" }
      return
    }
    let fixed = StreamChange(name: plan.name, present: present.config, wanted: target)
      .fixedFields(version: version)
    let losing = plan.losses.compactMap(\.cause.field)
    settings = SettingChange.list(from: present.config, to: target) { path in
      fixed.contains(path) ? .fixed : losing.contains(path) ? .loses : .changes
    }
    action = refusal != nil ? .refuse : settings.isEmpty ? .none : .change
  }

  init(_ draft: ConsumerDraft, of stream: String) {
    kind = .consumer
    name = "\(stream)/\(draft.name)"
    refusal = draft.refusal
    settings = SettingChange.list(from: draft.present ?? .object([]), to: draft.config) { path in
      path == draft.fixedField ? .fixed : .changes
    }
    if let field = draft.fixedField {
      // The new one has what the configuration says, and nothing of the old one.
      settings = settings.filter { $0.wanted != nil }
      action = refusal == nil ? .replace : .refuse
      losses = [
        StreamLoss(
          .consumer(draft.name), messages: nil,
          "its place in the stream: servers don't change \(field), so it is deleted and made again")
      ]
    } else if refusal != nil {
      action = .refuse
    } else if draft.present == nil {
      action = .create
    } else {
      action = draft.isUnchanged ? .none : .change
      if draft.isUnchanged { settings = [] }
    }
  }

  init(_ forgotten: ForgottenConsumer, of stream: String) {
    kind = .consumer
    name = "\(stream)/\(forgotten.name)"
    action = .remove
    losses = [
      StreamLoss(
        .consumer(forgotten.name), messages: forgotten.waiting,
        "its place in the stream: \(forgotten.waiting) messages wait for it")
    ]
  }
}
