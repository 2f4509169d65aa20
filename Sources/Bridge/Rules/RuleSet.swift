package import BridgeConfiguration
package import Mapping

/// The compiled rules that make messages: the part of a configuration that can change while the bridge runs.
/// Immutable; a changed file is another rule set.
package struct RuleSet: Sendable {
  /// Counts the rule sets of one process, from 1 on.
  package let version: UInt64
  /// A hash of everything that determines messages: the same for the same rules on every machine.
  package let hash: String
  /// The identity in message ids.
  package let sourceName: String
  /// In the order of matching.
  package let rules: [Rule]
  /// Of each rule.
  package let ids: [RuleID]
  /// Of each rule.
  package let schemas: [RuleSchema?]
  package let unmatched: Unmatched
  let deadLetterSubject: DeadLetterSubject
  private let indices: [RuleID: Int]
  private let redactionKey: [UInt8]?
  private let mark: BridgeMark

  package init(
    _ configuration: BridgeConfiguration, sourceName: String, version: UInt64 = 1
  ) {
    self.version = version
    self.sourceName = sourceName
    hash = configuration.hash(sourceName: sourceName)
    rules = configuration.rules
    ids = rules.map { RuleID($0.name) }
    schemas = configuration.schemas
    unmatched = configuration.unmatched
    deadLetterSubject = configuration.deadLetter.subject
    redactionKey = configuration.redactionKey.map { Array($0.reveal().utf8) }
    mark = configuration.bridgeMark
    indices = Dictionary(
      zip(ids, rules.indices).map { ($0, $1) }, uniquingKeysWith: { first, _ in first })
  }

  /// Where the rule is in `rules`; nil: this rule set has no such rule.
  package func index(of id: RuleID) -> Int? { indices[id] }

  /// The rule at an index of `rules`; any other index is that of a dead letter without a rule.
  package func id(_ index: Int) -> RuleID {
    ids.indices.contains(index) ? ids[index] : .unmatched
  }

  package var mapper: Mapper {
    Mapper(rules: rules, sourceName: sourceName, redactionKey: redactionKey, mark: mark)
  }

  /// The part of it that decisions about epochs need.
  package var identity: Identity { Identity(hash: hash, ids: Set(ids)) }

  package struct Identity: Sendable, Equatable {
    package var hash: String
    package var ids: Set<RuleID>

    package init(hash: String, ids: Set<RuleID>) {
      self.hash = hash
      self.ids = ids
    }

    /// Whether a message of that rule is one of this rule set's.
    package func has(_ id: RuleID) -> Bool { id == .unmatched || ids.contains(id) }
  }
}

extension BridgeConfiguration {
  package func ruleSet(sourceName: String, version: UInt64 = 1) -> RuleSet {
    RuleSet(self, sourceName: sourceName, version: version)
  }
}
