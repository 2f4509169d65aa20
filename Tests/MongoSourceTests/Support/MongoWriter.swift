import BSON
import CMongoC
import Foundation

/// A plain libmongoc client for the tests' writes and queries, independent of the code under test.
///
/// Invariant behind `@unchecked Sendable`: the client is used only on `queue`, a serial queue, whose
/// blocks hold a reference. So `deinit` frees it when no block is left.
final class MongoWriter: @unchecked Sendable {
  struct Failure: Error, CustomStringConvertible {
    var code: UInt32
    var description: String
  }

  private let client: OpaquePointer
  private let queue = DispatchQueue(label: "writer")

  init(_ uri: String) throws {
    mongoc_init()
    guard let client = mongoc_client_new(uri) else {
      throw Failure(code: 0, description: "bad connection string")
    }
    mongoc_client_set_error_api(client, 2)
    self.client = client
  }

  deinit { mongoc_client_destroy(client) }

  /// Runs a command in Extended JSON and returns the reply in Extended JSON.
  @discardableResult
  func command(_ json: String, database: String = "test") async throws -> String {
    try await perform { client in
      var error = bson_error_t()
      guard let command = bson_new_from_json(json, -1, &error) else {
        throw Failure(code: error.code, description: "\(json): no JSON")
      }
      var reply = tailrace_reply()
      guard
        let server = mongoc_client_select_server(client, true, nil, &error)
      else {
        bson_destroy(command)
        throw Self.failure(error)
      }
      defer { mongoc_server_description_destroy(server) }
      guard
        tailrace_run(
          client, nil, mongoc_server_description_id(server), database, command, &reply, &error),
        let bytes = reply.bytes
      else { throw Self.failure(error) }
      defer { tailrace_reply_free(bytes) }
      guard let document = bson_new_from_data(bytes, Int(reply.length)),
        let text = bson_as_relaxed_extended_json(document, nil)
      else { throw Failure(code: 0, description: "no JSON") }
      defer {
        bson_free(text)
        bson_destroy(document)
      }
      return String(cString: text)
    }
  }

  /// Inserts `{_id: n, …}` for each number, in one command. Existing documents are not an error, so an
  /// interrupted insert can be repeated.
  func insert(
    _ numbers: Range<Int>, into collection: String, filler: Int = 0, majority: Bool = true
  ) async throws {
    let text = String(repeating: "x", count: filler)
    let documents = numbers.map { #"{"_id":\#($0),"text":"\#(text)"}"# }.joined(separator: ",")
    let reply = try await command(
      #"{"insert":"\#(collection)","documents":[\#(documents)],"#
        + #""writeConcern":{"w":\#(majority ? #""majority""# : "1")}}"#)
    // A server that steps down may report it inside an otherwise successful reply.
    let outcome = try JSONDecoder().decode(Outcome.self, from: Data(reply.utf8))
    let errors = (outcome.writeErrors ?? []) + [outcome.writeConcernError].compactMap(\.self)
    if let error = errors.first(where: { $0.code != Self.duplicateKey }) {
      throw Failure(code: error.code, description: error.errmsg ?? "")
    }
  }

  private static let duplicateKey: UInt32 = 11000

  private struct Outcome: Decodable {
    struct Fault: Decodable {
      var code: UInt32
      var errmsg: String?
    }
    var writeErrors: [Fault]?
    var writeConcernError: Fault?
  }

  /// The positions (`seconds.increment` and term) of all entries from a position on, read with an ordinary
  /// libmongoc cursor.
  func oplog(from seconds: UInt32, _ increment: UInt32) async throws -> [String] {
    try await perform { client in
      var error = bson_error_t()
      let filter = #"{"ts":{"$gte":{"$timestamp":{"t":\#(seconds),"i":\#(increment)}}}}"#
      let options =
        #"{"projection":{"ts":1,"t":1},"sort":{"$natural":1},"readConcern":{"level":"majority"}}"#
      guard let filter = bson_new_from_json(filter, -1, &error),
        let options = bson_new_from_json(options, -1, &error)
      else { throw Self.failure(error) }
      defer {
        bson_destroy(filter)
        bson_destroy(options)
      }
      let oplog = mongoc_client_get_collection(client, "local", "oplog.rs")
      defer { mongoc_collection_destroy(oplog) }
      let cursor = mongoc_collection_find_with_opts(oplog, filter, options, nil)
      defer { mongoc_cursor_destroy(cursor) }
      var found: [String] = []
      var document: OpaquePointer?
      while mongoc_cursor_next(cursor, &document) {
        guard let document, let bytes = bson_get_data(document) else { continue }
        let length = UnsafeRawPointer(bytes).loadUnaligned(as: Int32.self)
        let view = try BSONView(UnsafeRawBufferPointer(start: bytes, count: Int(length)))
        guard let ts = try view.first("ts")?.timestamp else { continue }
        let term = try view.first("t")?.integer ?? -1
        found.append("\(ts.seconds).\(ts.increment) \(term)")
      }
      if mongoc_cursor_error(cursor, &error) { throw Self.failure(error) }
      return found
    }
  }

  /// Runs `body` with its own session.
  func withSession(
    _ body: @escaping @Sendable (OpaquePointer, OpaquePointer) throws -> Void
  ) async throws {
    try await perform { client in
      var error = bson_error_t()
      guard let session = mongoc_client_start_session(client, nil, &error) else {
        throw Self.failure(error)
      }
      defer { mongoc_client_session_destroy(session) }
      try body(client, session)
    }
  }

  static func failure(_ error: bson_error_t) -> Failure {
    let text = withUnsafePointer(to: error) { String(cString: tailrace_error_message($0)) }
    return Failure(code: error.code, description: text)
  }

  private func perform<T: Sendable>(
    _ body: @escaping @Sendable (OpaquePointer) throws -> T
  ) async throws -> T {
    try await withCheckedThrowingContinuation { continuation in
      queue.async { [self] in
        continuation.resume(with: Result { try body(client) })
      }
    }
  }
}
