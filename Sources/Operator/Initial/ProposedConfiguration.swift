public import JSON
import Mapping
import SchemaInference

/// A configuration proposed from what collections hold, with its schemas: for a person to edit, and valid as it is.
public struct ProposedConfiguration: Sendable {
  /// Where the changes were seen.
  public enum Origin: Sendable {
    /// A deployment. `uri` is written as the default of `MONGODB_URI`; nil: it must come from there.
    case deployment(uri: String?, setName: String)
    case events(file: String)
  }

  /// A database, and the stream that takes its changes.
  struct Database: Sendable {
    var name: String
    /// The first token of its subjects.
    var prefix: String
    var stream: String
    /// The stream's size, as lines of YAML.
    var size = ["    # max_bytes: how much it takes could not be told."]
  }

  public let origin: Origin
  public private(set) var collections: [CollectionProposal]
  private var databases: [Database] = []
  /// By path below the folder.
  public private(set) var schemas: [(path: String, schema: JSONValue)] = []
  /// Collections without rules, each with the reason.
  public var leftOut: [(name: String, reason: String)] = []
  /// Events that carry no document, by their type.
  public var passedOver: [String: Int] = [:]

  static let retention = 7 * 86_400.0
  private static let duplicateWindow = 600.0
  /// From so many seconds of oplog on, rates say something of a week.
  static let shortest = 60.0
  /// With fewer inserts seen than this, a field that all have may be missing in the next.
  private static let enough = 20

  public init(_ collections: [SampledCollection], origin: Origin) {
    self.origin = origin
    var facts: [SampledCollection] = []
    for collection in collections {
      let name = "\(collection.database).\(collection.name)"
      guard !name.contains("*") else {
        leftOut.append((name, "in a rule, * matches any characters"))
        continue
      }
      if let reason = collection.namelessSecret {
        leftOut.append(
          (name, "a field looks like a secret (\(reason)), and no path can name it to leave it out")
        )
        continue
      }
      do throws(RuleSyntaxError) {
        _ = try NamespacePattern(parsing: name)
        facts.append(collection)
      } catch {
        leftOut.append((name, "\(error)"))
      }
    }
    var prefixes = ProposedNames.takenPrefixes
    var streams = ProposedNames.takenStreams
    for facts in facts where !databases.contains(where: { $0.name == facts.database }) {
      let prefix = ProposedNames.unique(ProposedNames.plain(facts.database), &prefixes)
      databases.append(
        Database(
          name: facts.database, prefix: prefix,
          stream: ProposedNames.unique(prefix.uppercased(), &streams)))
    }
    var stems: Set<String> = []
    let hasSeveral = databases.count > 1
    self.collections = facts.map { facts in
      let name = hasSeveral ? "\(facts.database)_\(facts.name)" : facts.name
      let stem = ProposedNames.unique(ProposedNames.plain(name), &stems)
      return CollectionProposal(facts, ruleStem: stem)
    }
  }

  /// Adds what the rules made of documents and events: schemas, sizes, and which ids come again.
  ///
  /// - Parameter seconds: of oplog; nil: the events have no times.
  public mutating func complete(_ evidence: ProposalEvidence, seconds: Double?) {
    for index in collections.indices {
      let inserts = evidence.rules[collections[index].insertRule] ?? ProposalEvidence.Rule()
      let others = evidence.rules[collections[index].otherRule] ?? ProposalEvidence.Rule()
      if collections[index].idReason == nil, inserts.repeatsIDs {
        collections[index].idReason = "an _id was deleted, and inserted again"
      }
      let namespace = "\(collections[index].database).\(collections[index].name)"
      if evidence.emptyKeys.contains(namespace) { collections[index].leaveKeysOut() }
      if let seconds {
        collections[index].seen =
          "\(inserts.messages + others.messages) changes in \(Int(seconds)) s of oplog, \(inserts.messages) of them taken by \(collections[index].insertRule)"
      }
      guard inserts.inference.count >= Self.enough else {
        collections[index].schemaNote =
          "\(inserts.inference.count) documents are too few for one. Later: tailrace schema infer --rule \(collections[index].insertRule)"
        continue
      }
      let path = "schemas/\(collections[index].insertRule).json"
      var schema = inserts.inference.schema(
        .init(title: "\(collections[index].database).\(collections[index].name): insert"))
      if inserts.messages < Self.enough {
        schema = SchemaEasing.withoutRequired(schema, in: "fullDocument")
        collections[index].schemaNote =
          "Asks for no field: only \(inserts.messages) inserts were seen, and documents change after that."
      }
      schemas.append((path, schema))
      collections[index].schema = path
    }
    for index in databases.indices {
      databases[index].size = size(databases[index], evidence, seconds)
    }
  }

