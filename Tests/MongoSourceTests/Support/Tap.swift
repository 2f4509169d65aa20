import BSON
import Foundation
import Logging
import MongoSource
import Oplog
import Synchronization
import Testing

/// An `OplogReader` and everything taken from it.
final class Tap {
  struct Entry: Equatable {
    var point: ResumePoint
    var operation: String
    var namespace: String
    /// `o._id` or `o2._id`, if it is a number.
    var number: Int?

    var position: String { "\(point.position) \(point.term ?? -1)" }
  }

  let reader: OplogReader
  private(set) var entries: [Entry] = []
  private(set) var batches = 0
  private(set) var generation: UInt64 = 0
  let changes: Counter

  final class Counter: Sendable {
    private let value = Atomic<Int>(0)
    func increase() { value.add(1, ordering: .relaxed) }
    var count: Int { value.load(ordering: .relaxed) }
  }

  init(_ options: MongoSourceOptions) {
    let changes = Counter()
    self.changes = changes
    reader = OplogReader(options: options, logger: silentLogger) { changes.increase() }
  }

  convenience init(_ uri: String) {
    self.init(MongoSourceOptions(uri: uri))
  }

  func restart(at point: ResumePoint) {
    entries.removeAll()
    generation = reader.restart(at: point)
  }

  /// Takes all queued batches; false if there are none.
  func take() throws -> Bool {
    guard let batch = reader.next() else { return false }
    defer { withExtendedLifetime(batch) {} }
    try #require(batch.generation == generation)
    var walked = 0
    var walk = batch.entries()
    while let element = try walk.next() {
      entries.append(try Self.entry(BSONView(element.value)))
      walked += 1
    }
    #expect(walked == batch.count)
    #expect(walked > 0)
    #expect(entries.last?.point == batch.last)
    batches += 1
    return true
  }

  /// Takes batches until `condition` holds. Fails if reading has failed.
  func take(
    _ what: String, until condition: (Tap) throws -> Bool,
    sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    try await eventually(what, sourceLocation: sourceLocation) {
      while try take() {}
      if let failure = reader.failure { throw failure }
      return try condition(self)
    }
  }

  /// Waits without taking batches: a reader whose queue is full doesn't read from the server.
  func wait(
    _ what: String, until condition: (SourceStatus) -> Bool,
    sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    try await eventually(what, sourceLocation: sourceLocation) { condition(reader.status) }
  }

  /// The number of failed attempts to reopen; 0 while reading.
  var attempt: Int {
    if case .reopening(_, let attempt) = reader.status.phase { attempt } else { 0 }
  }

  /// The numbers of documents inserted into a collection, in the order they were read.
  func inserted(_ collection: String) -> [Int] {
    entries.filter { $0.operation == "i" && $0.namespace == "test.\(collection)" }
      .compactMap(\.number)
  }

  /// Ends the load, reads the rest, and compares it with an ordinary cursor: no gaps, no duplicates, in
  /// order.
  func expectAll(
    of load: Load, into collection: String, from start: ResumePoint,
    sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    let written = await load.finish()
    try await take(
      "the last document is read", until: { $0.inserted(collection).last == written - 1 },
      sourceLocation: sourceLocation)
    #expect(inserted(collection) == Array(0..<written), sourceLocation: sourceLocation)
    let truth = try await MongoWriter(load.uri).oplog(
      from: start.position.seconds, start.position.increment)
    #expect(
      Array(truth.prefix(entries.count)) == entries.map(\.position),
      sourceLocation: sourceLocation)
  }

  private static func entry(_ view: BSONView) throws -> Entry {
    let point = try #require(try ResumePoint(view))
    let operation = try text(view, "op")
    let namespace = try text(view, "ns")
    let document = try operation == "u" ? view.first("o2") : view.first("o")
    let number = try document?.document?.first("_id")?.integer
    return Entry(
      point: point, operation: operation, namespace: namespace, number: number.map(Int.init))
  }

  private static func text(_ view: BSONView, _ key: StaticString) throws -> String {
    let string = try #require(try view.first(key)?.string)
    return String(decoding: string, as: UTF8.self)
  }
}

/// Waits until the condition holds. The limit only keeps a failing test from hanging; `look` describes the
/// state of the servers then.
func eventually(
  _ what: String, sourceLocation: SourceLocation = #_sourceLocation,
  look: @autoclosure () -> String = "", _ condition: () async throws -> Bool
) async throws {
  let limit = ContinuousClock.now + .seconds(180)
  while try await !condition() {
    if ContinuousClock.now > limit {
      Issue.record("not within three minutes: \(what) \(look())", sourceLocation: sourceLocation)
      throw CancellationError()
    }
    try await Task.sleep(for: .milliseconds(5))
  }
}

/// Discards the log of faults that tests provoke.
let silentLogger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
