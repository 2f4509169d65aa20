import Foundation
public import JSON

/// What is proposed for one collection.
public struct CollectionProposal: Sendable {
  public let database: String
  public let name: String
  /// Names of its rules, of which the second takes what the first doesn't.
  public let insertRule: String
  public let otherRule: String
  let parent: ParentSearch.Parent?
  public let excluded: [(path: String, reason: String)]
  /// Inserts' ids can be made by an application, too. Else the reason why not.
  public internal(set) var idReason: String?
  /// Whether the subject of other changes ends with the key.
  private(set) var hasKeyInSubject: Bool
  private(set) var keyReason: String
  public let documents: Int
  let total: UInt64?
  /// The files of schemas that are used, below the folder.
  public internal(set) var schema: String?
  /// Why there is no schema, or what it doesn't ask for.
  public internal(set) var schemaNote: String?
  /// What the oplog had.
  public internal(set) var seen: String?

  private static let sharedKinds: Set<String> = ["string", "objectId", "binData"]
  private static let keyKinds: Set<String> = ["string", "objectId", "binData", "int", "long"]
  /// Beyond that many documents, a subject for each is more than most servers' memory is for.
  private static let mostSubjects: UInt64 = 1_000_000
  private static let longestKey = 80

  init(_ facts: SampledCollection, ruleStem: String) {
    database = facts.database
    name = facts.name
    insertRule = "\(ruleStem)_inserted"
    otherRule = "\(ruleStem)_changed"
    documents = facts.documents
    total = facts.total
    excluded = facts.exclusions.flatMap { path, reason in
      // Bodies have the key twice.
      let isKey = path == "_id" || path.hasPrefix("_id.")
      return (isKey ? ["fullDocument", "documentKey"] : ["fullDocument"]).map {
        ("\($0).\(path)", reason)
      }
    }
    parent = ParentSearch.parent(of: facts, notIn: facts.exclusions.map(\.path))
    let kinds = facts.idKinds
    if facts.secretKey != nil {
      idReason = "its keys look like secrets"
    } else if kinds.isEmpty {
      idReason = "no document was seen"
    } else if kinds.count > 1 {
      idReason = "its keys are of several types"
    } else if kinds.isSubset(of: ["int", "long"]) {
      idReason = "its keys are numbers, which applications give again"
    } else if !kinds.isSubset(of: Self.sharedKinds) {
      idReason = "its keys are no strings, ObjectIds or UUIDs"
    } else if facts.longestID > Self.longestKey {
      idReason = "its keys are long"
    }
    if let total, total > Self.mostSubjects {
      hasKeyInSubject = false
      keyReason = "no key in it: \(total) documents would be as many subjects"
    } else if let reason = facts.secretKey {
      hasKeyInSubject = false
      keyReason = "no key in it: \(reason)"
    } else if kinds.isEmpty {
      hasKeyInSubject = false
      keyReason = "no key in it: no document was seen"
    } else if !kinds.isSubset(of: Self.keyKinds) || facts.longestID > Self.longestKey {
      hasKeyInSubject = false
      keyReason = "no key in it: not every _id fits into a token"
    } else {
      hasKeyInSubject = true
      keyReason = ""
    }
    if facts.hasEmptyID { leaveKeysOut() }
  }

  /// For keys of which one is an empty text: an event of that document would have neither a subject nor an id.
  mutating func leaveKeysOut() {
    if idReason == nil { idReason = "an _id is an empty string" }
    guard hasKeyInSubject else { return }
    hasKeyInSubject = false
    keyReason = "no key in it: an _id is an empty string, which is no token"
  }

  /// One line about it.
  public var summary: String {
    var parts: [String] = []
    if let parent { parts.append("inserts by \(parent.path)") }
    if idReason == nil { parts.append("inserts' ids from _id") }
    if !hasKeyInSubject { parts.append(keyReason) }
    parts.append(schema == nil ? "no schema" : "a schema")
    if !excluded.isEmpty {
      let paths = excluded.filter { $0.path.hasPrefix("fullDocument.") }
        .map { String($0.path.dropFirst("fullDocument.".count)) }
      parts.append("left out: \(paths.joined(separator: ", "))")
    }
    return "\(database).\(name): \(parts.joined(separator: "; "))"
  }

  public var json: JSONValue {
    [
      "namespace": .string("\(database).\(name)"),
      "rules": [.string(insertRule), .string(otherRule)], "documents": .int(documents),
      "parent": parent.map { .string($0.path) } ?? .null,
      "positional_because": idReason.map { .string($0) } ?? .null,
      "schema": schema.map { .string($0) } ?? .null,
      "excluded": .array(
        excluded.map { ["path": .string($0.path), "reason": .string($0.reason)] }),
    ]
  }

  // MARK: YAML

