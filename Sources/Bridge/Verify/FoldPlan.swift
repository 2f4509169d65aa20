import BridgeConfiguration
import Foundation
import JSON
import Mapping
import Oplog

/// Which collections can be made again from their messages, and by which rules.
///
/// Needed: every insert, update, replacement and deletion becomes a message, all in one stream and in one
/// shape, and a message tells which document of which collection it is of.
struct FoldPlan: Sendable {
  private let rules: [Rule]

  init(_ configuration: BridgeConfiguration) { rules = configuration.rules }

  enum Answer: Sendable, Equatable {
    /// The stream's index.
    case foldable(stream: Int)
    case not(String)
  }

  /// Whether any rule takes documents of the collection.
  func isMatched(_ database: String, _ collection: String) -> Bool {
    rules.contains {
      $0.namespace.matches("\(database).\(collection)")
        && !$0.operations.isDisjoint(with: .documents)
    }
  }

  func answer(_ namespace: String) -> Answer {
    let taking = rules.filter {
      $0.namespace.matches(namespace) && !$0.operations.isDisjoint(with: .documents)
    }
    guard let first = taking.first else { return .not("no rule takes its documents") }
    for operation in OperationSet.documents.operations {
      let some = taking.filter { $0.operations.contains(operation) }
      guard !some.isEmpty else { return .not("no rule takes its \(operation.name)s") }
      guard some.contains(where: { $0.condition == nil }) else {
        return .not("rules take only some of its \(operation.name)s (where)")
      }
    }
    for rule in taking {
      if rule.outbox != nil { return .not("rule \(rule.name) is an outbox") }
      if rule.envelope == .document || rule.envelope == .debezium {
        return .not("the envelope of rule \(rule.name) does not tell changes one by one")
      }
      guard rule.streamIndex == first.streamIndex else {
        return .not("its changes go to several streams, whose order among each other is not told")
      }
      guard rule.filter == first.filter, rule.changes == first.changes, rule.json == first.json
      else {
        return .not("rules \(first.name) and \(rule.name) give its documents different shapes")
      }
      if rule.continues {
        return .not("rule \(rule.name) says continue, so that a change has several messages")
      }
      if Self.namespace(of: rule) == nil, rule.envelope != .changeEvent,
        rule.envelope != .cloudEvents || rule.eventType != nil
      {
        return .not(
          "rule \(rule.name) takes several collections, and its messages don't say which (envelope change_event does, and ce-type where event_type is left out)"
        )
      }
      for path in rule.filter.exclude where path == "ns" && rule.envelope == .changeEvent {
        return .not("rule \(rule.name) leaves out \(path)")
      }
    }
    return .foldable(stream: first.streamIndex)
  }

  /// The one collection that a rule takes.
  static func namespace(of rule: Rule) -> String? {
    rule.namespace.text.contains("*") ? nil : rule.namespace.text
  }

  /// Of which collection a message is.
  func namespace(
    rule name: String, body: JSONValue, operation: String, type: String, source: String
  ) -> String? {
    guard let rule = rules.first(where: { $0.name == name }) else { return nil }
    if let one = Self.namespace(of: rule) { return one }
    if rule.envelope == .cloudEvents {
      // `ce-type` is <collection>.<operation>, `ce-source` ends with the database, a URI's component.
      guard type.hasSuffix(".\(operation)"),
        let collection = String(type.dropLast(operation.utf8.count + 1)).removingPercentEncoding,
        let slash = source.lastIndex(of: "/"),
        let database = String(source[source.index(after: slash)...]).removingPercentEncoding?
          .removingPercentEncoding
      else { return nil }
      return "\(database).\(collection)"
    }
    guard let database = body["ns"]?["db"]?.stringValue,
      let collection = body["ns"]?["coll"]?.stringValue
    else { return nil }
    return "\(database).\(collection)"
  }

  /// The change event's part of a body.
  static func event(_ body: JSONValue) -> JSONValue {
    body["specversion"] != nil ? body["data"] ?? body : body
  }
}
