import BridgeConfiguration
import Foundation
import JSON
import JSONSchema
import Testing

/// Every word with one letter lost, doubled, replaced or swapped with the next, and in other cases.
private func slips(of word: String) -> [String] {
  let letters = Array(word)
  var found: Set<String> = [
    word.lowercased(), word.uppercased(), word.prefix(1).uppercased() + word.dropFirst(),
  ]
  for index in letters.indices {
    var lost = letters
    lost.remove(at: index)
    var doubled = letters
    doubled.insert(letters[index], at: index)
    var replaced = letters
    replaced[index] = letters[index] == "q" ? "j" : "q"
    found.formUnion([String(lost), String(doubled), String(replaced)])
    if index + 1 < letters.count {
      var swapped = letters
      swapped.swapAt(index, index + 1)
      found.insert(String(swapped))
    }
  }
  return found.subtracting([word, ""]).sorted()
}

@Suite("misspellings") struct MisspellingTests {
  // MARK: Schemas

  /// A value that a keyword takes.
  private static func value(of keyword: String) -> JSONValue {
    switch keyword {
    case "allOf", "anyOf", "oneOf", "prefixItems": [[:]]
    case "required": ["a"]
    case "enum", "examples": [1]
    case "properties", "patternProperties", "$defs", "definitions", "dependentSchemas",
      "dependentRequired", "dependencies", "$vocabulary", "items", "additionalItems",
      "additionalProperties", "propertyNames", "contains", "not", "if", "then", "else",
      "unevaluatedItems", "unevaluatedProperties", "contentSchema":
      [:]
    case "uniqueItems", "readOnly", "writeOnly", "deprecated": true
    case "type", "title", "description", "pattern", "format", "contentMediaType",
      "contentEncoding", "default", "const":
      "x"
    default: keyword.hasPrefix("$") ? "x" : 1
    }
  }

  private static func told(_ key: String, _ value: JSONValue, _ draft: SchemaDraft) -> Bool {
    UnknownKeyword.all(in: .object([.init(key, value)]), default: draft)
      .contains { $0.meant != nil }
  }

  @Test("of a schema's keywords are seen", arguments: SchemaDraft.allCases)
  func keywords(_ draft: SchemaDraft) {
    let known = UnknownKeyword.known(in: draft)
    // Annotations that people write, and which are like others.
    let legal = ["comment", "example"]
    for keyword in known {
      for slip in slips(of: keyword)
      where !known.contains(slip) && !legal.contains(slip) {
        #expect(Self.told(slip, Self.value(of: keyword), draft), "\(slip) for \(keyword)")
      }
    }
  }

