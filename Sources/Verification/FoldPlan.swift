import BSON
import Bridge
package import BridgeConfiguration
import Foundation
package import JSON
import Mapping
package import Oplog
package import Parity

/// Which collections can be made again from their messages, and by which rules.
///
/// Needed: every insert, update, replacement and deletion becomes a message, all in one stream and in one
/// shape, and a message tells which document of which collection it is of.
package struct FoldPlan: Sendable {
  let rules: [Rule]
  private let sharedStreams: Set<Int>
  /// By stream: why documents can't be made of its messages.
  var unfitStreams: [Int: String] = [:]

  package init(_ configuration: BridgeConfiguration) {
    rules = configuration.rules
    sharedStreams = Set(
      configuration.streams.indices.filter { configuration.streams[$0].ownership == .shared })
  }

  /// Names that rules give to fields which are called otherwise: documents may have fields of those names.
  var givenNames: Set<String> { Set(rules.flatMap { $0.changes.renames.map(\.name) }) }

  /// Those that rules publish to.
  var streams: Set<Int> { Set(rules.compactMap(\.streamIndex)) }

  package enum Answer: Sendable, Equatable {
    /// The stream's index.
    case foldable(stream: Int)
    /// Its documents are entries of a bucket: see `BucketPlan`.
    case inBucket
    case not(String)
  }

  /// Whether any rule takes documents of the collection.
  func isMatched(_ database: String, _ collection: String) -> Bool {
    rules.contains {
      $0.namespace.matches("\(database).\(collection)")
        && !$0.operations.isDisjoint(with: .documents)
    }
  }

  /// Whether any rule takes documents of collections of the database.
  func isMatched(database: String) -> Bool {
    rules.contains {
      $0.namespace.matches(database: database) && !$0.operations.isDisjoint(with: .documents)
    }
  }

  /// Not those that earlier rules leave nothing to, such as one for all that is left.
  private func rulesTaking(_ namespace: String) -> [Rule] {
    var left = OperationSet.documents
    var taking: [Rule] = []
    for rule in rules
    where rule.namespace.matches(namespace) && !rule.operations.isDisjoint(with: left) {
      if rule.isBesideOthers { continue }
      taking.append(rule)
      if rule.condition == nil, !rule.continues { left.subtract(rule.operations) }
    }
    return taking
  }

  /// The index of the first rule that takes documents of the collection.
  func rule(of namespace: String) -> Int? {
    rules.firstIndex {
      $0.namespace.matches(namespace) && !$0.operations.isDisjoint(with: .documents)
    }
  }

  package func answer(_ namespace: String) -> Answer {
    let taking = rulesTaking(namespace)
    guard let first = taking.first else {
      let isInBucket = rules.contains { $0.route.isBucket && $0.namespace.matches(namespace) }
      return isInBucket ? .inBucket : .not("no rule takes its documents")
    }
    if taking.allSatisfy(\.route.isBucket) { return .inBucket }
    for operation in OperationSet.documents.operations {
      let some = taking.filter { $0.operations.contains(operation) }
      guard !some.isEmpty else { return .not("no rule takes its \(operation.name)s") }
      guard some.contains(where: { $0.condition == nil }) else {
        return .not("rules take only some of its \(operation.name)s (where)")
      }
    }
    for rule in taking {
      if let why = Self.obstacle(rule) { return .not(why) }
      guard rule.streamIndex == first.streamIndex else {
        return .not("its changes go to several streams, whose order among each other is not told")
      }
      guard rule.hasShape(of: first) else {
        return .not("rules \(first.name) and \(rule.name) give its documents different shapes")
      }
      if rule.id != .positional, let stream = rule.streamIndex, sharedStreams.contains(stream) {
        return .not(
          "rule \(rule.name) shares its ids with other producers, whose messages say no position")
      }
    }
    guard let stream = first.streamIndex else { return .not("nothing of it is stored") }
    if let why = unfitStreams[stream] { return .not(why) }
    return .foldable(stream: stream)
  }

  /// Whether rules may publish nothing of a document of the collection, without a dead letter.
  func mayLeaveOut(_ namespace: String) -> Bool {
    rulesTaking(namespace).contains {
      $0.onInvalid == .drop || ($0.onIDConflict == .drop && $0.id != .positional)
    }
  }

  /// What a rule's messages lack, whatever the collection.
  private static func obstacle(_ rule: Rule) -> String? {
    if rule.route == .core { return "rule \(rule.name) publishes signals, which are not stored" }
    if rule.route.isBucket { return "rule \(rule.name) puts documents into a bucket" }
    if rule.outbox != nil { return "rule \(rule.name) is an outbox" }
    if rule.envelope == .document || rule.envelope == .debezium {
      return "the envelope of rule \(rule.name) does not tell changes one by one"
    }
    if rule.continues {
      return "rule \(rule.name) says continue, so that a change has several messages"
    }
    if namespace(of: rule) == nil, rule.envelope != .changeEvent, rule.eventType != nil {
      return
        "rule \(rule.name) takes several collections, and its messages don't say which (envelope change_event does, and the type where event_type is left out)"
    }
    for path in rule.filter.exclude
    where path == "ns" && rule.envelope == .changeEvent || isOfKey(path)
      || path.hasPrefix("fullDocument._id.")
    {
      return "rule \(rule.name) leaves out \(path)"
    }
    for path in rule.filter.include where isOfKey(path) && path != "documentKey" {
      return "rule \(rule.name) leaves out parts of documentKey"
    }
    if let path = rule.pathOfUpdates {
      return "rule \(rule.name) shows of updates something else than of documents (\(path))"
    }
    for one in rule.changes.redactions where one.redaction != .hash && one.path.isOfKey {
      return
        "rule \(rule.name) redacts \(one.path.text), so that messages don't say which document they are of"
    }
    return nil
  }

  private static func isOfKey(_ path: String) -> Bool {
    path == "documentKey" || path.hasPrefix("documentKey.")
  }

  /// Whether document keys of a rule's messages tell values of all types apart.
  func showsTypes(_ rule: Rule) -> Bool {
    rule.json != .simplified && !rule.changes.redactions.contains { $0.path.isOfKey }
  }

  /// The one collection that a rule takes.
  private static func namespace(of rule: Rule) -> String? {
    guard let database = rule.namespace.literalDatabase,
      let collection = rule.namespace.literalCollection
    else { return nil }
    return "\(database).\(collection)"
  }

  // MARK: Messages

  /// The document's key as messages of the rule with that index show it.
  func key(of event: ChangeEvent, rule: Int, _ mapper: inout Mapper) -> DocumentKey? {
    guard OperationSet.documents.contains(event.operation), let id = event.documentKey else {
      return nil
    }
    var body = ByteWriter(capacity: 512)
    let deletion = ChangeEvent(
      operation: .delete, position: event.position, namespace: event.namespace,
      databaseLength: event.databaseLength, documentKey: id)
    do {
      try mapper.writeBody(rule: rule, event: deletion, match: 0, into: &body)
      let shown = Self.event(
        try JSONValue(parsing: body.bytes, maximumDepth: DocumentFold.maximumDepth))
      guard let documentKey = shown["documentKey"] else { return nil }
      return DocumentKey(
        namespace: String(decoding: event.namespace, as: UTF8.self), key: documentKey,
        isTyped: showsTypes(rules[rule]))
    } catch {
      return nil
    }
  }

  /// What the headers of a message say.
  package struct Headers {
    package var id: String
    package var rule: String
    package var position: EventPosition
    /// `ce-type` and `ce-source`.
    package var type: String
    package var source: String
    package var isSnapshot: Bool

    package init(
      id: String, rule: String, position: EventPosition, type: String, source: String,
      isSnapshot: Bool
    ) {
      self.id = id
      self.rule = rule
      self.position = position
      self.type = type
      self.source = source
      self.isSnapshot = isSnapshot
    }
  }

  package enum Reading {
    case steps([FoldStep])
    /// Of no concern here.
    case nothing
    /// The rule's messages can be read, and this one can't.
    case unreadable(String)
  }

  /// - Parameter stream: the index of the one that holds the message.
  package func read(
    _ headers: Headers, _ payload: some Sequence<UInt8>, stream: Int
  ) -> Reading {
    guard let rule = rules.first(where: { $0.name.isSame(as: headers.rule) }),
      rule.streamIndex == stream, Self.obstacle(rule) == nil, unfitStreams[stream] == nil
    else { return .nothing }
    guard
      let body = try? JSONValue(parsing: payload, maximumDepth: DocumentFold.maximumDepth)
    else { return .unreadable("the body is no JSON") }
    let event = Self.event(body)
    guard let word = event["operationType"]?.stringValue else {
      return .unreadable("the body says no operationType")
    }
    guard let place = place(rule, body, event, word, headers) else {
      return .unreadable("it does not say of which collection it is")
    }
    if let operation = FoldStep.Operation(rawValue: word), operation != .snapshot {
      guard let documentKey = event["documentKey"] else {
        return .unreadable("the body has no documentKey")
      }
      let key = DocumentKey(
        namespace: place, key: documentKey, isTyped: showsTypes(rule))
      let step = FoldStep.document(
        key, headers.isSnapshot ? .snapshot : operation, event: event, rule.foldShape)
      guard operation == .replace,
        let id = keyOfReplacement(rule, event, documentKey: documentKey)
      else { return .steps([step]) }
      let new = DocumentKey(namespace: place, key: id, isTyped: false)
      guard new != key else { return .steps([step]) }
      return .steps([
        .document(key, .delete, event: event, rule.foldShape),
        .document(new, .replace, event: event, rule.foldShape),
      ])
    }
    guard let change = CollectionChange(word, place, event) else { return .nothing }
    return isTold(change, in: stream) ? .steps(steps(change, in: stream)) : .nothing
  }

  /// Of a replacement whose messages show the `_id` in both places as it is: the document's key from then on.
  /// A server lets an `_id` be replaced by an equal one, such as 1 by NumberDecimal("1.0"), which look different
  /// where types are not shown. Two ids that can't be equal are not one document's: the message contradicts itself.
  private func keyOfReplacement(
    _ rule: Rule, _ event: JSONValue, documentKey: JSONValue
  ) -> JSONValue? {
    guard !showsTypes(rule), let id = event["fullDocument"]?["_id"],
      let old = documentKey["_id"], mayBeSameID(old, id),
      !rule.filter.include.contains(where: { $0.hasPrefix("fullDocument._id.") }),
      !rule.changes.redactions.contains(where: \.path.isOfKey),
      !rule.changes.renames.contains(where: \.path.isOfKey)
    else { return nil }
    var key = documentKey
    key["_id"] = id
    return key
  }

  /// `database.collection`, or only the database.
  private func place(
    _ rule: Rule, _ body: JSONValue, _ event: JSONValue, _ operation: String, _ headers: Headers
  ) -> String? {
    if let one = Self.namespace(of: rule), OperationSet.documents.contains(named: operation) {
      return one
    }
    switch rule.envelope {
    case .changeEvent:
      guard let database = event["ns"]?["db"]?.stringValue else { return Self.namespace(of: rule) }
      return event["ns"]?["coll"]?.stringValue.map { "\(database).\($0)" } ?? database
    case .cloudEvents, .cloudEventsStructured:
      // The type is <collection>.<operation>, the source ends with the database, a URI's component.
      let isBinary = rule.envelope == .cloudEvents
      let type =
        isBinary ? headers.type.removingPercentEncoding : body["type"]?.stringValue
      let source =
        isBinary ? headers.source.removingPercentEncoding : body["source"]?.stringValue
      guard rule.eventType == nil else { return Self.namespace(of: rule) }
      let suffix = ".\(operation)"
      guard let type, type.utf8.count > suffix.utf8.count, type.hasSuffix(suffix),
        let source, let slash = source.utf8.lastIndex(of: UInt8(ascii: "/")),
        let database = String(source[source.utf8.index(after: slash)...]).removingPercentEncoding
      else { return Self.namespace(of: rule) }
      if operation == "dropDatabase" { return database }
      let name = String(decoding: type.utf8.dropLast(suffix.utf8.count), as: UTF8.self)
      return "\(database).\(name)"
    case .document, .debezium: return nil
    }
  }

  /// The change event's part of a body.
  package static func event(_ body: JSONValue) -> JSONValue {
    body["specversion"] != nil ? body["data"] ?? body : body
  }

  // MARK: Collections

  /// Whether messages in the stream tell of the change: those of the first rule that takes it.
  func isTold(_ change: CollectionChange, in stream: Int) -> Bool {
    let taking = rules.first { rule in
      guard rule.operations.contains(change.operation) else { return false }
      guard let name = change.namespace else {
        // Of a whole database: only a pattern for all of its collections takes it.
        return rule.namespace.matches("\(change.database).")
      }
      // A rename is taken by its new name as well.
      if case .renamed(_, let to) = change, rule.namespace.matches(to) { return true }
      return rule.namespace.matches(name)
    }
    guard let taking, taking.condition == nil, Self.obstacle(taking) == nil else { return false }
    return taking.streamIndex == stream
  }

  /// Whether messages tell when the collection is dropped or renamed.
  func tellsOfCollection(_ namespace: String) -> Bool {
    guard case .foldable(let stream) = answer(namespace) else { return false }
    let database = CollectionChange.dropped(namespace).database
    return isTold(.dropped(namespace), in: stream)
      && isTold(.renamed(from: namespace, to: "\(database)."), in: stream)
  }

  /// What the change does to what is folded from the stream.
  func steps(_ change: CollectionChange, in stream: Int) -> [FoldStep] {
    func isHere(_ namespace: String) -> Bool { answer(namespace) == .foldable(stream: stream) }
    switch change {
    case .dropped(let name), .created(let name):
      return isHere(name) ? [.emptied(namespace: name)] : []
    case .databaseDropped(let name): return [.databaseDropped(name)]
    case .renamed(let from, let to):
      if isHere(from), isHere(to), let one = rulesTaking(from).first,
        let other = rulesTaking(to).first, one.hasShape(of: other)
      {
        return [.renamed(from: from, to: to)]
      }
      return (isHere(to) ? [.renamed(from: nil, to: to)] : [])
        + (isHere(from) ? [.emptied(namespace: from)] : [])
    }
  }
}

