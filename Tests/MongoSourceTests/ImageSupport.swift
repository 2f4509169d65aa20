import BSON
import CMongoC
import Foundation
import MongoSource
import Oplog
import Synchronization
import TestRandom
import Testing

/// The expected image of every update, derived from the oplog: fields set one at a time.
struct ImageModel {
  typealias Fields = [String: Int]
  private(set) var documents: [String: Fields] = [:]

  /// A document that existed before.
  mutating func load(_ document: BSONView, in namespace: String) throws {
    let id = try #require(try document.first("_id"))
    documents[Self.name(id, namespace)] = try Self.fields(document)
  }

  /// The document after `event`, if any. Only integer fields are included.
  mutating func apply(_ event: ChangeEvent) throws -> Fields? {
    let namespace = String(decoding: event.namespace, as: UTF8.self)
    switch event.operation {
    case .insert, .replace:
      documents[try Self.name(event, namespace)] = try Self.fields(event.fullDocument)
    case .update:
      let name = try Self.name(event, namespace)
      let description = try #require(event.updateDescription)
      let updated = try Self.fields(description.first("updatedFields")?.document)
      let id = try event.documentKey?.first("_id")?.integer.map { ["_id": Int($0)] } ?? [:]
      documents[name, default: id].merge(updated) { $1 }
    case .delete: documents[try Self.name(event, namespace)] = nil
    case .drop: documents = documents.filter { !$0.key.hasPrefix(namespace + " ") }
    case .rename:
      let to = String(decoding: try #require(event.to), as: UTF8.self)
      // The previous collection with that name, if any.
      documents = documents.filter { !$0.key.hasPrefix(to + " ") }
      for (name, fields) in documents where name.hasPrefix(namespace + " ") {
        documents[name] = nil
        documents[to + name.dropFirst(namespace.count)] = fields
      }
    default: break
    }
    guard event.documentKey != nil else { return nil }
    return documents[try Self.name(event, namespace)]
  }

  static func fields(_ view: BSONView?) throws -> Fields {
    var fields: Fields = [:]
    var walk = try #require(view).elements()
    while let element = try walk.next() {
      if let n = element.integer { fields[String(decoding: element.key, as: UTF8.self)] = Int(n) }
    }
    return fields
  }

  private static func name(_ event: ChangeEvent, _ namespace: String) throws -> String {
    name(try #require(try event.documentKey?.first("_id")), namespace)
  }

  private static func name(_ id: BSONElement, _ namespace: String) -> String {
    "\(namespace) \(id.type.rawValue) \(Array(id.value))"
  }
}

/// Reads the oplog, requests the image of every update in some collections, and compares.
final class ImageTap {
  struct Seen {
    var position: EventPosition
    var kind: ImageKind
    /// The expected and the actual document.
    var expected: ImageModel.Fields?
    var found: ImageModel.Fields?
  }

  let images: ImageReader
  private let reader: OplogReader
  private let prefix: String
  private var generation: UInt64 = 0
  private var imageGeneration: UInt64 = 0
  private var model = ImageModel()
  private var decoder = OplogDecoder()
  private(set) var seen: [Seen] = []
  private(set) var events = 0
  /// Batches of the oplog that hold something to ask for.
  private(set) var asking: UInt64 = 0
  /// Time spent waiting for images.
  private(set) var waited = Duration.zero
  private(set) var last: OplogPosition?

  /// - Parameter prefix: of the collection names in the database `test`.
  init(_ options: MongoSourceOptions, collections prefix: String, bytesPerAnswer: Int = 48 << 20) {
    reader = OplogReader(options: options, logger: silentLogger) {}
    images = ImageReader(options: options, logger: silentLogger, bytesPerAnswer: bytesPerAnswer)
    self.prefix = "test." + prefix
  }

  func start(at point: ResumePoint) {
    generation = reader.restart(at: point)
    imageGeneration = images.restart()
  }

  /// Reads on until `condition` holds.
  func read(
    _ what: String, pause: Duration = .zero, until condition: (ImageTap) throws -> Bool,
    sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    try await eventually(what, sourceLocation: sourceLocation) {
      while let batch = reader.next() {
        if pause > .zero { try await Task.sleep(for: pause) }
        try await take(batch)
      }
      if let failure = reader.failure { throw failure }
      return try condition(self)
    }
  }

  private func take(_ batch: OplogBatch) async throws {
    var request = ImageRequest()
    var wanted: [(EventPosition, ImageModel.Fields?)] = []
    try decode(batch, &request, &wanted)
    last = batch.last.position
    var done = 0
    if request.count > 0 { asking += 1 }
    while request.count > 0 {
      let began = ContinuousClock.now
      let answer = await ask(request)
      waited += ContinuousClock.now - began
      try #require(answer.generation == imageGeneration)
      try #require(answer.count > 0 && answer.count <= request.count)
      defer { withExtendedLifetime(answer) {} }
      for index in 0..<answer.count {
        let image = answer[index]
        try #require((image.document == nil) == (image.kind == .none))
        let found = try image.document.map { try ImageModel.fields($0) }
        let (position, expected) = wanted[done + index]
        seen.append(
          Seen(position: position, kind: image.kind, expected: expected, found: found))
      }
      done += answer.count
      request = request.remaining(from: answer.count)
    }
    try #require(done == wanted.count)
  }

  private func decode(
    _ batch: OplogBatch, _ request: inout ImageRequest,
    _ wanted: inout [(EventPosition, ImageModel.Fields?)]
  ) throws {
    defer { withExtendedLifetime(batch) {} }
    var walk = batch.entries()
    while let element = try walk.next() {
      _ = try decoder.begin(BSONView(element.value))
      while let event = try decoder.next() {
        guard String(decoding: event.namespace, as: UTF8.self).hasPrefix(prefix) else { continue }
        events += 1
        let expected = try model.apply(event)
        if request.add(event, wanted: true) != nil { wanted.append((event.position, expected)) }
      }
    }
  }

  private func ask(_ request: ImageRequest) async -> ImageAnswer {
    await withCheckedContinuation { continuation in
      images.submit(request, generation: imageGeneration) { continuation.resume(returning: $0) }
    }
  }

  func count(_ kind: ImageKind) -> Int { seen.count { $0.kind == kind } }

  /// No inexact image may be reported as exact.
  func expectExact(sourceLocation: SourceLocation = #_sourceLocation) {
    let wrong = seen.filter { $0.kind == .post && $0.found != $0.expected }
    #expect(
      wrong.isEmpty, "\(wrong.count) wrong, such as \(wrong.prefix(3))",
      sourceLocation: sourceLocation)
  }

  func stop() {
    reader.stop()
    images.stop()
  }
}

/// Concurrent writes of several clients to a few documents: sets fields, replaces, deletes, inserts, and
/// changes documents several times in a transaction.
final class ImageLoad: Sendable {
  let uri: String
  private let collections: [String]
  private let documents: Int
  private let written = Atomic<Int>(0)
  private let over = Atomic<Bool>(false)
  private let tasks = Mutex<[Task<Void, Never>]>([])

