import CMongoC
import Foundation

/// A libmongoc client for writes that tests read from a change stream: commands as BSON, retryable writes
/// and transactions.
///
/// Invariant behind `@unchecked Sendable`: the client and its session are used only on `queue`, a serial
/// queue whose blocks hold a reference. So `deinit` frees them when no block is left.
final class StreamWriter: @unchecked Sendable {
  struct Failure: Error, CustomStringConvertible {
    var code: UInt32
    var description: String
  }

  private let client: OpaquePointer
  private let session: OpaquePointer
  private let queue = DispatchQueue(label: "stream-writer")

  init(_ uri: String) throws {
    mongoc_init()
    guard let client = mongoc_client_new(uri + "&retryWrites=true") else {
      throw Failure(code: 0, description: "bad connection string")
    }
    mongoc_client_set_error_api(client, 2)
    var error = bson_error_t()
    guard let session = tailrace_session_new(client, &error) else {
      mongoc_client_destroy(client)
      throw Self.failure(error)
    }
    self.client = client
    self.session = session
  }

  deinit {
    mongoc_client_session_destroy(session)
    mongoc_client_destroy(client)
  }

  /// Runs a single command.
  func run(_ command: Value.Fields, database: String) async throws {
    try await perform { writer in
      try writer.run(command, database, session: nil)
    }
  }

  /// A retryable write, with session and number.
  func runRetryable(_ command: Value.Fields, database: String) async throws {
    try await perform { writer in
      let document = try Self.document(command)
      defer { bson_destroy(document) }
      var error = bson_error_t()
      guard
        mongoc_client_write_command_with_opts(writer.client, database, document, nil, nil, &error)
      else { throw Self.failure(error) }
    }
  }

  /// Runs the commands in one transaction, and commits unless one fails.
  func transaction(
    _ commands: [(command: Value.Fields, database: String)], commit: Bool = true
  ) async throws {
    try await perform { writer in
      var error = bson_error_t()
      guard mongoc_client_session_start_transaction(writer.session, nil, &error) else {
        throw Self.failure(error)
      }
      do {
        for (command, database) in commands {
          try writer.run(command, database, session: writer.session)
        }
      } catch {
        mongoc_client_session_abort_transaction(writer.session, nil)
        throw error
      }
      guard commit else {
        mongoc_client_session_abort_transaction(writer.session, nil)
        return
      }
      guard mongoc_client_session_commit_transaction(writer.session, nil, &error) else {
        throw Self.failure(error)
      }
    }
  }

  private func run(_ command: Value.Fields, _ database: String, session: OpaquePointer?) throws {
    var error = bson_error_t()
    guard let server = mongoc_client_select_server(client, true, nil, &error) else {
      throw Self.failure(error)
    }
    defer { mongoc_server_description_destroy(server) }
    var reply = tailrace_reply()
    guard
      tailrace_run(
        client, session, mongoc_server_description_id(server), database,
        try Self.document(command), &reply, &error)
    else { throw Self.failure(error) }
    if let bytes = reply.bytes { tailrace_reply_free(bytes) }
  }

  private static func document(_ fields: Value.Fields) throws -> OpaquePointer {
    let bytes = Value.bytes(of: fields)
    guard let document = tailrace_command_from(bytes, UInt32(bytes.count)) else {
      throw Failure(code: 0, description: "no BSON")
    }
    return document
  }

  private static func failure(_ error: bson_error_t) -> Failure {
    let text = withUnsafePointer(to: error) { String(cString: tailrace_error_message($0)) }
    return Failure(code: error.code, description: text)
  }

  private func perform(_ body: @escaping @Sendable (StreamWriter) throws -> Void) async throws {
    try await withCheckedThrowingContinuation { continuation in
      queue.async { [self] in
        continuation.resume(with: Result { try body(self) })
      }
    }
  }
}
