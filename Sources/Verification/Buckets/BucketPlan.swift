import BSON
package import BridgeConfiguration
package import JSON
package import Mapping
import Oplog
package import Parity

/// Which rules' entries say what the documents of their collections are.
///
/// Needed: a rule that takes every insert, update, replacement and deletion of a collection, updates with the
/// document. Then the last entry under a key is the document, and a purged key is none.
package struct BucketPlan: Sendable {
  let rules: [Rule]
  /// By the index of the stream that a bucket is: why its entries can't be judged.
  package var unfit: [Int: String] = [:]
  /// Streams whose entries go by age.
  package var expiring: Set<Int> = []

  package init(_ configuration: BridgeConfiguration) {
    rules = configuration.rules
  }

  /// Of the streams that buckets with entries of rules are.
  var buckets: [Int] {
    Set(rules.filter(\.route.isBucket).compactMap(\.streamIndex)).sorted()
  }

  /// Whether a rule puts documents of the collection into a bucket.
  func isMatched(_ database: String, _ collection: String) -> Bool {
    rules.contains { $0.route.isBucket && $0.namespace.matches("\(database).\(collection)") }
  }

  func isMatched(database: String) -> Bool {
    rules.contains { $0.route.isBucket && $0.namespace.matches(database: database) }
  }

  /// Rules that put documents of the collection into buckets.
  func rules(of namespace: String) -> [Int] {
    rules.indices.filter { rules[$0].route.isBucket && rules[$0].namespace.matches(namespace) }
  }

  /// The entry that the rule with that index has of an event's document; nil: it can have no key.
  func key(of event: ChangeEvent, rule: Int, _ mapper: inout Mapper) -> DocumentKey? {
    guard rules[rule].route.isBucket, let stream = rules[rule].streamIndex else { return nil }
    var subject = ByteWriter(capacity: 256)
    do throws(MappingError) {
      try mapper.writeSubject(rule: rule, event: event, into: &subject)
    } catch {
      return nil
    }
    return Self.key(stream: stream, subject: String(decoding: subject.bytes, as: UTF8.self))
  }

  /// The entry's key, among those of all buckets.
  package static func key(stream: Int, subject: String) -> DocumentKey {
    DocumentKey(namespace: "\(stream)", key: .string(subject), isTyped: true)
  }

  /// Why entries of the rule don't say what the documents of the collection are; nil: they do.
  ///
  /// - Parameter namespace: nil: any collection that the rule takes.
  package func obstacle(_ index: Int, in namespace: String?) -> String? {
    let rule = rules[index]
    if let stream = rule.streamIndex, let why = unfit[stream] { return why }
    for operation in OperationSet.documents.operations where !rule.operations.contains(operation) {
      return "rule \(rule.name) takes no \(operation.name)s"
    }
    if rule.condition != nil { return "rule \(rule.name) takes only some documents (where)" }
    if rule.fullDocument == .off {
      return "rule \(rule.name) has no documents of updates (payload.full_document)"
    }
    if rule.outbox != nil { return "rule \(rule.name) is an outbox" }
    for earlier in rules[..<index]
    where !earlier.continues && !earlier.operations.isDisjoint(with: .documents) {
      let mayTake = namespace.map { earlier.namespace.matches($0) } ?? true
      if mayTake { return "rule \(earlier.name) takes documents before rule \(rule.name)" }
    }
    return nil
  }

  /// The rule may publish nothing of a document, without a dead letter.
  func mayLeaveOut(_ rule: Rule) -> Bool {
    rule.onInvalid == .drop || (rule.onIDConflict == .drop && rule.id != .positional)
  }

  /// Entries of the rule go by themselves.
  func expires(_ rule: Rule) -> Bool {
    rule.keyTTL != nil || (rule.streamIndex.map { expiring.contains($0) } ?? false)
  }

  /// The document in a body of the rule; nil: it has none.
  package static func document(_ rule: Rule, _ body: JSONValue) -> JSONValue? {
    let found: JSONValue?
    switch rule.envelope {
    case .document: found = body
    case .changeEvent, .cloudEvents, .cloudEventsStructured:
      found = FoldPlan.event(body)["fullDocument"]
    case .debezium:
      // A text, as that connector writes it.
      found = body["after"]?.stringValue.flatMap {
        try? JSONValue(parsing: Array($0.utf8), maximumDepth: DocumentFold.maximumDepth)
      }
    }
    guard case .object? = found else { return nil }
    return found
  }

  /// The collection that an entry is of; nil: it does not say.
  func namespace(_ rule: Rule, _ body: [UInt8]?) -> String? {
    let pattern = rule.namespace
    if let database = pattern.literalDatabase, let collection = pattern.literalCollection {
      return "\(database).\(collection)"
    }
    guard let body,
      let value = try? JSONValue(parsing: body, maximumDepth: DocumentFold.maximumDepth)
    else { return nil }
    let names: (JSONValue?, JSONValue?)
    switch rule.envelope {
    case .changeEvent: names = (value["ns"]?["db"], value["ns"]?["coll"])
    case .debezium: names = (value["source"]?["db"], value["source"]?["collection"])
    case .cloudEvents, .cloudEventsStructured, .document: return nil
    }
    guard let database = names.0?.stringValue, let collection = names.1?.stringValue else {
      return nil
    }
    return "\(database).\(collection)"
  }
}
