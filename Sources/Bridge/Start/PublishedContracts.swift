package import BridgeConfiguration
import JSON
package import JetStream
package import Logging
import Mapping
import SchemaCatalog

/// The schemas of rules that name a published version (`schema_version`), compared with what is published.
package struct PublishedContracts: Sendable {
  /// The KV bucket with the catalogue.
  package static let bucket = "TAILRACE_SCHEMAS"

  package struct Finding: Sendable {
    package var rule: String
    package var version: SchemaVersion
    /// Nil: it is not published.
    package var isSame: Bool?
  }

  private let configuration: BridgeConfiguration
  private let catalogue: KeyValueBucket

  package init(_ configuration: BridgeConfiguration, _ jetStream: JetStreamClient) {
    self.configuration = configuration
    catalogue = KeyValueBucket(jetStream, name: Self.bucket)
  }

  /// Of each rule that names a version. Nobody is asked where there is none.
  package func findings() async throws(JetStreamError) -> [Finding] {
    var findings: [Finding] = []
    for index in configuration.rules.indices {
      guard let schema = configuration.schemas[index], let version = schema.version else {
        continue
      }
      let stored = try await catalogue.get("\(version)")
      findings.append(
        Finding(
          rule: configuration.rules[index].name, version: version,
          isSame: stored.map { $0.value == PublishedSchema(schema.bundled).bytes }))
    }
    return findings
  }

  /// Warns of versions that are not published.
  ///
  /// - Throws: `StartRefusal` if a schema is not what is published as its version.
  package func check(_ logger: Logger) async throws {
    for finding in try await findings() {
      if let refusal = finding.refusal { throw refusal }
      if let warning = finding.warning { logger.warning("\(warning)") }
    }
  }
}

extension PublishedContracts.Finding {
  package var check: String { "nats.schema.\(version)" }

  package var refusal: StartRefusal? {
    guard isSame == false else { return nil }
    return StartRefusal(
      check: check,
      why:
        "rule \(rule): its schema is not what is published as \(version): publish it as the next version, and name that in schema_version",
      remedy:
        "tailrace schema publish \(version.name) FILE\n# Then, in the rule:\nschema_version: \(version.name).N"
    )
  }

  package var warning: String? {
    guard isSame == nil else { return nil }
    return
      "rule \(rule): no schema is published as \(version): tailrace schema publish \(version.name) FILE"
  }
}
