import Bridge
import BridgeConfiguration
import DeadLetters
import JSON
import JetStream
import Mapping
import Parity

/// What can be expected of a message of an event whose documents are gone.
struct OpenExpectation: Sendable {
  let lacked: Mapper.WantedImages
  /// The id that it may have as well, where how many rules took the event before can't be told.
  var otherID: String?
  /// As far as the stream may have one; values of documents are marked (`OpenText`).
  var message: ExpectedBytes?
  var letter: ExpectedBytes?

  var size: Int {
    [message, letter].compactMap { $0 }.reduce(0) { $0 + $1.headers.utf8.count + $1.body.count }
  }
}

/// Text of which parts are open.
enum OpenText {
  /// Marks an open part: neither subjects nor ids can hold it.
  static let mark = " "

  /// Whether `text` is what `pattern` says, each of its marks one character or more.
  static func matches(_ pattern: String, _ text: String, isSubject: Bool = false) -> Bool {
    let pattern = Array(pattern.utf8)
    let text = Array(text.utf8)
    let mark = UInt8(ascii: " ")
    // Where marks are, the shortest text that leads on is tried first, and then longer ones.
    var at = 0
    var place = 0
    var retry: (at: Int, place: Int)?
    while place < text.count {
      if at < pattern.count, pattern[at] == mark, !(isSubject && text[place] == UInt8(ascii: ".")) {
        retry = (at, place + 1)
        at += 1
        place += 1
      } else if at < pattern.count, pattern[at] == text[place] {
        at += 1
        place += 1
      } else if let last = retry, last.place < text.count,
        !(isSubject && text[last.place] == UInt8(ascii: "."))
      {
        retry = (last.at, last.place + 1)
        at = last.at + 1
        place = last.place + 1
      } else {
        return false
      }
    }
    return at == pattern.count
  }
}

/// What a stored message is against an open expectation, in words: of what is not of documents.
struct OpenDifference {
  private(set) var details: [String] = []
  private(set) var pointer: String?

  private let open: OpenExpectation
  private let isLetter: Bool

  init(_ open: OpenExpectation, stored: StoredMessage, rule: Rule?) {
    self.open = open
    isLetter = stored.own.error != nil
    guard let expected = isLetter ? open.letter : open.message else { return }
    if !OpenText.matches(expected.subject, stored.subject, isSubject: true) {
      details.append(
        "subject: expected \(expected.subject.replacing(OpenText.mark, with: "…")), found \(stored.subject)"
      )
    }
    let wanted = HeaderLines.fields(expected.headers)
    let found = stored.eventFields
    let right = found.map { known($0, in: wanted) }
    let kept = wanted.filter { isWanted($0, in: found) }
    if let text = MessageDifference.difference(kept, right) { details.append(text) }
    compare(expected.body, stored.payload, rule)
  }

  private typealias Field = MessageDifference.Field

  /// The header, with what may be as it is taken for what is wanted.
  private func known(_ field: Field, in wanted: [Field]) -> Field {
    guard let value = wanted.first(where: { $0.name == field.name })?.value else { return field }
    let isRight: Bool
    switch field.name {
    case DeadLetter.id, DeadLetter.eventID: isRight = isID(field.value, value)
    case DeadLetter.image: isRight = ["post", "lookup", "none"].contains(field.value)
    case DeadLetter.error:
      isRight = isLetter && MappingErrorCode(rawValue: field.value).map { $0 != .corrupt } ?? false
    case DeadLetter.errorDetail: isRight = isLetter
    case DeadLetter.subject: isRight = OpenText.matches(value, field.value, isSubject: true)
    default: return field
    }
    return isRight ? (field.name, value) : field
  }

  /// A letter names the subject that its message would have had if it could be made.
  private func isWanted(_ field: Field, in found: [Field]) -> Bool {
    field.name != DeadLetter.subject || !field.value.contains(OpenText.mark)
      || found.contains { $0.name == field.name }
  }

  private func isID(_ found: String, _ wanted: String) -> Bool {
    OpenText.matches(wanted, found) || found == open.otherID
  }

  private mutating func compare(_ expected: [UInt8], _ stored: [UInt8], _ rule: Rule?) {
    if let rule, !isLetter, rule.envelope == .document, open.lacked.contains(.after) {
      if (try? JSONValue(parsing: stored)) == nil {
        details.append("body: what is stored is no JSON")
      }
      return
    }
    guard expected != stored else { return }
    guard let wanted = try? JSONValue(parsing: expected),
      let found = try? JSONValue(parsing: stored)
    else {
      pointer = ""
      details.append("body: what is stored is no JSON")
      return
    }
    // A letter leaves out what made it too large.
    var omitted = images
    if isLetter {
      omitted.formUnion(["omitted"] + DeadLetter.omitted(wanted) + DeadLetter.omitted(found))
    }
    let a = plain(wanted, omitted)
    let b = plain(found, omitted, like: a)
    if let (place, what) = JSONDifference.first(expected: a, found: b) {
      pointer = place
      details.append("body at \(place.isEmpty ? "its root" : place): \(what)")
    } else if a != b {
      details.append("body: the same JSON in other bytes")
    }
  }

  /// Members of change events and CloudEvents, and those that Debezium's envelope has for them.
  private var images: Set<String> {
    var names: Set<String> = []
    if open.lacked.contains(.after) { names.formUnion(["fullDocument", "after"]) }
    if open.lacked.contains(.before) { names.formUnion(["fullDocumentBeforeChange", "before"]) }
    return names
  }

  /// Without images; an id that is as it may be is taken for the wanted one.
  private func plain(
    _ value: JSONValue, _ omitted: Set<String>, like wanted: JSONValue? = nil
  ) -> JSONValue {
    guard case .object(let members) = value else { return value }
    let isStructured = members.contains { $0.key == "specversion" }
    return .object(
      members.filter { !omitted.contains($0.key) || isStructured }
        .map { member in
          if member.key == "data", isStructured {
            return JSONValue.Member(member.key, plain(member.value, omitted))
          }
          if member.key == "id", isStructured, let id = wanted?["id"],
            let text = id.stringValue, isID(member.value.stringValue ?? "", text)
          {
            return JSONValue.Member(member.key, id)
          }
          return member
        })
  }
}

extension DeadLetter {
  fileprivate static let id = "\(HeaderName.id)"
  fileprivate static let eventID = "\(HeaderName.eventID)"
  fileprivate static let image = "\(HeaderName.image)"
  fileprivate static let error = "\(HeaderName.error)"
  fileprivate static let errorDetail = "\(HeaderName.errorDetail)"
  fileprivate static let subject = "\(HeaderName.subject)"

  /// Members that a letter's body lacks because they were too large.
  static func omitted(_ body: JSONValue) -> [String] {
    body["omitted"]?.arrayValue?.compactMap(\.stringValue) ?? []
  }
}
