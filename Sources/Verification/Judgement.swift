import Bridge
import BridgeConfiguration
import DeadLetters
import JSON
import JetStream
import Mapping
import Oplog
import Parity

/// What the stored message is against the expected one, in words.
struct MessageDifference {
  var kind = MismatchClass.payloadMismatch
  var detail: String
  var pointer: String?
  /// Nothing but what comes from documents that can't be read any more as they were.
  var isOfImages = false
  /// A dead letter lacks other documents, for their size.
  var isOfOmitted = false

  /// - Parameters:
  ///   - rule: whose message it is.
  init(
    expected: ExpectedBytes, stored: StoredMessage, isForeign: Bool, violation: String?,
    rule: Rule?
  ) {
    var details: [String] = []
    let isLetter = stored.own.error != nil
    var onlyImages = true
    if expected.subject != stored.subject {
      details.append("subject: expected \(expected.subject), found \(stored.subject)")
      // A letter's subject may name its error.
      if !isLetter, rule?.subject.readsDocument != true { onlyImages = false }
    }
    if !isForeign {
      let wanted = HeaderLines.fields(expected.headers)
      let found = stored.eventFields
      if let text = Self.difference(wanted, found) {
        details.append(text)
        let plain = { (fields: [Field]) in fields.filter { !Self.mayComeFromImage($0, isLetter) } }
        if Self.difference(plain(wanted), plain(found)) != nil { onlyImages = false }
      }
    }
    if expected.body != stored.payload {
      let a = try? JSONValue(parsing: expected.body)
      let b = try? JSONValue(parsing: stored.payload)
      if let a, let b {
        if let (place, what) = JSONDifference.first(expected: a, found: b) {
          pointer = place
          details.append("body at \(place.isEmpty ? "its root" : place): \(what)")
          if isLetter, details.count == 1 { isOfOmitted = Self.lackOthers(a, b) }
          let isImage =
            !isLetter && rule.map { $0.envelope == .document || $0.outbox != nil } ?? false
          if !isImage, Self.withoutImages(a) != Self.withoutImages(b) { onlyImages = false }
        } else {
          details.append("body: the same JSON in other bytes")
          onlyImages = false
        }
      } else {
        pointer = ""
        details.append(b == nil ? "body: what is stored is no JSON" : "body differs")
        onlyImages = false
      }
      if let violation {
        kind = .schemaInvalid
        details.append("and breaks its schema: \(violation)")
      }
    }
    // Exact images are the same each time: those are compared. What the header says counts only where the
    // message has to have one.
    let isOfImage = OwnMessage(lines: expected.headers).image != nil
    let wasInexact =
      isOfImage && ["lookup", "none"].contains(stored.own.image ?? "")
    isOfImages = wasInexact && onlyImages && !details.isEmpty
    detail = details.joined(separator: "; ")
  }

  typealias Field = (name: String, value: String)

  static func difference(_ wanted: [Field], _ found: [Field])
    -> String?
  {
    for (name, value) in wanted {
      guard let other = found.first(where: { $0.0 == name }) else {
        return "header \(name) is missing"
      }
      if other.1 != value { return "header \(name): expected \(value), found \(other.1)" }
    }
    if let more = found.first(where: { field in !wanted.contains { $0.0 == field.0 } }) {
      return "header \(more.0) should not be there"
    }
    if found.count != wanted.count { return "a header is there twice" }
    return zip(wanted, found).contains { $0.0 != $1.0 } ? "headers stand in another order" : nil
  }

  private static func mayComeFromImage(_ field: Field, _ isLetter: Bool) -> Bool {
    if field.name == "\(HeaderName.image)" { return true }
    return isLetter
      && [HeaderName.error, HeaderName.errorDetail, HeaderName.subject]
        .contains { field.name == "\($0)" }
  }

  /// Members of change events and CloudEvents, and those that Debezium's envelope has for them.
  private static let imageMembers: Set<String> = [
    "fullDocument", "fullDocumentBeforeChange", "after", "before",
  ]

  /// Whether two letters' bodies are the same but for what one of them has not, for its size.
  private static func lackOthers(_ one: JSONValue, _ other: JSONValue) -> Bool {
    guard case .object(let a) = one, case .object(let b) = other else { return false }
    let omitted = Set(DeadLetter.omitted(one) + DeadLetter.omitted(other) + ["omitted"])
    return omitted.count > 1
      && a.filter { !omitted.contains($0.key) } == b.filter { !omitted.contains($0.key) }
  }

  private static func withoutImages(_ value: JSONValue) -> JSONValue {
    guard case .object(let members) = value else { return value }
    return .object(
      members.filter { !imageMembers.contains($0.key) }
        .map { member in
          let goesOn = member.key == "data" || member.key == "payload"
          return JSONValue.Member(member.key, goesOn ? withoutImages(member.value) : member.value)
        })
  }
}

extension Template {
  fileprivate var readsDocument: Bool {
    pieces.contains { piece in
      guard case .path(let path) = piece else { return false }
      return path.field == .fullDocument
    }
  }
}