  private func size(
    _ database: Database, _ evidence: ProposalEvidence, _ seconds: Double?
  ) -> [String] {
    guard let seconds, seconds >= Self.shortest else {
      return [
        "    # max_bytes: "
          + (seconds.map { "\(Int($0)) s of oplog are too short to tell a week's." }
            ?? "these events don't tell how many there are in a week.")
          + " tailrace streams size calculates it."
      ]
    }
    var sum = ProposalEvidence.Rule()
    for collection in collections where collection.database == database.name {
      for name in [collection.insertRule, collection.otherRule] {
        if let rule = evidence.rules[name] { sum.add(rule) }
      }
    }
    guard sum.messages > 0 else {
      return ["    # max_bytes: nothing has changed in \(Int(seconds)) s of oplog."]
    }
    let size = StreamSizing(
      rate: Double(sum.messages) / seconds, body: sum.bodyBytes / sum.messages,
      // The version line and the empty one.
      headers: sum.headerBytes / sum.messages + 12,
      subject: sum.subjectBytes / sum.messages, retention: Self.retention, replicas: 1,
      duplicateWindow: Self.duplicateWindow)
    let mebibytes = max(64, (size.bytesPerReplica * 1.25 / 1_048_576).rounded(.up))
    let rate = (size.rate * 100).rounded() / 100
    return [
      "    # \(rate) messages/s in \(Int(seconds)) s of oplog, \(size.storedSize) bytes each as stored: "
        + "\(Int((size.bytesPerReplica / 1_048_576).rounded(.up))) MiB in 7 days.",
      "    # A quarter more, on each replica. Busier days need more: tailrace streams size.",
      "    max_bytes: \(Int64(mebibytes) * 1_048_576)",
    ]
  }

  // MARK: YAML

  public var yaml: String {
    var text = head
    text += "streams:\n"
    for database in databases {
      text += """
          - name: \(ProposedNames.scalar(database.stream))
            subjects: ["\(database.prefix).>"]
            # shared: producers publish there, too (docs/cutover.md).
            ownership: exclusive
            # 3 in a cluster of three servers or more.
            num_replicas: ${NATS_REPLICAS:-1}
            max_age: 7d

        """
      text += database.size.joined(separator: "\n") + "\n"
      text += "    # How long servers recognise a message's id.\n    duplicate_window: 10m\n"
    }
    text += """

      # Two rules for a collection: inserts, by what they belong to; and everything else, by its document. The first
      # rule that matches takes the event. Changes of other collections are counted, and not published.
      unmatched: ignore
      rules:

      """
    for collection in collections {
      guard let database = databases.first(where: { $0.name == collection.database }) else {
        continue
      }
      text += collection.yaml(prefix: database.prefix, stream: database.stream)
    }
    if !leftOut.isEmpty {
      text += "\n# Without rules:\n"
      for (name, reason) in leftOut {
        text += "#   \(CollectionProposal.comment(name)): \(reason)\n"
      }
    }
    text += """

      http:
        # The page, /healthz, /metrics. Loopback only.
        listen: ${HTTP_LISTEN:-127.0.0.1:8080}

      """
    return text
  }

  private var head: String {
    let (seen, name, uri): (String, String, String)
    switch origin {
    case .deployment(let given, let set):
      seen = "what the replica set \(CollectionProposal.comment(set)) holds"
      name = databases.count == 1 ? databases[0].prefix : ProposedNames.plain(set)
      uri =
        given.map { "  uri: \(Self.withDefault("MONGODB_URI", $0))" }
        ?? "  # Its credentials are not written here.\n  uri: ${MONGODB_URI}"
    case .events(let file):
      seen = "the events in \(CollectionProposal.comment(file))"
      name = databases.count == 1 ? databases[0].prefix : "tailrace"
      uri = ConfigurationHead.defaultURI
    }
    return """
      # tailrace: proposed by `tailrace init` from \(seen).
      # A sample does not tell everything: read it, and edit it.
      \(ConfigurationHead.yaml(uri: uri, bridge: name))

      """
  }

  /// A quoted scalar with a variable and its default.
  private static func withDefault(_ name: String, _ value: String) -> String {
    let quoted = CollectionProposal.quoted(value)
    return "\"${\(name):-" + quoted.dropFirst().dropLast() + "}\""
  }
}
