import Mapping

/// What producers of a group need to know: which changes have a message, and its id, subject, body and stream. While a
/// group is on its way to its producers, these must not change: messages are compared by the rules in use.
public struct RuleContract: Sendable, Equatable {
  /// By rule, by key of its configuration: a digest of the value.
  public var rules: [String: [String: String]]

  public init(rules: [String: [String: String]]) { self.rules = rules }

  /// Of a group's rules.
  public init(_ group: String, in configuration: BridgeConfiguration) {
    rules = [:]
    for (index, rule) in configuration.rules.enumerated() where rule.group == group {
      rules[rule.name] = Self.parts(of: rule, at: index, in: configuration)
    }
  }

  /// A key of a rule that is not what it was. `key` is `group` where the rule was added or taken out.
  public struct Difference: Sendable, Equatable {
    public var rule: String
    public var key: String

    public init(rule: String, key: String) {
      self.rule = rule
      self.key = key
    }
  }

  /// In the order of the rules' names.
  public func differences(to new: RuleContract) -> [Difference] {
    var found: [Difference] = []
    for name in Set(rules.keys).union(new.rules.keys).sorted() {
      guard let before = rules[name], let after = new.rules[name] else {
        found.append(Difference(rule: name, key: "group"))
        continue
      }
      for key in Set(before.keys).union(after.keys).sorted() where before[key] != after[key] {
        found.append(Difference(rule: name, key: key))
      }
    }
    return found
  }

  private static func parts(
    of rule: Rule, at index: Int, in configuration: BridgeConfiguration
  ) -> [String: String] {
    var match = FNV1a()
    Self.add(rule, to: &match)
    // Whatever takes events before the rule does decides with it.
    for earlier in configuration.rules[..<index]
    where !earlier.continues && earlier.namespace.mayOverlap(rule.namespace)
      && !earlier.operations.isDisjoint(with: rule.operations)
    {
      Self.add(earlier, to: &match)
    }
    var id = FNV1a()
    switch rule.id {
    case .positional: id.add("positional")
    case .template(let template): id.add("template \(template.text)")
    }
    var subject = FNV1a()
    subject.add(rule.subject.text)
    var parts = [
      "match": match.text, "id": id.text, "subject": subject.text,
      "payload": body(of: rule).text,
      "stream": rule.streamIndex.map { configuration.streams[$0].name } ?? "",
    ]
    if let outbox = rule.outbox {
      var digest = FNV1a()
      digest.add("\(outbox.id) \(outbox.subject) \(outbox.type) \(outbox.payload)")
      parts["outbox"] = digest.text
    }
    return parts
  }

  private static func add(_ rule: Rule, to digest: inout FNV1a) {
    digest.add(rule.namespace.text)
    digest.add("\(rule.operations.rawValue)")
    digest.add(rule.condition?.digest ?? "")
    digest.add("\(rule.skipsEmptyUpdates)")
  }

  private static func body(of rule: Rule) -> FNV1a {
    var digest = FNV1a()
    digest.add(rule.envelope.rawValue)
    digest.add("\(rule.json)")
    digest.add(rule.filter.include)
    digest.add(rule.filter.exclude)
    digest.add("\(rule.disambiguatesPaths)")
    for rename in rule.changes.renames { digest.add([rename.path.text, rename.name]) }
    for redacted in rule.changes.redactions {
      digest.add([redacted.path.text, redacted.redaction.rawValue])
    }
    for constant in rule.changes.constants { digest.add([constant.name, constant.json]) }
    digest.add(rule.fullDocument.rawValue)
    digest.add(rule.fullDocumentBeforeChange.rawValue)
    // Attributes are headers, except here.
    if rule.envelope == .cloudEventsStructured {
      digest.add(rule.eventType ?? "")
      digest.add(rule.dataSchema ?? "")
    }
    return digest
  }
}
