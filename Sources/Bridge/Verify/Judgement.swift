import BridgeConfiguration
import JSON
import JetStream
import Oplog
import Parity

/// What the stored message is against the expected one, in words.
struct MessageDifference {
  var kind = MismatchClass.payloadMismatch
  var detail: String
  var pointer: String?
  /// Nothing but documents that were read afterwards, which may be other ones each time.
  var isOfImages = false

  init(expected: ExpectedBytes, stored: StoredMessage, isForeign: Bool, violation: String?) {
    var details: [String] = []
    var onlyImages = true
    if !isForeign {
      if expected.subject != stored.subject {
        details.append("subject: expected \(expected.subject), found \(stored.subject)")
        onlyImages = false
      }
      let wanted = HeaderLines.fields(expected.headers)
      let found = stored.headers.filter(Self.isOfEvent)
      if let text = Self.difference(wanted, found) {
        details.append(text)
        let plain = { (fields: [Field]) in fields.filter { $0.name != "Tailrace-Image" } }
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
          if Self.withoutImages(a) != Self.withoutImages(b) { onlyImages = false }
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
    let hasImage =
      expected.headers.contains("Tailrace-Image: ") || stored.header("Tailrace-Image") != nil
    isOfImages = hasImage && onlyImages && !details.isEmpty
    detail = details.joined(separator: "; ")
  }

  private typealias Field = (name: String, value: String)

  private static func isOfEvent(_ field: Field) -> Bool {
    (field.name == "Nats-Msg-Id" || !field.name.hasPrefix("Nats-"))
      && field.name != DeadLetter.replayed
  }

  private static func difference(_ wanted: [Field], _ found: [Field])
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
    if found.count != wanted.count { return "a header stands there twice" }
    return zip(wanted, found).contains { $0.0 != $1.0 } ? "headers stand in another order" : nil
  }

  private static func withoutImages(_ value: JSONValue) -> JSONValue {
    guard case .object(let members) = value else { return value }
    return .object(
      members.filter { $0.key != "fullDocument" && $0.key != "fullDocumentBeforeChange" }
        .map { JSONValue.Member($0.key, $0.key == "data" ? withoutImages($0.value) : $0.value) })
  }
}
