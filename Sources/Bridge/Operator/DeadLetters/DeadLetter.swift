public import JSON
import JetStream
import Mapping
public import Oplog

/// An event that could not become a message, as it stands in the dead-letter stream.
public struct DeadLetter: Sendable {
  /// Marks a message that `tailrace dlq replay` published; its value is the letter's sequence.
  static let replayed = "Tailrace-Replayed"

  public var sequence: UInt64
  /// When it was stored, RFC 3339.
  public var time: String
  public var subject: String
  public var headers: [(name: String, value: String)]
  /// The change event in canonical Extended JSON.
  public var body: String
  public var position: EventPosition

  /// Nil for a message that is no dead letter.
  init?(_ message: StoredMessage) {
    guard let position = message.header("Tailrace-Position").flatMap({ EventPosition($0) }),
      message.header("Tailrace-Error") != nil
    else { return nil }
    sequence = message.sequence
    time = message.time
    subject = message.subject
    headers = message.headers
    body = String(decoding: message.payload, as: UTF8.self)
    self.position = position
  }

  public func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

  public var id: String { header("Nats-Msg-Id") ?? "" }
  public var rule: String { header("Tailrace-Rule") ?? "" }
  /// The code, as in docs/mapping.md.
  public var error: String { header("Tailrace-Error") ?? "" }
  public var detail: String { header("Tailrace-Error-Detail") ?? "" }
  /// The subject the message would have had, where it could be derived.
  public var wouldBeSubject: String? { header("Tailrace-Subject") }
  /// It is of a snapshot's document.
  public var isSnapshot: Bool { header("Tailrace-Snapshot") != nil }
  /// Documents that were left out because of their size.
  public var omitted: [String] {
    guard body.contains("\"omitted\""), let json = try? JSONValue(parsing: body) else { return [] }
    return json["omitted"]?.arrayValue?.compactMap(\.stringValue) ?? []
  }

  /// `db.collection`, or `db`.
  public var namespace: String {
    guard let ns = (try? JSONValue(parsing: body))?["ns"] else { return "" }
    return [ns["db"]?.stringValue, ns["coll"]?.stringValue].compactMap { $0 }.joined(separator: ".")
  }

  public var json: JSONValue {
    [
      "sequence": .int(sequence), "time": .string(time), "subject": .string(subject),
      "position": .string(position.description), "id": .string(id), "rule": .string(rule),
      "error": .string(error), "detail": .string(detail),
      "would_be_subject": wouldBeSubject.map { .string($0) } ?? .null,
      "namespace": .string(namespace), "omitted": .array(omitted.map { .string($0) }),
    ]
  }
}

/// Which dead letters are meant: all that everything given here fits.
public struct DeadLetterFilter: Sendable {
  public var sequences: Set<UInt64> = []
  public var rules: Set<String> = []
  public var errors: Set<String> = []
  /// Globs, as in `match.namespace`.
  public var namespaces: [NamespacePattern] = []
  public var ids: Set<String> = []
  /// From this position on …
  public var from: OplogPosition?
  /// … up to this one, included.
  public var to: OplogPosition?
  /// No more than so many.
  public var limit: Int?

  public init() {}

  /// It names nothing in particular.
  public var isEmpty: Bool {
    sequences.isEmpty && rules.isEmpty && errors.isEmpty && namespaces.isEmpty && ids.isEmpty
      && from == nil && to == nil
  }

  func takes(_ letter: DeadLetter) -> Bool {
    if !sequences.isEmpty, !sequences.contains(letter.sequence) { return false }
    if !rules.isEmpty, !rules.contains(letter.rule) { return false }
    if !errors.isEmpty, !errors.contains(letter.error) { return false }
    if !ids.isEmpty, !ids.contains(letter.id) { return false }
    if let from, letter.position.entry < from { return false }
    if let to, letter.position.entry > to { return false }
    if !namespaces.isEmpty {
      let namespace = letter.namespace
      return namespaces.contains { $0.matches(namespace) }
    }
    return true
  }
}
