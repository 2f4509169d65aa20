import BSON
import Bridge
import BridgeConfiguration
import MongoSource
package import Oplog
package import Parity

/// What happened to whole collections, by the oplog: rules need not take it, and then no message says why
/// documents are gone.
package struct CollectionFacts: Sendable {
  package struct Change: Sendable {
    package var position: EventPosition
    package var change: CollectionChange

    package init(_ position: EventPosition, _ change: CollectionChange) {
      self.position = position
      self.change = change
    }
  }

  /// In the oplog's order.
  let changes: [Change]
  /// What happened before the oplog's first entry is not known.
  let since: OplogPosition
  /// Documents that were changed without an event, and where that last happened.
  package var silent: [DocumentKey: EventPosition] = [:]

  package init(changes: [Change], since: OplogPosition) {
    self.changes = changes
    self.since = since
  }

  /// Asks the server for what happened behind `position`.
  static func read(
    _ configuration: BridgeConfiguration, _ naming: DocumentNaming, after position: OplogPosition
  ) async throws -> CollectionFacts {
    let options = configuration.mongoSourceOptions
    let since = try await MongoAdmin.oldestPosition(options).position
    var decoder = OplogDecoder()
    var changes: [Change] = []
    for entry in try await MongoAdmin.collectionCommands(options, after: position) {
      try entry.withUnsafeBytes { bytes in
        _ = try decoder.begin(BSONView(bytes))
        while let event = try decoder.next() {
          guard let change = CollectionChange(event) else { continue }
          changes.append(Change(event.position, change))
        }
      }
    }
    var facts = CollectionFacts(changes: changes, since: since)
    facts.silent = try await SilentWrites.read(options, after: position, changes)
      .keys(configuration, naming)
    return facts
  }

  /// Those in the range that concern what is folded from the stream, and that its messages don't tell.
  func untold(
    _ plan: FoldPlan, in stream: Int, _ range: ClosedRange<EventPosition>
  ) -> [Change] {
    changes.filter {
      range.contains($0.position) && !plan.isTold($0.change, in: stream)
        && !plan.steps($0.change, in: stream).isEmpty
    }
  }

  /// Those in the range that concern anything that is folded, and that no message tells.
  func unexplained(_ plan: FoldPlan, _ range: ClosedRange<EventPosition>) -> [Change] {
    changes.filter { change in
      range.contains(change.position)
        && plan.streams.contains { stream in
          !plan.isTold(change.change, in: stream)
            && plan.steps(change.change, in: stream).contains { step in
              // The drops of a database's collections are changes of their own.
              !step.isOfDatabase
            }
        }
    }
  }

  /// The first change behind `position` after which the collection's documents are others.
  func first(of namespace: String, after position: EventPosition) -> Change? {
    changes.first { $0.position > position && $0.change.touches(namespace) }
  }
}

extension FoldStep {
  fileprivate var isOfDatabase: Bool {
    if case .databaseDropped = self { return true }
    return false
  }
}
