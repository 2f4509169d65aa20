import BSON
import Bridge
import BridgeConfiguration
import JSON
import Logging
import Mapping
import MongoSource
import NIOCore
import NIOPosix
package import Oplog
import Synchronization

/// A document, as an operator names it.
public struct WantedDocument: Sendable, Equatable {
  /// `database.collection`
  public var namespace: String
  /// Its `_id`: the text of a string, number, ObjectId, UUID or date, or Extended JSON.
  public var id: String

  public init(namespace: String, id: String) {
    self.namespace = namespace
    self.id = id
  }

  /// Whether an event is of the document.
  package func matches(_ event: borrowing ChangeEvent) -> Bool {
    guard event.namespace.elementsEqual(namespace.utf8), let key = event.documentKey,
      let element = try? key.first("_id")
    else { return false }
    let wanted = id.utf8.filter { $0 != 0x20 }
    for style in [JSONStyle.simplified, .relaxed, .canonical] {
      var out = ByteWriter(capacity: 64)
      guard (try? out.appendJSON(value: element, style: style)) != nil else { continue }
      var text = Array(out.bytes)
      if text.elementsEqual(wanted) { return true }
      // A string's text without its quotes, as it was written.
      if text.count >= 2, text.first == UInt8(ascii: "\""), text.last == UInt8(ascii: "\"") {
        text = Array(text.dropFirst().dropLast())
        if text.elementsEqual(id.utf8) { return true }
      }
    }
    return element.string?.elementsEqual(id.utf8) ?? false
  }
}

/// Walks through the oplog for events that fit.
struct OplogSearch: Sendable {
  let configuration: BridgeConfiguration
  let logger: Logger
  /// How long MongoDB may send nothing.
  private static let patience = Duration.seconds(20)

  /// Which events are looked for.
  enum Wanted: Sendable {
    case document(WantedDocument)
    /// Of which a rule makes a message with this id.
    case id(String, sourceName: String)
  }

  /// The last of those that fit, the oldest first, and how many there are.
  struct Result: Sendable {
    var positions: [EventPosition]
    var count: Int
  }

  /// - Parameter most: how many are returned.
  func search(
    _ wanted: Wanted, from first: OplogPosition, through last: OplogPosition, most: Int
  ) async throws -> Result {
    let changes = LiveChanges(
      configuration, reader: configuration.source.reader, logger: logger, patience: Self.patience,
      wantsDocuments: false)
    defer { changes.stop() }
    let loop = MultiThreadedEventLoopGroup.singleton.next()
    let sieve = Sieve(wanted, configuration, most)
    try await changes.walk(
      EventPosition(entry: first, index: 0)...EventPosition(entry: last, index: .max), on: loop,
      mayContinue: { true }, sieve.take)
    return try await loop.submit { sieve.result }.get()
  }

  /// Sendable invariant: touched on the walk's event loop only.
  private final class Sieve: @unchecked Sendable {
    private let wanted: Wanted
    private let most: Int
    private var maker: MessageMaker
    private(set) var result = Result(positions: [], count: 0)

    init(_ wanted: Wanted, _ configuration: BridgeConfiguration, _ most: Int) {
      self.wanted = wanted
      self.most = most
      var name = ""
      if case .id(_, let sourceName) = wanted { name = sourceName }
      maker = MessageMaker(configuration, sourceName: name)
    }

    @Sendable func take(_ event: ChangeEvent) {
      switch wanted {
      case .document(let document): guard document.matches(event) else { return }
      case .id(let id, _): guard makes(id, event) else { return }
      }
      result.count += 1
      result.positions.append(event.position)
      if result.positions.count > most { result.positions.removeFirst() }
    }

    private func makes(_ id: String, _ event: ChangeEvent) -> Bool {
      var cursor = maker.begin(event)
      while !cursor.isDone, let rule = cursor.rule {
        if maker.identity(event, rule: rule, match: cursor.match) == id { return true }
        maker.skip(event, &cursor)
      }
      return false
    }
  }
}