extension OperationSet {
  fileprivate func contains(named name: String) -> Bool {
    operations.contains { "\($0.name)" == name }
  }
}

extension Rule {
  /// A signal or an entry beside a message, which changes nothing of it.
  var isBesideOthers: Bool { continues && (route == .core || route.isBucket) }

  /// Their messages show documents in one way.
  fileprivate func hasShape(of other: Rule) -> Bool {
    filter == other.filter && changes == other.changes && json == other.json
  }

  fileprivate var foldShape: FoldStep.Shape {
    var shape: FoldStep.Shape = []
    if filter.shortensArrays { shape.insert(.shortensArrays) }
    if !filter.include.isEmpty { shape.insert(.shortensNumbered) }
    if changes.redactions.contains(where: { $0.redaction == .hash }) { shape.insert(.hashes) }
    if changes.redactions.contains(where: { $0.redaction != .drop }) { shape.insert(.redacts) }
    return shape
  }
}

extension PayloadFilter {
  /// What is left of arrays may lack elements: those that paths name by their place, and those that are
  /// no documents where a path goes further into them.
  fileprivate var shortensArrays: Bool {
    include.contains { path in
      let parts = path.dotSeparated
      return parts.count > 2 || parts.dropFirst().contains(where: \.isDigits)
    } || exclude.contains { $0.dotSeparated.last?.isDigits ?? false }
  }
}

extension PayloadFilter.Path {
  /// It is of the document key. (A redaction of a document's field covers the key's.)
  fileprivate var isOfKey: Bool {
    text == "documentKey" || text.hasPrefix("documentKey.") || text == "fullDocument"
      || text == "fullDocument._id" || text.hasPrefix("fullDocument._id.")
  }
}
