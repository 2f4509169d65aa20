import JSON
import Mapping

/// Reads what a rule changes in its payloads, and outboxes.
struct PayloadReading {
  let hasRedactionKey: Bool
  let problems: ProblemList

  func changes(_ section: Section, _ envelope: Envelope) -> PayloadChanges {
    PayloadChanges(
      renames: renames(section), redactions: redactions(section),
      constants: constants(section, envelope))
  }

  private func entries(
    _ section: Section, _ key: String, _ remedy: String
  ) -> [(key: ConfigScalar, value: ConfigNode)] {
    guard let node = section.node(key) else { return [] }
    guard case .mapping(let entries, _) = node else {
      problems.add(node.position, "\(section.path(key)) is \(node.kind), not a mapping", remedy)
      return []
    }
    return entries
  }

  private func path(_ scalar: ConfigScalar) -> PayloadFilter.Path? {
    do throws(RuleSyntaxError) {
      let path = try PayloadFilter.Path(include: scalar.text)
      guard scalar.text.contains(".") else {
        problems.add(
          scalar.position, "\(scalar.text) is a whole document",
          "name a field in it, such as \(scalar.text).secret")
        return nil
      }
      return path
    } catch {
      problems.add(error, in: scalar)
      return nil
    }
  }

  private func renames(_ section: Section) -> [PayloadChanges.Rename] {
    entries(section, "rename", "write { \"fullDocument.u.username\": author }").compactMap {
      key, value in
      guard let path = path(key) else { return nil }
      guard let name = value.scalar, !name.text.isEmpty else {
        problems.add(
          value.position, "the new name of \(key.text) is \(value.kind)", "write one word")
        return nil
      }
      if let dot = name.text.unicodeScalars.firstIndex(of: ".") {
        problems.add(
          name.position(
            at: name.text.unicodeScalars.distance(
              from: name.text.unicodeScalars.startIndex, to: dot)),
          "the new name \(name.text) has a dot",
          "name the key alone: it stays where it is in its document")
        return nil
      }
      return PayloadChanges.Rename(path: path, name: name.text)
    }
  }

  private func redactions(_ section: Section) -> [PayloadChanges.Redacted] {
    let words = Redaction.allCases.map(\.rawValue)
    return entries(section, "redact", "write { \"fullDocument.email\": hash }").compactMap {
      key, value in
      guard let path = path(key) else { return nil }
      let text = value.scalar?.text ?? ""
      guard let redaction = Redaction(rawValue: text) else {
        problems.add(
          value.position, "\(key.text) can't be redacted by \(text.isEmpty ? value.kind : text)",
          nearest(to: text, among: words).map { "did you mean \($0)?" } ?? "use \(list(words))")
        return nil
      }
      if redaction == .hash, !hasRedactionKey {
        problems.add(
          value.position, "\(key.text) is to be hashed, and there is no key to hash with",
          "add redaction: { key_file: … } with 32 random bytes or more")
        return nil
      }
      return PayloadChanges.Redacted(path: path, redaction: redaction)
    }
  }

  /// The envelopes' own members.
  private static let taken: [Envelope: [String]] = [
    .cloudEvents: [
      "operationType", "documentKey", "fullDocument", "fullDocumentBeforeChange",
      "updateDescription", "operationDescription", "stateBeforeChange",
    ],
    .debezium: [
      "before", "after", "updateDescription", "documentKey", "source", "op", "ts_ms", "transaction",
    ],
  ]

  private func constants(
    _ section: Section, _ envelope: Envelope
  ) -> [PayloadChanges.Constant] {
    var taken = Self.taken[envelope] ?? Self.taken[.cloudEvents] ?? []
    if envelope == .changeEvent {
      taken += ["clusterTime", "wallTime", "ns", "to", "txnNumber", "lsid", "collectionUUID"]
    }
    if envelope == .document { taken = [] }
    return entries(section, "set", "write { tenant: eu }").compactMap { key, value in
      if taken.contains(key.text) {
        problems.add(
          key.position, "the body has a member \(key.text) already", "choose another name")
        return nil
      }
      guard let scalar = value.scalar else {
        problems.add(
          value.position, "the constant \(key.text) is \(value.kind)", "write a single value")
        return nil
      }
      return PayloadChanges.Constant(name: key.text, json: scalar.json.text())
    }
  }

  // MARK: Outbox

  func outbox(_ section: Section, _ subjects: [String]) -> Outbox? {
    let id = field(section, "id", "fullDocument._id")
    let subject = field(section, "subject", "fullDocument.subject")
    let type = field(section, "type", "fullDocument.type")
    let payload = field(section, "payload", "fullDocument.payload")
    section.finish()
    guard let id, let subject, let type, let payload else { return nil }
    return Outbox(id: id, subject: subject, type: type, payload: payload, subjects: subjects)
  }

  private func field(_ section: Section, _ key: String, _ fallback: String) -> EventPath? {
    let scalar = section.scalar(key, "write a path, such as \(fallback)")
    if scalar == nil, section.node(key) != nil { return nil }
    do throws(RuleSyntaxError) {
      let path = try EventPath(parsing: scalar?.text ?? fallback)
      guard path.field == .fullDocument || path.field == .documentKey, !path.remainder.isEmpty
      else {
        problems.add(
          scalar?.position ?? section.position, "\(section.path(key)) is no field of the document",
          "write a path such as \(fallback)")
        return nil
      }
      return path
    } catch {
      if let scalar { problems.add(error, in: scalar) }
      return nil
    }
  }
}

extension ConfigScalar {
  /// YAML's plain words are numbers and the like, quoted ones are text.
  var json: JSONValue {
    guard isPlain else { return .string(text) }
    if isNull { return .null }
    switch text {
    case "true", "True", "TRUE": return .bool(true)
    case "false", "False", "FALSE": return .bool(false)
    default: break
    }
    if let integer = Int64(text), String(integer) == text { return .number(text) }
    let digits = text.utf8
    if let double = Double(text), double.isFinite,
      digits.allSatisfy({ (48...57).contains($0) || "+-.eE".utf8.contains($0) })
    {
      return .number("\(double)")
    }
    return .string(text)
  }
}
