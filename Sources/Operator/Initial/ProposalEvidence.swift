public import BSON
public import Bridge
public import BridgeConfiguration
public import Logging
import Mapping
import MongoSource
import NIOCore
import NIOPosix
public import Oplog
public import SchemaInference

/// What a draft's rules make of documents and of events: sizes, ids, and what bodies have in common.
///
/// Sendable invariant: one thread at a time uses it, and others only after that has ended.
public final class ProposalEvidence: @unchecked Sendable {
  public struct Rule {
    /// Of events; documents that were only looked at don't count.
    public internal(set) var messages = 0
    var bodyBytes = 0
    var headerBytes = 0
    var subjectBytes = 0
    /// Of bodies of all kinds.
    public let inference = SchemaInference()
    fileprivate var ids: Set<Int> = []
    /// Two events had the same id.
    public internal(set) var repeatsIDs = false

    mutating func add(_ other: Rule) {
      messages += other.messages
      bodyBytes += other.bodyBytes
      headerBytes += other.headerBytes
      subjectBytes += other.subjectBytes
    }
  }

  /// By name.
  public private(set) var rules: [String: Rule] = [:]
  /// Collections with a document whose `_id` is an empty text.
  private(set) var emptyKeys: Set<String> = []
  private var maker: MessageMaker
  private var sink: BufferSink
  private let names: [String]
  private static let mostIDs = 500_000

  public init(_ configuration: BridgeConfiguration, sourceName: String) {
    maker = MessageMaker(configuration, sourceName: sourceName)
    sink = BufferSink(configuration, maximumPayload: 64 << 20)
    names = configuration.rules.map(\.name)
    for name in names { rules[name] = Rule() }
  }

  public func take(_ event: ChangeEvent) { take(event, isEvent: true) }

  /// A document as if it were inserted.
  public func take(document: BSONView, database: String, collection: String) {
    var key = ByteWriter(capacity: 64)
    let mark = key.beginDocument()
    guard let id = try? document.first("_id") else { return }
    key.append(element: id)
    key.endDocument(mark)
    let namespace = Array("\(database).\(collection)".utf8)
    namespace.withUnsafeBytes { namespace in
      var event = ChangeEvent(
        operation: .insert,
        position: EventPosition(entry: OplogPosition(seconds: 1, increment: 1), index: 0),
        namespace: namespace, databaseLength: database.utf8.count)
      event.fullDocument = document
      // The writer is not changed while the event is in use.
      event.documentKey = try? BSONView(key.bytes)
      take(event, isEvent: false)
    }
    withExtendedLifetime(key) {}
  }

  private func take(_ event: ChangeEvent, isEvent: Bool) {
    if let id = try? event.documentKey?.first("_id")?.string, id.isEmpty {
      emptyKeys.insert(String(decoding: event.namespace, as: UTF8.self))
    }
    var cursor = maker.begin(event)
    while !cursor.isDone {
      switch maker.step(event, &cursor, buffer: &sink) {
      case .sent(let rule): note(names[rule], isEvent: isEvent)
      case .halt: return
      case .deadLetter, .dropped, .filtered, .invalid, .unmatched, .passed, .full: break
      }
    }
  }

  private func note(_ rule: String, isEvent: Bool) {
    // The maker writes JSON; a body that is none would be a fault of its own.
    try? rules[rule]?.inference.observe(sink.body)
    guard isEvent else { return }
    rules[rule]?.messages += 1
    rules[rule]?.bodyBytes += sink.body.count
    rules[rule]?.headerBytes += sink.headers.count
    rules[rule]?.subjectBytes += sink.subject.count
    guard let id = sink.headers.split(separator: UInt8(ascii: "\r"), maxSplits: 1).first,
      (rules[rule]?.ids.count ?? 0) < Self.mostIDs
    else { return }
    var hasher = Hasher()
    hasher.combine(bytes: UnsafeRawBufferPointer(rebasing: id))
    if rules[rule]?.ids.insert(hasher.finalize()).inserted == false {
      rules[rule]?.repeatsIDs = true
    }
  }

  // MARK: The oplog

  /// How long MongoDB may send nothing.
  private static let patience = Duration.seconds(20)

  /// Takes the events of a range; transactions that began before it are passed over.
  ///
  /// - Returns: the seconds between the first and the last entry.
  public func take(
    from first: OplogPosition, through last: OplogPosition, _ configuration: BridgeConfiguration,
    logger: Logger
  ) async throws(BridgeError) -> Double {
    let changes = LiveChanges(
      configuration, reader: .oplog, logger: logger, patience: Self.patience)
    defer { changes.stop() }
    let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
    let walker = ChangeWalker(
      changes.reader, WalkRange(from: first, isInclusive: true, through: last),
      changes.wishes(on: eventLoop), passesOverCut: true, mayContinue: { true },
      { [self] event in take(event) })
    do {
      _ = try await changes.follow(
        walker, from: ResumePoint(position: first, term: nil), on: eventLoop, .progress
      ) { true }
      let extent = try await eventLoop.submit {
        (walker.extent.first?.seconds ?? 0, walker.extent.last?.seconds ?? 0)
      }.get()
      return Double(Int(extent.1) - Int(extent.0))
    } catch let error as BridgeError {
      throw error
    } catch {
      throw .unavailable("\(error)")
    }
  }
}