  var count: Int { written.load(ordering: .acquiring) }

  /// - Parameter collections: the first is written by one client only, with transactions, which
  ///   would conflict with others' writes.
  init(_ uri: String, into collections: [String], documents: Int) {
    self.uri = uri
    self.collections = collections
    self.documents = documents
  }

  func start(clients: Int = 4) {
    tasks.withLock { tasks in
      for client in 0..<clients { tasks.append(Task { await run(client) }) }
    }
  }

  func finish() async {
    over.store(true, ordering: .releasing)
    for task in tasks.withLock({ $0 }) { await task.value }
  }

  private func run(_ client: Int) async {
    var random = SeededRandom(seed: UInt64(client))
    var writer: MongoWriter?
    while !over.load(ordering: .acquiring) {
      do {
        let current = try writer ?? MongoWriter(uri)
        writer = current
        let number = client == 0 ? 0 : Int.random(in: 1..<collections.count, using: &random)
        try await write(current, to: number, &random)
      } catch {
        writer = nil
        try? await Task.sleep(for: .milliseconds(20))
      }
    }
  }

  private func write(_ writer: MongoWriter, to number: Int, _ random: inout SeededRandom)
    async throws
  {
    let collection = collections[number]
    let n = written.add(1, ordering: .acquiringAndReleasing).newValue
    let id = Int.random(in: 0..<documents, using: &random)
    func set(_ field: String, _ id: Int) -> String {
      #"{"q":{"_id":\#(id)},"u":{"$set":{"\#(field)":\#(n)}},"upsert":true}"#
    }
    switch Int.random(in: 0...19, using: &random) {
    case 0:
      try await writer.command(
        #"{"delete":"\#(collection)","deletes":[{"q":{"_id":\#(id)},"limit":1}]}"#)
    case 1, 2:
      try await writer.command(
        #"{"update":"\#(collection)","updates":[{"q":{"_id":\#(id)},"u":{"a":\#(n),"c":\#(n)},"#
          + #""upsert":true}]}"#)
    case 3...6 where number == 0:
      // The same document twice and another one, all in one transaction.
      let steps = [set("t", id), set("t", (id + 1) % documents), set("u", id)]
      try await writer.transaction(
        #"{"update":"\#(collection)","updates":[\#(steps.joined(separator: ","))]}"#)
    default:
      let field = ["a", "b", "c"][Int.random(in: 0...2, using: &random)]
      try await writer.command(
        #"{"update":"\#(collection)","updates":[\#(set(field, id))]}"#)
    }
  }
}

extension MongoWriter {
  /// The bytes of an Extended JSON document.
  static func bson(_ json: String) throws -> [UInt8] {
    var error = bson_error_t()
    guard let document = bson_new_from_json(json, -1, &error) else { throw failure(error) }
    defer { bson_destroy(document) }
    guard let bytes = bson_get_data(document) else { return [] }
    let length = UnsafeRawPointer(bytes).loadUnaligned(as: Int32.self)
    return Array(UnsafeBufferPointer(start: bytes, count: Int(length)))
  }

  /// Runs one command in its own transaction.
  func transaction(_ json: String, database: String = "test") async throws {
    try await withSession { client, session in
      var error = bson_error_t()
      guard mongoc_client_session_start_transaction(session, nil, &error) else {
        throw Self.failure(error)
      }
      guard let command = bson_new_from_json(json, -1, &error) else { throw Self.failure(error) }
      defer { bson_destroy(command) }
      let options = bson_new()
      defer { bson_destroy(options) }
      guard mongoc_client_session_append(session, options, &error) else {
        throw Self.failure(error)
      }
      guard
        mongoc_client_write_command_with_opts(client, database, command, options, nil, &error)
      else {
        mongoc_client_session_abort_transaction(session, nil)
        throw Self.failure(error)
      }
      guard mongoc_client_session_commit_transaction(session, nil, &error) else {
        throw Self.failure(error)
      }
    }
  }
}
