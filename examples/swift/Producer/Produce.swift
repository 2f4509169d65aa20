import Foundation
import JSON
import JSONSchema
import JetStream
import Logging
import NATS

/// `Examples produce SERVERS SCHEMA PREFIX < DOCUMENTS`
///
/// DOCUMENTS holds JSON documents, one a line: what the application has just written. Each is published to
/// `PREFIX.<room>.created` as event `<_id>.created`. Prints for each whether it was `stored`, is a `duplicate`, or is
/// `invalid`. SCHEMA is a file, or `kv:NAME.VERSION`, a published version (docs/schema-publish.md).
func produce(_ arguments: [String]) async throws {
  let servers = try arguments[0].split(separator: ",").map {
    try NATSServerAddress(url: String($0))
  }
  var connection = try await NATSConnection.connect(to: servers, logger: Logger(label: "producer"))
  let schema = try CompiledSchema(text: await contract(arguments[1], connection))
  while let line = readLine() {
    let message = try JSONValue(parsing: Array(line.utf8))
    var result = ""
    while result.isEmpty {
      let producer = Producer(
        jetStream: JetStreamClient(connection), schema: schema, prefix: arguments[2])
      do {
        result = try await producer.created(message, attempts: 2) ? "stored" : "duplicate"
      } catch let invalid as Producer.Invalid {
        // Nothing that consumers were not promised.
        result = "invalid: \(invalid.reasons.joined(separator: "; "))"
      } catch let error as JetStreamError where error.code == 0 {
        // A connection does not repair itself.
        await connection.close()
        connection = try await NATSConnection.connect(
          to: servers, logger: Logger(label: "producer"))
      }
    }
    print("\(Producer.text(message["_id"])) \(result)")
  }
  await connection.close()
}

/// A published version never changes: it can be kept for as long as the program runs.
private func contract(_ schema: String, _ connection: NATSConnection) async throws -> String {
  guard schema.hasPrefix("kv:") else {
    return try String(contentsOfFile: schema, encoding: .utf8)
  }
  let bucket = KeyValueBucket(JetStreamClient(connection), name: "TAILRACE_SCHEMAS")
  guard let entry = try await bucket.get(String(schema.dropFirst(3))) else {
    throw NotPublished(schema: schema)
  }
  return String(decoding: entry.value, as: UTF8.self)
}

private struct NotPublished: Error {
  var schema: String
}
