import Bridge
import JSON
import Mapping
package import Oplog

/// What happened to a whole collection, or a database.
package enum CollectionChange: Sendable, Equatable {
  case dropped(String)
  case created(String)
  case databaseDropped(String)
  case renamed(from: String, to: String)

  /// As a message tells it: nil where it is something else.
  init?(_ operation: String, _ namespace: String, _ event: JSONValue) {
    switch operation {
    case "drop": self = .dropped(namespace)
    // Only a collection's own making says that it is empty; a view has no documents.
    case "create": self = .created(namespace)
    case "dropDatabase": self = .databaseDropped(namespace)
    case "rename":
      let target = event["to"] ?? event["operationDescription"]?["to"]
      guard let database = target?["db"]?.stringValue, let name = target?["coll"]?.stringValue
      else { return nil }
      self = .renamed(from: namespace, to: "\(database).\(name)")
    default: return nil
    }
  }

  /// As the oplog tells it.
  package init?(_ event: ChangeEvent) {
    let namespace = String(decoding: event.namespace, as: UTF8.self)
    switch event.operation {
    case .drop: self = .dropped(namespace)
    case .dropDatabase: self = .databaseDropped(namespace)
    case .rename:
      guard let to = event.to else { return nil }
      self = .renamed(from: namespace, to: String(decoding: to, as: UTF8.self))
    default: return nil
    }
  }

  /// For people.
  var words: String {
    switch self {
    case .dropped(let name): "\(name) was dropped"
    case .created(let name): "\(name) was made"
    case .databaseDropped(let name): "database \(name) was dropped"
    case .renamed(let from, let to): "\(from) was renamed to \(to)"
    }
  }

  var operation: OperationType {
    switch self {
    case .dropped: .drop
    case .created: .create
    case .databaseDropped: .dropDatabase
    case .renamed: .rename
    }
  }

  /// Of which rules take it; nil: a whole database.
  var namespace: String? {
    switch self {
    case .dropped(let name), .created(let name), .renamed(let name, _): name
    case .databaseDropped: nil
    }
  }

  var database: String {
    switch self {
    case .dropped(let name), .created(let name), .databaseDropped(let name),
      .renamed(let name, _):
      String(decoding: name.utf8.prefix { $0 != UInt8(ascii: ".") }, as: UTF8.self)
    }
  }

  /// Whether documents of the collection are others since.
  package func touches(_ name: String) -> Bool {
    switch self {
    case .dropped(let one), .created(let one): one.isSame(as: name)
    case .databaseDropped(let one): name.utf8.starts(with: "\(one).".utf8)
    case .renamed(let from, let to): from.isSame(as: name) || to.isSame(as: name)
    }
  }

  /// Whether documents of a collection of the pattern are others since.
  func touches(_ pattern: NamespacePattern) -> Bool {
    switch self {
    case .dropped(let one), .created(let one): pattern.matches(one)
    case .databaseDropped(let one): pattern.matches(database: one)
    case .renamed(let from, let to): pattern.matches(from) || pattern.matches(to)
    }
  }
}
