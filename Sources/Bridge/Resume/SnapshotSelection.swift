public import BridgeConfiguration
import JSON
package import Mapping
package import Oplog
import Synchronization

/// What a snapshot covers: the named rules, or those of the named groups, and the collections. By default,
/// everything that rules without `snapshot: false` take inserts of.
public struct SnapshotSelection: Sendable, Equatable {
  public var rules: [String]
  public var groups: [String]
  /// Globs over `database.collection`.
  public var namespaces: [String]

  public init(rules: [String] = [], groups: [String] = [], namespaces: [String] = []) {
    self.rules = rules
    self.groups = groups
    self.namespaces = namespaces
  }

  public var isWhole: Bool { rules.isEmpty && groups.isEmpty && namespaces.isEmpty }

  /// Whether it publishes documents by that rule.
  package func takes(_ rule: Rule) -> Bool {
    guard rule.takesSnapshots, rule.operations.contains(.insert) else { return false }
    return (rules.isEmpty && groups.isEmpty) || rules.contains(rule.name)
      || groups.contains(rule.group)
  }

  /// Whether it reads a collection (`database.collection`).
  package func reads(_ collection: String, _ configured: [Rule]) -> Bool {
    guard namespaces.isEmpty || patterns.contains(where: { $0.matches(collection) }) else {
      return false
    }
    return configured.contains { takes($0) && $0.namespace.matches(collection) }
  }

  /// Whether it may read collections of a database.
  package func mayRead(database: String, _ configured: [Rule]) -> Bool {
    guard namespaces.isEmpty || patterns.contains(where: { $0.matches(database: database) }) else {
      return false
    }
    return configured.contains { takes($0) && $0.namespace.matches(database: database) }
  }

  /// Whether it publishes every document of a collection that a rule takes.
  package func readsAll(of collection: String, _ configured: [Rule]) -> Bool {
    guard reads(collection, configured) else { return false }
    return configured.allSatisfy {
      takes($0) || !$0.operations.contains(.insert) || !$0.namespace.matches(collection)
    }
  }

  fileprivate var patterns: [NamespacePattern] {
    namespaces.compactMap { try? NamespacePattern(parsing: $0) }
  }

  /// Why it can't be made; nil if it can.
  public func mistake(in configuration: BridgeConfiguration) -> String? {
    let named = configuration.rules.map(\.name)
    for name in rules {
      guard let rule = configuration.rules.first(where: { $0.name == name }) else {
        return "there is no rule \(name)" + hint(name, named)
      }
      if !rule.takesSnapshots { return "rule \(name) says snapshot: false" }
      if !rule.operations.contains(.insert) {
        return "rule \(name) takes no inserts, and a snapshot publishes documents as inserts"
      }
    }
    let known = configuration.rules.map(\.group)
    for name in groups where !known.contains(name) {
      return "there is no group \(name)" + hint(name, known)
    }
    for text in namespaces {
      do {
        _ = try NamespacePattern(parsing: text)
      } catch {
        return "\(error.message): \(error.remedy)"
      }
    }
    let taking = configuration.rules.filter(takes)
    guard !taking.isEmpty else { return "no rule is left that publishes documents of a snapshot" }
    let patterns = taking.map(\.namespace)
    for wanted in self.patterns where !patterns.contains(where: { $0.mayOverlap(wanted) }) {
      return
        "no rule takes collections \(wanted) (there are \(patterns.map(\.text).joined(separator: ", ")))"
    }
    return nil
  }

  private func hint(_ name: String, _ candidates: [String]) -> String {
    nearest(to: name, among: candidates).map { ": did you mean \($0)?" } ?? ""
  }

  /// For people; empty if it covers everything.
  var line: String {
    [("rules", rules), ("groups", groups), ("collections", namespaces)]
      .filter { !$0.1.isEmpty }.map { "\($0.0) \($0.1.joined(separator: ", "))" }
      .joined(separator: ", ")
  }

  var json: JSONValue {
    func list(_ texts: [String]) -> JSONValue { .array(texts.map { .string($0) }) }
    return ["rules": list(rules), "groups": list(groups), "namespaces": list(namespaces)]
  }

  init(_ json: JSONValue) {
    func list(_ key: String) -> [String] {
      (json[key]?.arrayValue ?? []).compactMap(\.stringValue)
    }
    self.init(rules: list("rules"), groups: list("groups"), namespaces: list("namespaces"))
  }
}

/// The selection of the running snapshot, shared with the reader's thread.
final class SnapshotChoice: Sendable {
  private struct State {
    var selection = SnapshotSelection()
    /// Its namespaces that matched a collection.
    var found: Set<String> = []
    var rules: [Rule] = []
  }
  private let state = Mutex(State())

  var current: SnapshotSelection {
    get { state.withLock { $0.selection } }
    set { state.withLock { $0.selection = newValue } }
  }

  /// Those in use.
  var rules: [Rule] {
    get { state.withLock { $0.rules } }
    set { state.withLock { $0.rules = newValue } }
  }

  func mayRead(database: String) -> Bool {
    state.withLock { $0.selection.mayRead(database: database, $0.rules) }
  }

  /// Asked of every collection of those databases.
  func reads(_ collection: String) -> Bool {
    state.withLock { state in
      guard state.selection.reads(collection, state.rules) else { return false }
      state.found.formUnion(
        state.selection.patterns.filter { $0.matches(collection) }.map(\.text))
      return true
    }
  }

  /// Requested namespaces that matched no collection.
  var unmatched: [String] {
    state.withLock { state in state.selection.namespaces.filter { !state.found.contains($0) } }
  }
}

extension Checkpoint {
  /// The position of the last finished snapshot that published every document that the rules take; nil if
  /// there is none.
  package func wholeSnapshot(by rules: [Rule]) -> OplogPosition? {
    guard let snapshot, snapshot.isOver, snapshot.selection.isWhole,
      rules.allSatisfy({ $0.takesSnapshots || !$0.operations.contains(.insert) })
    else { return nil }
    return snapshot.position
  }
}
