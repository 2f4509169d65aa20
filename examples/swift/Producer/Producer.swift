import Foundation
import JSON
import JSONSchema
import JetStream
import NATS

/// An application's part of a cut-over: publishes the events of its own writes, as the bridge would (docs/cutover.md).
struct Producer {
  let jetStream: JetStreamClient
  let schema: CompiledSchema
  let prefix: String

  /// The document breaks the schema: nothing was published.
  struct Invalid: Error {
    var reasons: [String]
  }

  /// After the write, and before the answer to the user. False: the event is stored already, by an earlier attempt or by
  /// the bridge, which is as good.
  ///
  /// - Throws: `Invalid`; the last attempt's `JetStreamError`.
  func created(_ message: JSONValue, attempts: Int = 20) async throws -> Bool {
    let violations = schema.explain(message).violations
    guard violations.isEmpty else {
      throw Invalid(reasons: violations.map { "\($0.instanceLocation): \($0.error)" })
    }
    let subject = "\(prefix).\(Self.token(message["room"])).created"
    // The same id for each attempt, so that the event is stored once, however many of them arrive.
    let headers = NATSHeaders(["Nats-Msg-Id": "\(Self.text(message["_id"])).created"])
    var left = attempts
    while true {
      left -= 1
      do {
        let ack = try await jetStream.publish(subject, headers: headers, payload: message.utf8)
        return !ack.isDuplicate
      } catch {
        // Without a code, it may have been stored or not.
        guard error.code == 0, left > 0 else { throw error }
      }
      try await Task.sleep(for: .milliseconds(250))
    }
  }

  /// A value as one token of a subject, escaped as the bridge does it: letters, digits, `-`, `_` and `~` stay.
  static func token(_ value: JSONValue?) -> String {
    let staying = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~".utf8)
    return text(value).utf8.reduce(into: "") { token, byte in
      token += staying.contains(byte) ? String(UnicodeScalar(byte)) : String(format: "%%%02X", byte)
    }
  }

  static func text(_ value: JSONValue?) -> String { value?.stringValue ?? value?.text() ?? "" }
}
