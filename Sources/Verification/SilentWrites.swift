import BSON
import Bridge
import BridgeConfiguration
import Mapping
import MongoSource
import Oplog
import Parity

/// Documents that were changed without an event, by entries marked `fromMigrate`: copies that
/// `cloneCollectionAsCapped` and `convertToCapped` make (up to 5.0 also renames to another database), and
/// operations of a user's `applyOps` that say so.
struct SilentWrites {
  /// By the collection's present name: document keys as BSON, and the position of the last such change.
  private var documents: [String: [[UInt8]: EventPosition]] = [:]

  static let most = 500_000

  /// Asks the server for those behind `position`. `changes`: what happened to whole collections since.
  static func read(
    _ options: MongoSourceOptions, after position: OplogPosition,
    _ changes: [CollectionFacts.Change]
  ) async throws -> SilentWrites {
    let entries = try await MongoAdmin.silentWrites(options, after: position, limit: most + 1)
    guard entries.count <= most else {
      throw RangeFailure(
        description:
          "more than \(most) entries of the oplog changed documents without an event (fromMigrate: convertToCapped, cloneCollectionAsCapped, applyOps), so that it can't be told which documents messages must tell of. tailrace snapshot publishes all of them"
      )
    }
    var found = SilentWrites()
    var decoder = OplogDecoder()
    decoder.readsMigrated = true
    var changes = changes[...]
    for entry in entries {
      try entry.withUnsafeBytes { bytes in
        let header = try decoder.begin(BSONView(bytes))
        while let next = changes.first, next.position.entry < header.position {
          found.apply(next.change)
          changes.removeFirst()
        }
        while let event = try decoder.next() { found.note(event) }
      }
    }
    for rest in changes { found.apply(rest.change) }
    return found
  }

  private mutating func note(_ event: ChangeEvent) {
    guard let key = event.documentKey else { return }
    let namespace = String(decoding: event.namespace, as: UTF8.self)
    documents[namespace, default: [:]][Array(key.bytes)] = EventPosition(
      entry: event.position.entry, index: .max)
  }

  private mutating func apply(_ change: CollectionChange) {
    switch change {
    case .created: break
    case .dropped(let name): documents[name] = nil
    case .databaseDropped:
      for name in documents.keys where change.touches(name) { documents[name] = nil }
    case .renamed(let from, let to): documents[to] = documents.removeValue(forKey: from)
    }
  }

  /// The documents as messages name them.
  func keys(_ configuration: BridgeConfiguration, _ naming: DocumentNaming) throws
    -> [DocumentKey: EventPosition]
  {
    var keys: [DocumentKey: EventPosition] = [:]
    var mapper = configuration.mapper(sourceName: "")
    for (namespace, found) in documents {
      let rules = naming.rules(namespace)
      let name = Array(namespace.utf8)
      let length = name.firstIndex(of: UInt8(ascii: ".")) ?? name.count
      for (key, position) in found {
        try name.withUnsafeBytes { name in
          try key.withUnsafeBytes { key in
            let event = ChangeEvent(
              operation: .delete, position: position, namespace: name, databaseLength: length,
              documentKey: try BSONView(key))
            for rule in rules {
              if let made = naming.key(event, rule, &mapper) { keys[made] = position }
            }
          }
        }
      }
    }
    return keys
  }
}

/// How documents are distinguished by what rules publish of them.
struct DocumentNaming: Sendable {
  /// The indexes of the rules to ask, by collection.
  var rules: @Sendable (String) -> [Int]
  /// The document of an event as the rule with that index names it; nil: by no name.
  var key: @Sendable (ChangeEvent, Int, inout Mapper) -> DocumentKey?

  /// By the document key in messages.
  init(_ plan: FoldPlan) {
    rules = { plan.rule(of: $0).map { [$0] } ?? [] }
    key = { event, rule, mapper in plan.key(of: event, rule: rule, &mapper) }
  }

  /// By the keys of buckets.
  init(_ plan: BucketPlan) {
    rules = { plan.rules(of: $0) }
    key = { event, rule, mapper in plan.key(of: event, rule: rule, &mapper) }
  }
}
