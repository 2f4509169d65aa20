import BridgeConfiguration
import JSON
import JSONSchema
import Mapping
import Oplog

/// A rule's messages, as an AsyncAPI message object.
struct AsyncAPIMessage {
  var rule: Rule
  var schema: RuleSchema?
  /// They say which bridge published them.
  var namesBridge: Bool
  /// JSON pointer to it.
  var place: String

  private static let mostExamples = 3

  func json(examples: [JSONValue]) -> JSONValue {
    var members: [JSONValue.Member] = [
      .init("name", .string(rule.name)),
      .init("summary", .string(summary)),
      .init(
        "contentType",
        .string(
          rule.envelope == .cloudEventsStructured
            ? "application/cloudevents+json" : "application/json")),
      .init("headers", headers),
      .init("payload", payload),
      .init(
        "x-tailrace",
        .object([
          .init("group", .string(rule.group)), .init("envelope", .string(rule.envelope.rawValue)),
          .init("id", .string(id)),
        ])),
    ]
    let shown = examples.prefix(Self.mostExamples).map { example -> JSONValue in
      var parts: [JSONValue.Member] = []
      if let headers = example["headers"] { parts.append(.init("headers", headers)) }
      if let body = example["body"] { parts.append(.init("payload", body)) }
      return .object(parts)
    }
    if !shown.isEmpty { members.append(.init("examples", .array(shown))) }
    return .object(members)
  }

  private var summary: String {
    let operations = rule.operations.operations.map(\.configurationName)
    return "\(operations.joined(separator: ", ")) in \(rule.namespace.text)"
  }

  private var id: String {
    switch rule.id {
    case .positional: "positional"
    case .template(let template): template.text
    }
  }

  // MARK: - Headers

  private var headers: JSONValue {
    var properties = [
      Self.header("Nats-Msg-Id", "By which servers and consumers tell repetitions"),
      Self.header(
        "Tailrace-Position", "<seconds>.<increment>.<index>: its place in the oplog",
        pattern: "^[0-9]+\\.[0-9]+\\.[0-9]+$"),
      Self.constant("Tailrace-Rule", rule.name),
    ]
    var required = properties.map(\.key)
    if namesBridge {
      properties.append(Self.header("Tailrace-Bridge", "The bridge that published it"))
      required.append("Tailrace-Bridge")
    }
    if rule.envelope == .cloudEvents {
      properties += cloudEvents
      required += ["ce-specversion", "ce-id", "ce-source", "ce-type", "ce-time"]
    }
    properties.append(
      Self.header("Tailrace-Snapshot", "true: a document that was there already, not a change"))
    if rule.fullDocument != .off {
      properties.append(Self.header("Tailrace-Image", "What the full document of an update is"))
    }
    return .object([
      .init("type", "object"),
      .init("properties", .object(properties)),
      .init("required", .array(required.map { .string($0) })),
    ])
  }

  private var cloudEvents: [JSONValue.Member] {
    var found = [
      Self.constant("ce-specversion", "1.0"), Self.header("ce-id", "Equal to Nats-Msg-Id"),
      Self.header("ce-source", "The replica set and database"),
      rule.eventType.map { Self.constant("ce-type", $0) }
        ?? Self.header("ce-type", "<collection>.<operation>"),
      Self.header("ce-time", "When the change was made (RFC 3339)"),
      Self.header("ce-subject", "The document's _id"),
    ]
    if let schema = rule.dataSchema { found.append(Self.constant("ce-dataschema", schema)) }
    return found
  }

  private static func header(
    _ name: String, _ description: String, pattern: String? = nil
  ) -> JSONValue.Member {
    var members: [JSONValue.Member] = [
      .init("type", "string"), .init("description", .string(description)),
    ]
    if let pattern { members.append(.init("pattern", .string(pattern))) }
    return .init(name, .object(members))
  }

  private static func constant(_ name: String, _ value: String) -> JSONValue.Member {
    .init(name, .object([.init("type", "string"), .init("const", .string(value))]))
  }

  // MARK: - Payload

  /// The rule's schema with its draft, and what it refers to; without a schema, any object.
  private var payload: JSONValue {
    guard let schema else { return ["type": "object"] }
    let document = EmbeddedSchema.embedded(schema.bundled, at: "\(place)/payload/schema")
    let draft =
      document["$schema"]?.stringValue.flatMap { SchemaDraft(metaschema: $0) } ?? .draft2020
    let format =
      switch draft {
      case .draft7: "application/schema+json;version=draft-07"
      case .draft2019: "application/schema+json;version=2019-09"
      case .draft2020: "application/schema+json;version=2020-12"
      }
    return .object([.init("schemaFormat", .string(format)), .init("schema", document)])
  }

  /// Any rule's.
  static var deadLetter: JSONValue {
    let properties = [
      header("Nats-Msg-Id", "The id of the message that it would have been"),
      header("Tailrace-Position", "<seconds>.<increment>.<index>: its place in the oplog"),
      header("Tailrace-Rule", "The rule"), header("Tailrace-Bridge", "The bridge"),
      header("Tailrace-Error", "What kind of error it is"),
      header("Tailrace-Error-Detail", "What is wrong"),
      header("Tailrace-Subject", "The subject that it would have had"),
    ]
    return .object([
      .init("name", "dead_letter"),
      .init("summary", "An event that could not become a message"),
      .init("contentType", "application/json"),
      .init(
        "headers",
        .object([
          .init("type", "object"), .init("properties", .object(properties)),
          .init("required", .array(["Tailrace-Error"])),
        ])),
      .init(
        "payload",
        ["type": "object", "description": "The change event, as canonical Extended JSON"]),
    ])
  }
}