  @Test(
    "and other words for them",
    arguments: [
      (#"{"additionalProperty": false}"#, "additionalProperties"),
      (#"{"maxLen": 3}"#, "maxLength"), (#"{"minlength": 3}"#, "minLength"),
      (#"{"enums": ["a"]}"#, "enum"), (#"{"requierd": ["a"]}"#, "required"),
      (#"{"propertes": {}}"#, "properties"), (#"{"patern": "a"}"#, "pattern"),
      (#"{"additional_properties": false}"#, "additionalProperties"),
      (#"{"property": {}}"#, "properties"), (#"{"one_of": [{}]}"#, "oneOf"),
      (#"{"regex": "a"}"#, "pattern"), (#"{"min": 1}"#, "minimum"),
      (#"{"exclusiveMin": 1}"#, "exclusiveMinimum"), (#"{"minProps": 1}"#, "minProperties"),
      (#"{"refs": "x"}"#, "$ref"), (#"{"definition": {}}"#, "definitions"),
      (#"{"additionalProps": {}}"#, "additionalProperties"),
    ]) func words(_ text: String, _ keyword: String) throws
  {
    let found = UnknownKeyword.all(in: try JSONValue(parsing: text))
    #expect(found.count == 1)
    #expect(found.first?.meant?.remedy == "did you mean \(keyword)?")
  }

  @Test("of formats are seen", arguments: SchemaDraft.allCases)
  func formats(_ draft: SchemaDraft) {
    let known = UnknownKeyword.formats(in: draft)
    #expect(known.count >= 17)
    // One letter of these makes another format, or a word of its own.
    let legal: Set = ["data", "rate", "mime", "uid", "urn"]
    for format in known {
      #expect(!Self.told("format", .string(format), draft))
      for slip in slips(of: format) where !known.contains(slip) && !legal.contains(slip) {
        #expect(Self.told("format", .string(slip), draft), "\(slip) for \(format)")
      }
    }
    for own in ["int32", "int64", "double", "byte", "password", "color", "phone", "ulid", "x-own"] {
      #expect(!Self.told("format", .string(own), draft), "\(own)")
    }
    // A property of that name is none, and what is no name is an error elsewhere.
    #expect(!Self.told("properties", ["format": ["const": "emial"]], draft))
    #expect(!Self.told("const", ["format": "emial"], draft))
  }

  @Test(
    "and other words for them",
    arguments: [
      ("emial", "email"), ("e-mail", "email"), ("datetime", "date-time"),
      ("date_time", "date-time"),
      ("dateTime", "date-time"), ("url", "uri"), ("guid", "uuid"), ("host-name", "hostname"),
      ("ip", "ipv4"), ("timestamp", "date-time"), ("regexp", "regex"),
      ("uri_reference", "uri-reference"),
    ]) func formatWords(_ text: String, _ meant: String)
  {
    let found = UnknownKeyword.all(in: ["format": .string(text)]).compactMap(\.meant)
    #expect(found.map(\.remedy) == ["did you mean \(meant)?"])
  }

  @Test("a format of a later draft says nothing in an earlier one") func laterFormat() {
    let found = UnknownKeyword.all(in: ["format": "uuid"], default: .draft7).compactMap(\.meant)
    #expect(found.map(\.remedy) == ["name the draft that has it with $schema"])
  }

  // MARK: Connection strings

  private static func doubts(_ options: String, hosts: String = "h:1") throws -> [String] {
    try configuration(
      """
      source: { uri: "mongodb://u:geheim@\(hosts)/?\(options)" }
      streams: [{ name: S, subjects: [x.>] }]
      rules: [{ name: r, match: { namespace: a.b }, subject: x.y }]
      """
    ).warnings.map(\.description)
  }

  @Test("of options in the MongoDB URI are seen") func mongoOptions() throws {
    for option in MongoURI.optionNames where option.count > 3 {
      for slip in slips(of: option)
      where !MongoURI.optionNames.contains(where: {
        $0.lowercased() == slip.lowercased()
      }) {
        let found = try Self.doubts("\(slip)=Wert")
        #expect(found.count == 1 && found[0].contains("Did you mean"), "\(slip): \(found)")
        #expect(!"\(found)".contains("Wert") && !"\(found)".contains("geheim"))
      }
    }
    #expect(
      try Self.doubts("replicaset=rs0&AuthSource=admin&tls=true&retryWrites=true&w=majority") == [])
  }

  @Test(
    "options that contradict what the bridge needs",
    arguments: [
      ("readPreference=secondary", "secondaryPreferred"), ("w=0", "only reads"),
      ("readConcernLevel=local", "source.read_concern"), ("loadBalanced=true", "replica set"),
      ("replicaSet=a&replicaSet=b", "twice"), ("maxConnecting=2", "Leave it out"),
      ("journal=true&wTimeout=3", "wTimeoutMS"),
    ]) func contradictions(_ options: String, _ words: String) throws
  {
    let found = try Self.doubts(options)
    #expect(found.count == 1 && found[0].contains(words), "\(found)")
    #expect(found[0].hasSuffix("[uri.option]"))
  }

  @Test(
    "and those that are fine",
    arguments: [
      "readPreference=secondaryPreferred", "readPreference=nearest", "w=1", "directConnection=true",
      "readConcernLevel=majority", "readPreferenceTags=a:b&readPreferenceTags=",
      "loadBalanced=false",
      "replicaSet=a&replicaSet=a",
    ]) func fine(_ options: String) throws
  { #expect(try Self.doubts(options) == []) }

  @Test("a direct connection to several hosts is an error") func direct() throws {
    #expect(throws: ConfigurationProblems.self) {
      try Self.doubts("directConnection=true", hosts: "h:1,i:2")
    }
  }

  @Test("nothing secret is in what is printed") func secrets() throws {
    // A misspelt secret option, and one that is old.
    for uri in [
      "mongodb://host/?tlsCertificateKeyFilePasword=wort",
      "mongodb://host/?sslClientCertificateKeyPassword=wort",
    ] {
      let found = try configuration(
        """
        source: { uri: "\(uri)" }
        streams: [{ name: S, subjects: [x.>] }]
        rules: [{ name: r, match: { namespace: a.b }, subject: x.y }]
        """)
      let printed = "\(found.warnings) \(found.source.uri)"
      #expect(!printed.contains("wort") && !printed.contains("geheim"), "\(printed)")
    }
  }

  // MARK: Annotations

  @Test("annotations of other tools are none") func annotations() throws {
    for text in [
      #"{"x-max": 1, "example": 1, "examples": [1], "comment": "c", "note": "n", "notes": ["n"]}"#,
      #"{"unit": "ms", "units": "ms", "owner": "me", "tags": ["a"], "version": 3, "since": "2"}"#,
      #"{"enumNames": ["a"], "enumDescriptions": ["a"], "markdownDescription": "d"}"#,
      #"{"errorMessage": "no", "deprecationMessage": "d", "tsType": "T", "javaType": "T"}"#,
      #"{"defaultSnippets": [], "propertyOrder": 1, "links": [], "label": "l", "group": "g"}"#,
      #"{"options": {}, "widget": "w", "hidden": true, "icon": "i", "name": "n", "order": 1}"#,
      #"{"discriminator": {}, "externalDocs": {}, "xml": {}, "meta": {}, "source": "s"}"#,
      #"{"unique": true, "index": true, "precision": 3, "scale": 2, "primaryKey": ["a"]}"#,
      #"{"min_version": "1", "range": [1, 2], "values": "many", "text": "t", "field": "f"}"#,
    ] {
      for unknown in UnknownKeyword.all(in: try JSONValue(parsing: text)) {
        #expect(unknown.meant == nil, "\(unknown.keyword)")
      }
    }
  }

  @Test(
    "the JSON Schema Test Suite has none but those it has on purpose",
    arguments: ["draft2020-12", "draft2019-09", "draft7"]) func suite(_ name: String) throws
  {
    let given = ProcessInfo.processInfo.environment["JSON_SCHEMA_TEST_SUITE"]
    let folder = URL(
      fileURLWithPath: given ?? "../shared/data/json-schema-test-suite", isDirectory: true
    )
    .appending(path: "tests/\(name)")
    let files = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
    let draft: SchemaDraft =
      name == "draft7" ? .draft7 : name == "draft2019-09" ? .draft2019 : .draft2020
    var told: Set<String> = []
    for file in files.sorted() where file.hasSuffix(".json") {
      let groups = try JSONValue(parsing: Data(contentsOf: folder.appending(path: file)))
      for group in groups.arrayValue ?? [] {
        for unknown in UnknownKeyword.all(in: group["schema"] ?? .null, default: draft)
        where unknown.meant != nil && !unknown.isOfAnotherDraft { told.insert(unknown.keyword) }
      }
    }
    #expect(told == [])
  }

  // MARK: Streams

  @Test("of JetStream's fields are errors") func fields() throws {
    func refused(_ slips: [String], consumers: Bool = false) -> [String] {
      let keys = slips.map { "\($0): {}" }.joined(separator: ", ")
      let text = consumers ? "consumers: [{ durable_name: c, \(keys) }]" : keys
      return problems(
        base.replacingOccurrences(
          of: "- name: CHANGES\n    subjects: [\"changes.>\"]",
          with: "- { name: CHANGES, subjects: [\"changes.>\"], \(text) }"))
    }
    for field in [
      "subjects", "ownership", "publish", "on_loss", "consumers", "num_replicas", "storage",
      "retention", "max_age", "duplicate_window", "max_msgs_per_subject", "placement",
      "allow_atomic", "compression", "discard", "max_bytes", "allow_direct", "republish",
      "subject_delete_marker_ttl", "metadata", "description",
    ] {
      let found = refused(slips(of: field))
      for slip in slips(of: field) {
        #expect(found.contains { $0.contains("unknown key \(slip) in streams[0]") }, "\(slip)")
      }
    }
    for field in [
      "ack_policy", "ack_wait", "max_deliver", "filter_subject", "deliver_policy", "backoff",
      "max_ack_pending", "inactive_threshold", "opt_start_seq", "replay_policy", "sample_freq",
    ] {
      let found = refused(slips(of: field), consumers: true)
      for slip in slips(of: field) {
        #expect(found.contains { $0.contains("unknown key \(slip) in ") }, "\(slip)")
      }
    }
    for nested in [
      "replicas: 3", "dedupWindow: 2m", "max_messages: 5",
      "consumers: [{ durable_name: c, ack: all }]",
      "placement: { clustr: a }", "consumer_limits: { max_ack_pendng: 1 }",
      "republish: { src: a, dets: b }", "subject_transform: { source: a, dest: b }",
      "ownership: shared, sources: [{ nmae: X }]",
    ] {
      let list = problems(
        base.replacingOccurrences(
          of: "- name: CHANGES\n    subjects: [\"changes.>\"]",
          with: "- { name: CHANGES, subjects: [\"changes.>\"], \(nested) }"))
      #expect(list.contains { $0.contains("unknown key") }, "\(nested): \(list)")
    }
  }

  // MARK: Conditions

  private static func whole(_ condition: String, subject: String = "s.x") -> String {
    """
    streams: [{ name: S, subjects: ["s.>"] }]
    rules:
      - name: r
        match: { namespace: a.b, where: { \(condition) } }
        subject: "\(subject)"
    """
  }

  /// Seen at all: as an error or a warning at the condition's line.
  private static func isSeen(_ condition: String) -> Bool {
    do throws(ConfigurationProblems) {
      let found = try BridgeConfiguration.parse(
        yaml: whole(condition), file: "t.yaml", environment: [:])
      return found.warnings.contains { $0.line == 4 }
    } catch {
      return error.problems.allSatisfy { $0.line == 4 }
    }
  }

  @Test("of operators are seen, with and without their $") func operators() {
    for (name, operand) in [
      ("exists", "false"), ("regex", "\"^a\""), ("type", "string"), ("nin", "[a]"),
      ("gte", "5"), ("lte", "5"), ("not", "{ $gt: 5 }"), ("elemMatch", "{ a: 1 }"),
    ] {
      for slip in slips(of: name) + [name] {
        // Legal operators all the same, or too much like names without the $.
        let legal = [
          "$not", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$eq", "$ne", "$type", "$regex",
          "$exists",
        ]
        if !legal.contains("$\(slip)") {
          #expect(Self.isSeen("fullDocument.x: { $\(slip): \(operand) }"), "$\(slip)")
        }
        if name.count > 4 {
          #expect(Self.isSeen("fullDocument.x: { \(slip): \(operand) }"), "\(slip)")
        }
      }
    }
    for condition in [
      "fullDocument.x: { $in: [{ $odi: 56e1fc72e0c917e9c4714161 }] }",
      "and: [{ fullDocument.x: 1 }]", "$an: [{ fullDocument.x: 1 }]",
      "fulldocument.x: 1", "fullDocument..x: 1", "documentkey._id: 1", "operationtype: insert",
      "operationType: inserts", "operationType: { $in: [insert, updated] }",
      "operationType: drop_database", "updateDescription.updatedfields.x: 1",
      "ns.database: a", "fullDocument.x: { exists: 1 }", "fullDocument.x:",
      "fullDocument.x: { $gt: }",
      "fullDocument.x: { in: [1], nin: [2] }",
    ] {
      #expect(Self.isSeen(condition), "\(condition)")
    }
  }

  @Test(
    "documents that only look like operators are documents",
    arguments: [
      "fullDocument.loc: { type: Point, coordinates: [1, 2] }", "fullDocument.x: { type: file }",
      "fullDocument.x: { exists: maybe }", "fullDocument.x: { in: stock }",
      "fullDocument.x: { regex: a, flags: i }", "fullDocument.x: { not: yes }",
      "fullDocument.x: { gt: 1, unit: km }", "fullDocument.x: { $eq: { exists: false } }",
      "fullDocument.x: { $in: [{ type: string }] }", "fullDocument.x: { types: [a] }",
      "fullDocument.x: { size: 5 }", "fullDocument.x: { name: n }", "fullDocument.x: {}",
      "fullDocument.x: { options: [a, b] }", "fullDocument.x: { all: true }",
    ]) func documents(_ condition: String) throws
  {
    #expect(try configuration(Self.whole(condition)).warnings == [])
  }

  // MARK: Templates and variables

  @Test(
    "of paths are seen",
    arguments: [
      "s.{fulldocument.x}", "s.{fullDocument..x}", "s.{documentkey._id}", "s.{documentKey.id}",
      "s.$fullDocument.rid.x", "s.fulldocument.rid", "s.x.$fulldocument.rid", "s.documentKey._id",
      "s.ns.coll", "s.(documentKey._id)", "s.updateDescripton.x", "s.{ns.collection}",
      "s.{updateDescription.updatedfields.x}", "s.{operationtype}", "s.x-$ROOM", "s.$(ROOM).x",
      "s.${documentKey._id}", "s.{ documentKey._id }", "s.{documentKey._id }",
      "s.{{documentKey._id}}",
    ]) func paths(_ subject: String) throws
  {
    let yaml = """
      streams: [{ name: S, subjects: ["s.>"] }]
      rules:
        - name: r
          match: { namespace: a.b }
          subject: "\(subject)"
      """
    do throws(ConfigurationProblems) {
      let found = try BridgeConfiguration.parse(yaml: yaml, file: "t.yaml", environment: [:])
      #expect(found.warnings.contains { $0.line == 5 })
    } catch {
      #expect(error.problems.allSatisfy { $0.line == 5 }, "\(error)")
    }
  }

  @Test(
    "of variables are seen",
    arguments: [
      ("source: { uri: \"mongodb://$HOST:27017/?replicaSet=rs0\" }", 26),
      ("source: { uri: \"mongodb://$(HOST)/?replicaSet=rs0\" }", 26),
      ("source: { uri: \"mongodb://user:$PASSWORD@h/?replicaSet=rs0\" }", 31),
      ("source: { uri: \"mongodb://u:p@db.$REGION.example.com/?replicaSet=rs0\" }", 33),
      ("source: { uri: \"mongodb://h/?replicaSet=$SET\" }", 40),
      ("source: { uri: \"mongodb://$host/?replicaSet=rs0\" }", 26),
      ("source: { uri: \"mongodb://{{ HOST }}/?replicaSet=rs0\" }", 26),
      ("source: { uri: \"mongodb://<host>/?replicaSet=rs0\" }", 26),
      ("nats: { servers: [\"nats://$NATS_HOST:4222\"] }", 26),
      ("nats: { name: tailrace-$REGION }", 23), ("nats: { token: $NATS_TOKEN }", 16),
      ("nats: { token: \"%NATS_TOKEN%\" }", 16), ("nats: { token: $(token) }", 16),
    ]) func variables(_ line: String, _ column: Int) throws
  {
    let warnings = try configuration(base + line).warnings.filter { $0.line > 11 }
    #expect(warnings.map(\.id) == [.variableBraces])
    #expect(warnings.first?.line == 12)
    // Of quoted text, the first character stands behind the quote.
    #expect(abs((warnings.first?.column ?? 0) - column) <= 1, "\(warnings)")
    #expect(!"\(warnings)".contains("TOKEN"))
  }

  @Test(
    "what is none is not taken for one",
    arguments: [
      "source: { uri: \"mongodb://u:pa$SWORD1@h/?replicaSet=rs0\" }",
      "source: { uri: \"mongodb://u:a%24B@h/?replicaSet=rs0\" }", "nats: { token: \"a-$B_C\" }",
      "nats: { token: \"$$\" }", "nats: { token: \"5$\" }", "nats: { name: \"a $5 bridge\" }",
      "nats: { user: u, password: \"x$ABC.$DEF\" }", "nats: { name: \"100%\" }",
      "source: { uri: \"mongodb://[::1]:27017/?replicaSet=rs0\" }",
    ]) func noVariables(_ line: String) throws
  {
    #expect(try configuration(base + line).warnings.filter { $0.line > 11 } == [])
  }
}
