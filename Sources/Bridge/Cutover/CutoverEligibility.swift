public import BridgeConfiguration
import JSON
import JetStream
import Mapping
import Oplog

/// Whether a group can leave phase `bridge`, by its rules alone.
///
/// Producers have to be able to publish the same message as the bridge: under an id that is known before the write,
/// in the same stream, with a body that the write alone determines.
public struct CutoverEligibility: Sendable, Equatable {
  /// One thing that has to change first.
  public struct Reason: Sendable, Equatable {
    public var code: String
    public var rule: String
    public var detail: String
    public var remedy: String
  }

  public let group: String
  /// In the order of the configuration.
  public let rules: [String]
  public let reasons: [Reason]

  public var isEligible: Bool { reasons.isEmpty && !rules.isEmpty }

  public init(_ group: String, in configuration: BridgeConfiguration) {
    self.group = group
    let own = configuration.rules.filter { $0.group == group }
    rules = own.map(\.name)
    var found: [Reason] = []
    for rule in own { found += Self.reasons(of: rule, in: configuration) }
    reasons = found
  }

  /// Of every group, in the order of the configuration.
  public static func all(in configuration: BridgeConfiguration) -> [CutoverEligibility] {
    configuration.groups.map { CutoverEligibility($0, in: configuration) }
  }

  private static func reasons(of rule: Rule, in configuration: BridgeConfiguration) -> [Reason] {
    var found: [Reason] = []
    func add(_ code: String, _ detail: String, _ remedy: String) {
      found.append(Reason(code: code, rule: rule.name, detail: detail, remedy: remedy))
    }
    if rule.outbox == nil, rule.id == .positional {
      add(
        "positional_id",
        "its ids are positional: they are known only after the write, so producers can't use them",
        "give the rule an id that the application knows, such as id: \"{documentKey._id}.created\"")
    }
    guard case .stream(let index) = rule.route else {
      let destination = rule.route == .core ? "core subjects" : "a bucket"
      add(
        "no_stream", "its messages go to \(destination), not to a stream",
        "give the rule a group of its own: only rules with delivery: jetstream are cut over")
      return found
    }
    let stream = configuration.streams[index.index]
    if stream.ownership == .exclusive {
      add(
        "exclusive_stream", "its stream \(stream.name) is exclusive: nobody else may publish there",
        "set ownership: shared on stream \(stream.name), and restart the bridge")
    }
    if let retention = stream.settings["retention"]?.stringValue, retention != "limits" {
      add(
        "consumed_stream",
        "its stream \(stream.name) gives messages away when they are consumed (retention: \(retention)), so what it held can't be told",
        "use a stream with retention: limits, and let a queue source it")
    }
    if let most = stream.settings.streamLimit("max_msgs_per_subject") {
      add(
        "replaced_messages",
        "its stream \(stream.name) keeps \(most) message\(most == 1 ? "" : "s") a subject, so what it held before can't be told",
        "use a stream without max_msgs_per_subject, and let one with it source that")
    }
    let readsAfter = rule.fullDocument != .off && rule.operations.contains(.update)
    let readsBefore =
      rule.fullDocumentBeforeChange != .off
      && [.update, .replace, .delete].contains { rule.operations.contains($0) }
    if readsAfter || readsBefore {
      add(
        "documents_read_later",
        "its messages hold documents that are read after the write, which may have changed by then",
        "leave payload.\(readsAfter ? "full_document" : "full_document_before_change") out")
    }
    if let why = repetition(of: rule) {
      add(
        "id_not_unique", why,
        "name something in the id that is different each time, such as {operationType} or a version"
      )
    }
    if case .template(let id) = rule.id, rule.outbox == nil {
      let twin = configuration.rules.first { other in
        guard other.name != rule.name, other.outbox == nil, other.streamIndex == rule.streamIndex,
          case .template(let otherID) = other.id, otherID.text == id.text
        else { return false }
        return other.namespace == rule.namespace
      }
      if let twin {
        add(
          "id_not_unique", "rule \(twin.name) has the same ids in the same stream",
          "give the two rules different ids")
      }
    }
    return found
  }

  /// Why the ids of one document's events are not all different; nil where they may be.
  private static func repetition(of rule: Rule) -> String? {
    guard rule.outbox == nil, case .template(let id) = rule.id else { return nil }
    let names = id.paths.map(\.field)
    let isOfDocumentAlone = names.allSatisfy {
      [.documentKey, .database, .collection, .operationType].contains($0)
    }
    guard isOfDocumentAlone else { return nil }
    let changes = [(OperationType.update, "update"), (.replace, "replacement")]
    if let change = changes.first(where: { rule.operations.contains($0.0) }) {
      return "its id \(id.text) is the same for every \(change.1) of a document"
    }
    if !names.contains(.operationType), rule.operations.operations.count > 1 {
      return "its id \(id.text) is the same for every operation on a document"
    }
    return nil
  }
}

extension BridgeConfiguration {
  /// In the order of the rules.
  public var groups: [String] {
    var seen: [String] = []
    for rule in rules where !seen.contains(rule.group) { seen.append(rule.group) }
    return seen
  }
}
