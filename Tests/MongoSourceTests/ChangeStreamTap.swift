import BSON
import Foundation
import MongoSource
import Oplog
import Testing

/// A change event copied from its views, to keep and compare.
struct ObservedEvent: Equatable {
  var operation: OperationType
  var namespace: String
  var to: String?
  var documentKey: [UInt8]?
  var fullDocument: [UInt8]?
  var updateDescription: [UInt8]?
  var position: EventPosition
  var wallTime: Int64?
  var lsid: [UInt8]?
  var txnNumber: Int64?
  var collectionUUID: [UInt8]?
  var operationDescription: [UInt8]?
  var stateBeforeChange: [UInt8]?

  /// The event of change streams before 6.0, if they have it.
  var asToldBefore6: ObservedEvent? {
    switch operation {
    case .create, .createIndexes, .dropIndexes, .modify: return nil
    default: break
    }
    var event = self
    event.wallTime = nil
    event.collectionUUID = nil
    return event
  }

  init(_ event: ChangeEvent) {
    operation = event.operation
    namespace = String(decoding: event.namespace, as: UTF8.self)
    to = event.to.map { String(decoding: $0, as: UTF8.self) }
    documentKey = event.documentKey.map { Array($0.bytes) }
    fullDocument = event.fullDocument.map { Array($0.bytes) }
    updateDescription = event.updateDescription.map { Array($0.bytes) }
    position = event.position
    wallTime = event.wallTime
    lsid = event.lsid.map { Array($0.bytes) }
    txnNumber = event.txnNumber
    collectionUUID = event.collectionUUID.map { Array($0) }
    operationDescription = event.operationDescription.map { Array($0.bytes) }
    stateBeforeChange = event.stateBeforeChange.map { Array($0.bytes) }
  }

  var database: Substring { namespace.prefix { $0 != "." } }

  /// The document key, if it is a number.
  var number: Int? {
    documentKey?.withUnsafeBytes { bytes in
      (try? BSONView(bytes).first("_id"))?.integer.map(Int.init)
    }
  }
}

extension ObservedEvent: CustomStringConvertible {
  var description: String {
    var parts = ["\(position) \(operation) \(namespace)"]
    if let to { parts.append("to \(to)") }
    for (name, bytes) in [
      ("key", documentKey), ("full", fullDocument), ("update", updateDescription), ("lsid", lsid),
      ("uuid", collectionUUID), ("description", operationDescription),
      ("before", stateBeforeChange),
    ] {
      if let bytes { parts.append("\(name) \(Self.text(bytes))") }
    }
    if let txnNumber { parts.append("txn \(txnNumber)") }
    if let wallTime { parts.append("wall \(wallTime)") }
    return parts.joined(separator: ", ")
  }

  private static func text(_ bytes: [UInt8]) -> String {
    var writer = ByteWriter()
    bytes.withUnsafeBytes { bytes in
      if let view = try? BSONView(bytes) { try? writer.appendJSON(view, style: .canonical) }
    }
    return writer.count > 0
      ? String(decoding: writer.bytes, as: UTF8.self)
      : bytes.map { String($0, radix: 16) }.joined(separator: " ")
  }
}

/// A `ChangeStreamReader` with its decoder, and all events taken from it.
final class StreamTap {
  let reader: ChangeStreamReader
  private(set) var events: [ObservedEvent] = []
  /// The latest batch's position and resume token.
  private(set) var last: OplogPosition?
  private(set) var token: ResumeToken?
  /// After each batch, the number of events up to there.
  private(set) var places: [(token: ResumeToken, count: Int)] = []
  private(set) var idleBatches = 0
  private(set) var generation: UInt64 = 0
  private var decoder = ChangeStreamDecoder()

  init(_ options: MongoSourceOptions, _ scope: ChangeStreamOptions.Scope = .cluster) {
    reader = ChangeStreamReader(
      options: options, stream: ChangeStreamOptions(scope: scope), logger: silentLogger,
      onChange: {})
  }

  func restart(at point: ResumePoint, after token: ResumeToken? = nil) {
    events.removeAll()
    places.removeAll()
    (last, self.token) = (nil, nil)
    generation = reader.restart(at: point, after: token)
  }

  /// Takes all queued batches; false if there are none.
  func take() throws -> Bool {
    guard let batch = reader.next() else { return false }
    defer { withExtendedLifetime(batch) {} }
    try #require(batch.generation == generation)
    var walked = 0
    var walk = batch.entries()
    while let element = try walk.next() {
      let header = try decoder.begin(BSONView(element.value), generation: batch.generation)
      #expect(header.position <= batch.last.position)
      while let event = try decoder.next() { events.append(ObservedEvent(event)) }
      walked += 1
    }
    #expect(walked == batch.count)
    if walked == 0 { idleBatches += 1 }
    if let last { #expect(batch.last.position >= last) }
    last = batch.last.position
    token = batch.resumeToken
    places.append((batch.resumeToken, events.count))
    return true
  }

  /// Takes batches until `condition` holds. Fails if reading has failed.
  func take(
    _ what: String, until condition: (StreamTap) throws -> Bool,
    sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    try await eventually(what, sourceLocation: sourceLocation) {
      while try take() {}
      if let failure = reader.failure { throw failure }
      return try condition(self)
    }
  }

  /// Waits without taking batches.
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
    events.filter { $0.operation == .insert && $0.namespace == "test.\(collection)" }
      .compactMap(\.number)
  }

  /// Ends the load, reads the rest, and compares it with the oplog reader's events: no gaps, no duplicates,
  /// in order.
  func expectAll(
    of load: Load, into collection: String, from start: ResumePoint, _ options: MongoSourceOptions,
    sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    let written = await load.finish()
    try await take(
      "the last document is read", until: { $0.inserted(collection).last == written - 1 },
      sourceLocation: sourceLocation)
    #expect(inserted(collection) == Array(0..<written), sourceLocation: sourceLocation)
    let last = try #require(events.last?.position.entry)
    let truth = try await OplogEvents.read(options, from: start, through: last)
    let told = MongoProgram.major >= 6 ? truth : truth.compactMap(\.asToldBefore6)
    #expect(events == told, sourceLocation: sourceLocation)
  }
}

/// The events of the oplog reader and decoder.
enum OplogEvents {
  static func read(
    _ options: MongoSourceOptions, from start: ResumePoint, through last: OplogPosition
  ) async throws -> [ObservedEvent] {
    let reader = OplogReader(options: options, logger: silentLogger, onChange: {})
    defer { reader.stop() }
    reader.restart(at: start)
    var events: [ObservedEvent] = []
    var decoder = OplogDecoder()
    var reached = OplogPosition(seconds: 0, increment: 0)
    try await eventually("the oplog is read") {
      while reached < last, let batch = reader.next() {
        try withExtendedLifetime(batch) {
          var walk = batch.entries()
          while let element = try walk.next() {
            reached = try decoder.begin(BSONView(element.value)).position
            guard reached <= last else { return }
            while let event = try decoder.next() { events.append(ObservedEvent(event)) }
          }
        }
      }
      if let failure = reader.failure { throw failure }
      return reached >= last
    }
    return events
  }
}
