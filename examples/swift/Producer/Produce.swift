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
/// `invalid`.
func produce(_ arguments: [String]) async throws {
  let servers = try arguments[0].split(separator: ",").map {
    try NATSServerAddress(url: String($0))
  }
  let schema = try CompiledSchema(text: String(contentsOfFile: arguments[1], encoding: .utf8))

  var connection = try await NATSConnection.connect(to: servers, logger: Logger(label: "producer"))
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
