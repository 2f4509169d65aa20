import BSON
import Foundation
import MongoSource
import Oplog
import Testing

/// A `SnapshotReader`, everything taken from it, and the oplog read after it.
final class SnapshotTap {
  let reader: SnapshotReader
  private let options: MongoSourceOptions
  private let prefix: String
  private var generation: UInt64 = 0
  /// The state of a consumer that applies documents and then events by their ids.
  private(set) var model = ImageModel()
  /// The ids of each collection in the order they came: type and value.
  private(set) var ids: [String: [[UInt8]]] = [:]
  private(set) var batches = 0
  private(set) var exactBatches = 0
  private(set) var ended: [String] = []
  /// Namespaces that were not read at the position.
  private(set) var inexact: Set<String> = []
  private(set) var marker: SnapshotMarker?

  /// - Parameter prefix: of the collection names in the database `test`.
  init(_ options: MongoSourceOptions, collections prefix: String) {
    self.options = options
    self.prefix = prefix
    reader = SnapshotReader(
      options: options, filter: { $0 == "test" && $1.hasPrefix(prefix) }, logger: silentLogger,
      onChange: {})
  }

  func start(from marker: SnapshotMarker? = nil) { generation = reader.restart(from: marker) }

  /// Takes all queued batches.
  func take(atMost limit: Int = .max) throws {
    var taken = 0
    while taken < limit, let batch = reader.next() {
      taken += 1
      defer { withExtendedLifetime(batch) {} }
      try #require(batch.generation == generation)
      var count = 0
      var walk = batch.elements()
      while let element = try walk.next() {
        let document = try #require(element.document)
        let id = try #require(try document.first("_id"))
        ids[batch.namespace, default: []].append([id.type.rawValue] + Array(id.value))
        try model.load(document, in: batch.namespace)
        count += 1
      }
      try #require(count == batch.count)
      try #require(count > 0 || batch.isLast)
      batches += 1
      if batch.isExact { exactBatches += 1 } else { inexact.insert(batch.namespace) }
      if batch.isLast { ended.append(batch.namespace) }
      try #require(SnapshotMarker(encoded: batch.marker.encoded()) == batch.marker)
      marker = batch.marker
    }
  }

  /// Takes all batches and returns the position to tail from.
  func finish(sourceLocation: SourceLocation = #_sourceLocation) async throws -> ResumePoint {
    var position: ResumePoint?
    try await eventually("the snapshot is done", sourceLocation: sourceLocation) {
      if let failure = reader.failure { throw failure }
      // The phase first: nothing is queued after it.
      if case .finished(let from) = reader.status.phase { position = from }
      try take()
      return position != nil
    }
    return try #require(position)
  }

  /// Applies all events after `position` up to now.
  func tail(from position: ResumePoint) async throws {
    // Majority-committed, and so is everything before it.
    let n = Int.random(in: 0...1_000_000_000)
    try await MongoWriter(options.uri).insert(n..<n + 1, into: "fence")
    let end = try await majorityPosition(options)
    let oplog = OplogReader(options: options, logger: silentLogger) {}
    oplog.restart(at: position)
    var decoder = OplogDecoder()
    var last = position.position
    while last < end.position {
      guard let batch = oplog.next() else {
        if let failure = oplog.failure { throw failure }
        try await Task.sleep(for: .milliseconds(5))
        continue
      }
      defer { withExtendedLifetime(batch) {} }
      last = batch.last.position
      var walk = batch.entries()
      while let element = try walk.next() {
        let header = try decoder.begin(BSONView(element.value))
        guard header.position > position.position else { continue }
        while let event = try decoder.next() {
          if String(decoding: event.namespace, as: UTF8.self).hasPrefix("test.\(prefix)") {
            _ = try model.apply(event)
          }
        }
      }
    }
    oplog.stop()
  }

  /// Compares the consumer's state with the collections, whose ids are numbers.
  func expectTruth(
    _ collections: [String], _ uri: String, sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    let writer = try MongoWriter(uri)
    var truth: [String: ImageModel.Fields] = [:]
    for collection in collections {
      for document in try await writer.documents(of: collection) {
        let id = try #require(document["_id"])
        let bytes = withUnsafeBytes(of: Int32(id).littleEndian) { Array($0) }
        truth["test.\(collection) 16 \(bytes)"] = document
      }
    }
    let wrong = Set(truth.keys).union(model.documents.keys).filter {
      truth[$0] != model.documents[$0]
    }
    #expect(
      wrong.isEmpty,
      """
      \(wrong.count) wrong, such as \
      \(wrong.prefix(3).map { ($0, truth[$0] as Any, model.documents[$0] as Any) })
      """, sourceLocation: sourceLocation)
    #expect(truth.count > 0 || collections.isEmpty, sourceLocation: sourceLocation)
  }
}

extension MongoWriter {
  /// All documents of a collection with their integers.
  func documents(of collection: String) async throws -> [ImageModel.Fields] {
    struct Reply: Decodable {
      struct Cursor: Decodable {
        var firstBatch: [[String: Value]]
        var id: Int
      }
      var cursor: Cursor
    }
    struct Value: Decodable {
      var number: Int?
      init(from decoder: any Decoder) throws {
        number = try? decoder.singleValueContainer().decode(Int.self)
      }
    }
    let reply = try await command(
      #"{"find":"\#(collection)","batchSize":1000000,"readConcern":{"level":"majority"}}"#)
    let decoded = try JSONDecoder().decode(Reply.self, from: Data(reply.utf8))
    guard decoded.cursor.id == 0 else {
      throw Failure(code: 0, description: "\(collection) is too large for one reply")
    }
    return decoded.cursor.firstBatch.map { $0.compactMapValues(\.number) }
  }
}
