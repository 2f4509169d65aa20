import Foundation
import JSON
import JetStream
import NATS
import NIOCore

/// Keeps the documents of a stream in a bucket, and passes each new one on, once (docs/consumers.md).
///
/// Several of them may share one durable consumer: positions keep an older event from replacing a newer one, whoever
/// handles them.
struct Consumer {
  let jetStream: JetStreamClient
  /// `<collection>.<_id>` is `{"position", "document"}`: the state and the position in one entry, which is written whole
  /// or not at all. A deleted document is null, so that nothing older brings it back.
  let copies: KeyValueBucket
  /// What takes effects: subjects `<effects>.<collection>` of a stream.
  let effects: String

  /// What no delivery will make better: for a person to look at.
  struct Unreadable: Error {
    var reason: String
  }

  /// One event: state, effect, and only then the ack. Whoever dies in between, the next delivery repeats what is missing.
  func handle(_ message: NATSMessage) async throws {
    guard let headers = message.headers, let id = headers["Nats-Msg-Id"],
      let position = headers["Tailrace-Position"].flatMap(Position.init)
    else { throw Unreadable(reason: "no message of the bridge: \(message.subject)") }
    let event = try JSONValue(parsing: message.payload.readableBytesView)
    // The rule's subject is …{ns.coll}.{operationType}.
    let tokens = message.subject.split(separator: ".").map(String.init)
    guard tokens.count > 1, let identity = event["documentKey"]?["_id"] else {
      throw Unreadable(reason: "no document in \(message.subject)")
    }
    let collection = tokens[tokens.count - 2]
    try await apply(event, to: "\(collection).\(Self.key(identity))", at: position)
    if event["operationType"]?.stringValue == "insert", headers["Tailrace-Snapshot"] == nil {
      try await announce(event, in: collection, id: id)
    }
  }

  /// By position: what is not newer than the entry changes nothing.
  private func apply(_ event: JSONValue, to key: String, at position: Position) async throws {
    let document = event["fullDocument"] ?? .null
    // An update whose document is gone by now: its delete follows.
    if document == .null, event["operationType"]?.stringValue != "delete" { return }
    let value: JSONValue = ["position": .string(position.text), "document": document]
    while true {
      let present = try await copies.get(key)
      if let present {
        let known = try JSONValue(parsing: present.value)["position"]?.stringValue
        if let known = known.flatMap(Position.init), known >= position { return }
      }
      do {
        _ = try await copies.put(key, value.utf8, expecting: present?.revision ?? 0)
        return
      } catch {
        // Another worker was faster: compare again. Anything else is for the caller.
        guard error.code == JetStreamCode.wrongLastSequence else { throw error }
      }
    }
  }

  /// By id: it is the other side's idempotency key, here of a stream, within its `duplicate_window`. A database would note
  /// the id in the transaction of the effect.
  private func announce(_ event: JSONValue, in collection: String, id: String) async throws {
    _ = try await jetStream.publish(
      "\(effects).\(collection)", headers: NATSHeaders(["Nats-Msg-Id": id]),
      payload: (event["fullDocument"] ?? .null).utf8)
  }

  /// A value as one token of a key.
  static func key(_ value: JSONValue) -> String {
    let staying = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_".utf8)
    return (value.stringValue ?? value.text()).utf8.reduce(into: "") { token, byte in
      token += staying.contains(byte) ? String(UnicodeScalar(byte)) : String(format: "=%02X", byte)
    }
  }
}

/// When an event happened: three numbers, which are compared one after the other, never as text.
struct Position: Comparable {
  let text: String
  private let numbers: [UInt64]

  init?(_ text: String) {
    self.text = text
    numbers = text.split(separator: ".").compactMap { UInt64($0) }
    guard numbers.count == 3 else { return nil }
  }

  static func < (one: Position, other: Position) -> Bool {
    one.numbers.lexicographicallyPrecedes(other.numbers)
  }
}
