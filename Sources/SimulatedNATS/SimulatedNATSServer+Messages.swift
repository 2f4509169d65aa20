import Bytes
import SimulatedJetStream

/// Messages on their way: from clients, to JetStream and to clients.
extension SimulatedNATSServer {
  func publish(_ message: PublishedMessage, _ connection: Connection) {
    var publication = Publication(
      String(decoding: message.subject, as: UTF8.self),
      reply: ReplyTo(
        connection: connection.number, subject: String(decoding: message.reply, as: UTF8.self)),
      headers: Array(message.headers), payload: Array(message.payload))
    publication.origin = connection.origin
    if let refuses, refuses(connection.number, true, publication.subject) {
      return send(
        "-ERR 'Permissions Violation for Publish to \"\(publication.subject)\"'\r\n",
        to: connection)
    }
    acknowledge(connection)
    var isTaken = jetStream.take(publication)
    found.removeAll(keepingCapacity: true)
    table.find(message.subject, into: &found)
    for subscription in found where connection.hearsItself || subscription.connection !== connection
    {
      isTaken = true
      write(
        message.subject, reply: message.reply, headers: message.headers, payload: message.payload,
        to: subscription)
    }
    if !isTaken, connection.wantsNoResponders, !message.reply.isEmpty {
      noResponders(message.subject, message.reply, connection)
    }
    collect()
  }

  /// Said only to the publisher, and only where it subscribes to its reply subject without a group.
  private func noResponders(
    _ subject: UnsafeRawBufferPointer, _ reply: UnsafeRawBufferPointer, _ connection: Connection
  ) {
    found.removeAll(keepingCapacity: true)
    table.find(reply, into: &found)
    guard
      let subscription = found.first(where: { $0.connection === connection && $0.queue.isEmpty })
    else { return }
    scratch.removeAll()
    scratch.append("NATS/1.0 503\r\n")
    if jetStream.rules.namesUnansweredSubject {
      scratch.append("Nats-Subject: ")
      scratch.append(subject)
      scratch.append("\r\n")
    }
    scratch.append("\r\n")
    write(
      reply, reply: Self.nothing, headers: scratch.bytes, payload: Self.nothing, to: subscription)
  }

  private static var nothing: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: nil, count: 0)
  }

  /// An answer of JetStream, to whoever subscribes to the subject it goes to.
  func deliver(_ output: Output) {
    withBytes(output.to.subject) { to in
      found.removeAll(keepingCapacity: true)
      table.find(to, into: &found)
      guard !found.isEmpty else { return }
      switch output.answer {
      case .delivered(let delivery):
        withBytes(delivery.subject) { subject in
          withBytes(delivery.reply) { reply in
            write(subject, reply, delivery.headers, delivery.payload)
          }
        }
      default:
        scratch.removeAll()
        if output.answer.write(into: &scratch, jetStream.rules) {
          for subscription in found {
            write(
              to, reply: Self.nothing, headers: Self.nothing, payload: scratch.bytes,
              to: subscription)
          }
        } else {
          let message = output.answer.message(jetStream.rules)
          write(to, Self.nothing, message.headers, message.payload)
        }
      }
    }
  }

  private func write(
    _ subject: UnsafeRawBufferPointer, _ reply: UnsafeRawBufferPointer, _ headers: [UInt8],
    _ payload: [UInt8]
  ) {
    headers.withUnsafeBytes { headers in
      payload.withUnsafeBytes { payload in
        for subscription in found {
          write(subject, reply: reply, headers: headers, payload: payload, to: subscription)
        }
      }
    }
  }

  /// One frame. (Clients that did not say that they take headers get none.)
  private func write(
    _ subject: UnsafeRawBufferPointer, reply: UnsafeRawBufferPointer,
    headers: UnsafeRawBufferPointer, payload: UnsafeRawBufferPointer, to subscription: Subscription
  ) {
    let connection = subscription.connection
    let hasHeaders = !headers.isEmpty && connection.hasHeaders
    begin(connection)
    connection.output.append(hasHeaders ? "HMSG " : "MSG ")
    connection.output.append(subject)
    connection.output.append(UInt8(ascii: " "))
    connection.output.append(subscription.sid)
    connection.output.append(UInt8(ascii: " "))
    if !reply.isEmpty {
      connection.output.append(reply)
      connection.output.append(UInt8(ascii: " "))
    }
    if hasHeaders {
      connection.output.append(decimal: UInt64(headers.count))
      connection.output.append(UInt8(ascii: " "))
    }
    connection.output.append(decimal: UInt64((hasHeaders ? headers.count : 0) + payload.count))
    connection.output.append("\r\n")
    if hasHeaders { connection.output.append(headers) }
    connection.output.append(payload)
    connection.output.append("\r\n")
    subscription.delivered += 1
    if subscription.most > 0, subscription.delivered >= subscription.most { remove(subscription) }
  }
}

func withBytes<T>(_ text: String, _ body: (UnsafeRawBufferPointer) -> T) -> T {
  var text = text
  return text.withUTF8 { body(UnsafeRawBufferPointer($0)) }
}
