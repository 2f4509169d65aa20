package import Bridge
public import JSON
package import JetStream
public import Mapping
public import Oplog

/// An event that could not become a message, as it is stored in the dead-letter stream.
///
/// Also one that says too little of itself to be replayed: a letter of another version, a damaged one, one
/// made by hand. It is shown as what it is, and can be dropped (`flaws`).
public struct DeadLetter: Sendable {
  public var sequence: UInt64
  /// When it was stored, RFC 3339.
  public var time: String
  public var subject: String
  public var headers: [(name: String, value: String)]
  /// The change event in canonical Extended JSON.
  public var body: String
  /// Nil where it has none that can be read.
  public var position: EventPosition?
  /// What it lacks to be replayed; empty for what bridges write.
  public var flaws: [String]
  /// Whose it is.
  public enum Owner: String, Sendable {
    case own, other
    /// It names no bridge: it was written before letters did, or by somebody else.
    case unnamed
  }
  public var owner: Owner
  package let own: OwnMessage

  /// Nil for a message that is no dead letter.
  package init?(_ message: StoredMessage, _ stream: LetterStream) {
    own = message.own
    guard own.error != nil || stream.isForLetters(message) else { return nil }
    switch stream.ownership.owner(of: message) {
    case .thisBridge: owner = .own
    case .anotherBridge: owner = .other
    case .unnamed: owner = .unnamed
    // Neither position nor rule: all that can tell is the bridge that it names.
    case .nobody:
      owner = own.bridge.map { $0 == stream.bridge ? .own : .other } ?? .unnamed
    }
    position = own.position
    flaws = Self.flaws(own)
    sequence = message.sequence
    time = message.time
    subject = message.subject
    headers = message.headers
    body = String(decoding: message.payload, as: UTF8.self)
  }

  private static func flaws(_ own: OwnMessage) -> [String] {
    var flaws: [String] = []
    if let text = own.positionText {
      if own.position == nil {
        flaws.append("Tailrace-Position is '\(text.prefix(64))', no position")
      }
    } else {
      flaws.append("Tailrace-Position is missing")
    }
    if own.rule?.isEmpty ?? true { flaws.append("Tailrace-Rule is missing") }
    if own.error?.isEmpty ?? true { flaws.append("Tailrace-Error is missing") }
    return flaws
  }

  /// What it lacks, in a sentence; nil where it can be replayed.
  public var unreadable: String? { flaws.isEmpty ? nil : flaws.joined(separator: "; ") }

  public func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

  /// Of the message that it would have been.
  public var id: String { own.id }
  /// The bridge that it names; empty where it names none.
  public var bridge: String { own.bridge ?? "" }
  public var rule: String { own.rule ?? "" }
  /// The code, as in docs/mapping.md.
  public var error: String { own.error ?? "" }
  public var detail: String { own.errorDetail ?? "" }
  /// The subject the message would have had, where it could be derived.
  public var wouldBeSubject: String? { own.subject }
  /// It is of a snapshot's document.
  public var isSnapshot: Bool { own.isSnapshot }
  /// What its `fullDocument` is.
  package var image: ImageKind? {
    own.image.flatMap { name in ImageKind.allCases.first { "\($0.name)" == name } }
  }
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
      "position": position.map { .string($0.description) } ?? .null, "id": .string(id),
      "bridge": bridge.isEmpty ? .null : .string(bridge), "rule": .string(rule),
      "error": .string(error), "detail": .string(detail),
      "would_be_subject": wouldBeSubject.map { .string($0) } ?? .null,
      "namespace": .string(namespace), "omitted": .array(omitted.map { .string($0) }),
      "unreadable": .array(flaws.map { .string($0) }),
    ]
  }
}

/// Which dead letters are meant: all that everything given here fits.
public struct DeadLetterFilter: Sendable {
  /// Of which bridges.
  public enum Bridges: Sendable, Equatable {
    case any
    /// This bridge's.
    case own
    case named(Set<String>)
  }
  public var bridges = Bridges.any
  /// Those as well that name no bridge.
  public var takesUnnamed = false
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

  /// Whether the letter is of a bridge that is meant.
  func takesBridge(of letter: DeadLetter) -> Bool {
    switch bridges {
    case .any: true
    case .own: letter.owner == .own || (letter.owner == .unnamed && takesUnnamed)
    case .named(let names):
      letter.bridge.isEmpty
        ? letter.owner == .unnamed && takesUnnamed : names.contains(letter.bridge)
    }
  }

  /// Whether everything else fits.
  package func takes(_ letter: DeadLetter) -> Bool {
    if !sequences.isEmpty, !sequences.contains(letter.sequence) { return false }
    if !rules.isEmpty, !rules.contains(letter.rule) { return false }
    if !errors.isEmpty, !errors.contains(letter.error) { return false }
    if !ids.isEmpty, !ids.contains(letter.id), !ids.contains(letter.own.storedID) {
      return false
    }
    if from != nil || to != nil {
      guard let entry = letter.position?.entry else { return false }
      if let from, entry < from { return false }
      if let to, entry > to { return false }
    }
    if !namespaces.isEmpty {
      let namespace = letter.namespace
      return namespaces.contains { $0.matches(namespace) }
    }
    return true
  }
}