  /// The rules, as items of `rules`.
  func yaml(prefix: String, stream: String) -> String {
    var lines: [String] = [
      "  # \(Self.comment(name)): \(seenDocuments)\(seen.map { "; \($0)" } ?? "")"
    ]
    let namespace = Self.quoted("\(database).\(name)")
    lines += [
      "  - name: \(insertRule)", "    match:", "      namespace: \(namespace)",
      "      operations: [insert]",
    ]
    if let parent {
      let path = Self.quoted("fullDocument.\(parent.path)")
      let isText = parent.kind == "string"
      lines.append(
        "      # Those without it are taken by the next rule.")
      lines.append(
        "      where: { \(path): { $type: \(parent.kind)\(isText ? ", $ne: \"\"" : "") } }")
      lines.append(
        "    # \(Self.comment(parent.path)) is in \(parent.presence) of \(documents) documents, with \(parent.distinct) values."
      )
      let label = ProposedNames.plain(parent.path.replacing(".", with: "_"))
      lines.append(
        "    subject: \(Self.quoted("\(prefix).{ns.coll}.insert.\(label).{fullDocument.\(parent.path)}"))"
      )
    } else {
      lines.append("    # No field says what a document belongs to.")
      lines.append(
        "    subject: \(Self.quoted("\(prefix).{ns.coll}.insert" + (hasKeyInSubject ? ".{documentKey._id}" : "")))"
      )
    }
    if let idReason {
      lines.append("    # The id is the oplog's: \(idReason).")
      lines.append("    id: positional")
    } else {
      lines.append(
        "    # A producer can make it, too: in a stream with ownership: shared, this rule can be handed over to it."
      )
      lines.append(
        "    # Not if a document is deleted, and inserted again with the same _id within duplicate_window."
      )
      lines.append("    id: \"{ns.coll}.{documentKey._id}.insert\"")
    }
    lines += payload
    if let schema {
      if let schemaNote { lines.append("    # \(schemaNote)") }
      lines.append("    schema: \(Self.quoted(schema))")
    } else if let schemaNote {
      lines.append("    # No schema: \(schemaNote)")
    }
    lines.append("    stream: \(ProposedNames.scalar(stream))")
    let operations = parent == nil ? "update, replace, delete" : "insert, update, replace, delete"
    lines += [
      "  - name: \(otherRule)", "    match:", "      namespace: \(namespace)",
      "      operations: [\(operations)]",
    ]
    if !hasKeyInSubject { lines.append("    # The subject has \(keyReason).") }
    lines.append(
      "    subject: \(Self.quoted("\(prefix).{ns.coll}.{operationType}" + (hasKeyInSubject ? ".{documentKey._id}" : "")))"
    )
    lines += payload
    lines.append("    stream: \(ProposedNames.scalar(stream))")
    return lines.joined(separator: "\n") + "\n"
  }

  private var seenDocuments: String {
    guard let total else { return "\(documents) documents looked at" }
    return "\(documents) of \(total) documents looked at"
  }

  private var payload: [String] {
    var lines = ["    payload:", "      envelope: cloudevents"]
    guard !excluded.isEmpty else { return lines }
    lines.append(
      "      # These look like secrets. Dead letters hold them: restrict who reads that stream.")
    lines.append("      exclude:")
    for (path, reason) in excluded {
      lines.append("        - \(Self.quoted(path)) # \(Self.comment(reason))")
    }
    return lines
  }

  /// A double-quoted YAML scalar in which nothing is a variable.
  static func quoted(_ text: String) -> String {
    var quoted = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"", "\\": quoted += "\\\(scalar)"
      default:
        // Also the separators that YAML takes for line breaks.
        if scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
          || [0x2028, 0x2029, 0xFEFF].contains(scalar.value)
        {
          quoted += "\\u" + String(format: "%04X", scalar.value)
        } else {
          quoted.unicodeScalars.append(scalar)
        }
      }
    }
    return quoted.replacing("${", with: "$${") + "\""
  }

  /// Text that stays on its line.
  static func comment(_ text: String) -> String {
    String(
      String.UnicodeScalarView(
        text.unicodeScalars.map {
          $0.value < 0x20 || (0x7F...0x9F).contains($0.value)
            || [0x2028, 0x2029, 0xFEFF].contains($0.value)
            ? "?" : $0
        }))
  }
}

/// Names that rules, streams and tokens may have.
enum ProposedNames {
  /// First tokens of the subjects of dead letters, and of fences.
  static let takenPrefixes: Set<String> = ["dlq", "tailrace"]
  /// Streams that the bridge has anyway, in lower case.
  static let takenStreams: Set<String> = ["tailrace_dlq", "tailrace_audit"]

  /// A name as a value in YAML, which has words of its own.
  static func scalar(_ name: String) -> String {
    let words = ["null", "~", "true", "false", "yes", "no", "on", "off", "y", "n"]
    return words.contains(name.lowercased()) ? "\"\(name)\"" : name
  }

  /// Only ASCII letters, digits, `_` and `-`.
  static func plain(_ text: String) -> String {
    let plain = String(
      text.unicodeScalars.map { scalar -> Character in
        let isPlain =
          scalar.isASCII
          && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar) || scalar == "_"
            || scalar == "-")
        return isPlain ? Character(scalar) : "_"
      }.prefix(48))
    return plain.isEmpty ? "_" : plain
  }

  /// That name, or one like it that isn't taken.
  static func unique(_ name: String, _ taken: inout Set<String>) -> String {
    var candidate = name
    var number = 2
    while !taken.insert(candidate.lowercased()).inserted {
      candidate = "\(name)_\(number)"
      number += 1
    }
    return candidate
  }
}
