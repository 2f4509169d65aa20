import BridgeConfiguration
import JSON
import NATS
import Oplog
import Parity
import Synchronization

/// What the messages of a stream make of the documents, as far as they are in one part of all keys.
///
/// Thread-safe: messages come on a connection's event loop, questions from elsewhere.
final class StateFold: Sendable {
  /// Which documents: those of one part of all, or certain ones.
  enum Part: Sendable {
    case hashed(UInt64, of: UInt64)
    case keys(Set<String>)

    func contains(_ key: String) -> Bool {
      switch self {
      case .hashed(let part, let count):
        var key = key
        return key.withUTF8 { MessageDigest(UnsafeRawBufferPointer($0)) }.low % count == part
      case .keys(let keys): return keys.contains(key)
      }
    }
  }

  struct Document: Sendable {
    /// As JSON; nil: only changes of it are known, of which no document can be made.
    var text: [UInt8]?
    var rule: String
    var position: EventPosition?
    var subject: String
    var sequence: UInt64
  }

  private struct State {
    var documents: [String: Document] = [:]
    var messages: UInt64 = 0
    var unreadable: UInt64 = 0
  }

  private let plan: FoldPlan
  private let part: Part
  private let upTo: EventPosition
  private let state = Mutex(State())

  init(_ plan: FoldPlan, _ part: Part, upTo: EventPosition) {
    self.plan = plan
    self.part = part
    self.upTo = upTo
  }

  var messages: UInt64 { state.withLock { $0.messages } }
  var unreadable: UInt64 { state.withLock { $0.unreadable } }

  /// Takes the document out, which leaves in the end what no collection has.
  func remove(_ key: String) -> Document? {
    state.withLock { $0.documents.removeValue(forKey: key) }
  }

  var rest: [String: Document] { state.withLock { $0.documents } }

  static func key(_ namespace: String, _ documentKey: JSONValue) -> String {
    "\(namespace) \(documentKey.text())"
  }

  func take(_ view: borrowing NATSMessageView, _ sequence: UInt64) {
    let headers = view.headers.isEmpty ? nil : NATSHeaders(parsing: view.headers)
    guard let headers, let rule = headers["Tailrace-Rule"],
      let position = headers["Tailrace-Position"].flatMap({ EventPosition($0) }), position <= upTo
    else { return }
    guard let body = try? JSONValue(parsing: view.payload) else {
      state.withLock { $0.unreadable &+= 1 }
      return
    }
    let event = FoldPlan.event(body)
    guard let operation = event["operationType"]?.stringValue,
      let documentKey = event["documentKey"],
      let namespace = plan.namespace(
        rule: rule, body: event, operation: operation, type: headers["ce-type"] ?? "",
        source: headers["ce-source"] ?? "")
    else { return }
    let key = Self.key(namespace, documentKey)
    guard part.contains(key) else { return }
    let subject = String(decoding: view.subject, as: UTF8.self)
    state.withLock { state in
      state.messages &+= 1
      var document =
        state.documents[key]
        ?? Document(text: nil, rule: rule, position: position, subject: subject, sequence: sequence)
      switch operation {
      case "insert", "replace": document.text = event["fullDocument"]?.utf8
      case "delete":
        state.documents[key] = nil
        return
      case "update":
        if let text = document.text, let known = try? JSONValue(parsing: text),
          let update = event["updateDescription"]
        {
          document.text = DocumentFold.apply(update, to: known).utf8
        }
      default: return
      }
      document.rule = rule
      document.position = position
      document.subject = subject
      document.sequence = sequence
      state.documents[key] = document
    }
  }
}
