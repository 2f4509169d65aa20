import Foundation
import JSON
import JetStream
import Logging
import NATS

/// `Examples consume SERVERS STREAM DURABLE BUCKET EFFECTS`
///
/// Consumes until it is killed. EFFECTS is what the subjects of effects begin with; a stream has to take them.
func consume(_ arguments: [String]) async throws {
  let servers = try arguments[0].split(separator: ",").map {
    try NATSServerAddress(url: String($0))
  }
  while true {
    do {
      let connection = try await NATSConnection.connect(
        to: servers, logger: Logger(label: "consumer"))
      do {
        try await pull(connection, arguments)
      } catch {
        complain("\(error): trying again")
      }
      // A connection does not repair itself.
      await connection.close()
    } catch {
      complain("\(error): trying again")
    }
    try await Task.sleep(for: .milliseconds(250))
  }
}

/// Handles one message after the other, as long as the connection lasts.
private func pull(_ connection: NATSConnection, _ arguments: [String]) async throws {
  let (stream, durable) = (arguments[1], arguments[2])
  let jetStream = JetStreamClient(connection)
  let copies = KeyValueBucket(jetStream, name: arguments[3])
  try await copies.ensure(replicas: 1)
  try await jetStream.makeConsumer(
    durable, of: stream, ["ack_policy": "explicit", "ack_wait": .int(5_000_000_000)])
  let consumer = Consumer(jetStream: jetStream, copies: copies, effects: arguments[4])
  while true {
    guard let message = try await next(connection, stream, durable), let ack = message.reply else {
      continue
    }
    do {
      try await consumer.handle(message)
    } catch let unreadable as Consumer.Unreadable {
      complain(unreadable.reason)
      try await connection.publish(ack, payload: Array("+TERM".utf8))
      continue
    }
    // Acknowledged twice: the server says that it knows. If this process dies before, it is delivered again.
    _ = try await connection.request(ack, payload: Array("+ACK".utf8))
  }
}

/// The consumer's next message; nil when there is none for two seconds.
private func next(
  _ connection: NATSConnection, _ stream: String, _ durable: String
) async throws -> NATSMessage? {
  // Not by `request`: what a consumer sends to an inbox keeps the subject of its message.
  let inbox = connection.newInbox()
  let answers = try await connection.subscribe(inbox)
  let one: JSONValue = ["batch": 1, "expires": .int(2_000_000_000)]
  try await connection.publish(
    "$JS.API.CONSUMER.MSG.NEXT.\(stream).\(durable)", reply: inbox, payload: one.utf8)
  // A change of leaders loses the request: nobody answers it.
  let patience = Task {
    try await Task.sleep(for: .seconds(4))
    await answers.unsubscribe()
  }
  defer { patience.cancel() }
  let message = try await answers.next()
  await answers.unsubscribe()
  // A status is no message: the request has expired.
  return message?.status == nil ? message : nil
}

private func complain(_ text: String) {
  FileHandle.standardError.write(Data("consumer: \(text)\n".utf8))
}
