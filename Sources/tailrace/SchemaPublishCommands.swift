import ArgumentParser
import Bridge
import BridgeConfiguration
import Foundation
import JSON
import JSONSchema
import Logging
import Operator
import SchemaCatalog
import SchemaDiff

/// What the commands for published schemas share.
enum SchemaStoreCommand {
  static func store(_ file: ConfigurationOption) throws -> SchemaStore {
    let environment = ProcessInfo.processInfo.environment
    let configuration = try loadConfiguration(file.path(environment), environment)
    var logger = makeLogger(configuration.log)
    logger.logLevel = max(logger.logLevel, .warning)
    return SchemaStore(configuration, logger: logger)
  }

  static func perform<T>(_ body: () async throws(BridgeError) -> T) async throws -> T {
    do throws(BridgeError) {
      return try await body()
    } catch {
      printError(error.description)
      throw ExitCode(error.exitCode)
    }
  }

  static func name(_ text: String) throws -> SchemaName {
    guard let name = SchemaName(text) else {
      let shown = text.count <= 80 ? text : text.prefix(79) + "…"
      throw ValidationError(
        "'\(printable(String(shown)))' is no name of a schema: \(printable(SchemaName.fault(of: text) ?? ""))"
      )
    }
    return name
  }

  /// A version, or the newest one; exit code 1 where there is none.
  static func version(
    _ name: SchemaName, _ number: Int?, _ file: ConfigurationOption
  ) async throws -> (SchemaStore.Version, SchemaStore.History) {
    let store = try store(file)
    let history = try await perform { () throws(BridgeError) in try await store.history(name) }
    let found = number.map { number in history.versions.first { $0.version == number } }
    guard let version = found ?? (number == nil ? history.versions.last : nil) else {
      printError(
        history.versions.isEmpty
          ? "no schema is published as \(name)"
          : "\(name) has no version \(number ?? 0), the newest is \(history.versions.last?.version ?? 0)"
      )
      throw ExitCode(1)
    }
    return (version, history)
  }
}

/// `tailrace schema publish`.
struct SchemaPublish: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "publish", abstract: "Publishes a version of a schema to NATS.",
    discussion: """
      The version is compared with the one before, by the name's policy (BACKWARD unless it was \
      set). Exit code 0 if it is published, now or already; 1 if it isn't compatible, 2 if that is \
      not decided.
      """)

  enum Compatibility: String, ExpressibleByArgument, CaseIterable {
    case backward, forward, full, none

    var compatibility: SchemaCompatibility {
      switch self {
      case .backward: .backward
      case .forward: .forward
      case .full: .full
      case .none: .none
      }
    }
  }

  @Argument(help: "The name, such as chat.message.") var name: String
  @Argument(help: "The schema's file.") var schema: String
  @Option(help: "Makes it the name's policy: backward, forward, full, none.")
  var compatibility: Compatibility?
  @Flag(help: "With --compatibility: with all earlier versions.") var transitive = false
  @Flag(help: "One JSON object.") var json = false
  @OptionGroup var file: ConfigurationOption

  func validate() throws {
    _ = try SchemaStoreCommand.name(name)
    if transitive, compatibility == nil {
      throw ValidationError("--transitive goes with --compatibility")
    }
  }

  func run() async throws {
    let name = try SchemaStoreCommand.name(self.name)
    let published = PublishedSchema(try document())
    let policy = compatibility.map {
      SchemaPolicy(compatibility: $0.compatibility, isTransitive: transitive)
    }
    let store = try SchemaStoreCommand.store(file)
    let outcome: SchemaStore.Published
    do throws(SchemaStore.Failure) {
      outcome = try await store.publish(published, as: name, policy: policy)
    } catch {
      switch error {
      case .bridge(let error):
        printError(error.description)
        throw ExitCode(error.exitCode)
      case .schema(let error):
        printError("\(schema): \(error)")
        throw ExitCode(78)
      }
    }
    switch outcome {
    case .new(let version, let change): tell(version, isNew: true, change)
    case .already(let version, let change): tell(version, isNew: false, change)
    case .refused(let decision): try refuse(decision)
    }
  }

  private func document() throws -> JSONValue {
    do throws(SchemaError) {
      return try SchemaFile(schema).document
    } catch {
      printError("\(error)")
      throw ExitCode(78)
    }
  }

  private func tell(
    _ version: SchemaStore.Version, isNew: Bool, _ change: SchemaStore.PolicyChange?
  ) {
    if json {
      var object = version.json(isNew: isNew)
      if let change {
        object["policy"] = ["before": change.before?.json ?? .null, "now": change.now.json]
      }
      print(object.text())
    } else {
      let key = version.name.key(version: version.version)
      print("\(key) \(isNew ? "is published" : "was published already"), sha256 \(version.hash)")
      if let change {
        print(
          "the policy of \(version.name) was \(change.before?.text ?? "not understood"), and is \(change.now.text) from now on"
        )
      }
    }
  }

  private func refuse(_ decision: PublishDecision) throws {
    guard case .refused(let verdict, let refusing) = decision else { return }
    if json {
      let list = refusing.map { version, compatibility, comparison in
        JSONValue.object([
          .init("version", .int(version)),
          .init("comparison", comparison.json(for: compatibility)),
        ])
      }
      let report: JSONValue = [
        "name": .string(name), "published": false, "verdict": .string(verdict.rawValue),
        "refused_by": .array(list),
      ]
      print(report.text())
    } else {
      for (version, _, comparison) in refusing {
        print("refused: compared with \(name).\(version) (OLD), \(schema) (NEW) is")
        print(printable(comparison.text(), keepingLines: true))
      }
    }
    throw ExitCode(verdict == .undecided ? 2 : 1)
  }
}

extension SchemaPolicy {
  var text: String { compatibility.rawValue + (isTransitive ? " (transitive)" : "") }

  var json: JSONValue {
    ["compatibility": .string(compatibility.rawValue), "transitive": .bool(isTransitive)]
  }
}

extension SchemaStore.Version {
  func json(isNew: Bool? = nil) -> JSONValue {
    var json: JSONValue = [
      "name": .string(name.description), "version": .int(version),
      "key": .string(name.key(version: version)), "sha256": .string(hash),
      "time": .string(time), "bytes": .int(bytes.count),
    ]
    if let isNew { json["new"] = .bool(isNew) }
    return json
  }
}

/// `tailrace schema list`.
struct SchemaList: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "The published schemas.")

  @Argument(help: "Only this name, with all its versions.") var name: String?
  @Flag(help: "One JSON object a version.") var json = false
  @OptionGroup var file: ConfigurationOption

  func validate() throws { _ = try name.map(SchemaStoreCommand.name) }

  func run() async throws {
    let store = try SchemaStoreCommand.store(file)
    let wanted = try name.map(SchemaStoreCommand.name)
    let histories = try await SchemaStoreCommand.perform {
      () throws(BridgeError) -> [SchemaStore.History] in
      if let wanted { return [try await store.history(wanted)] }
      return try await store.list()
    }
    for history in histories {
      let policy = history.policy
      let versions = name == nil ? Array(history.versions.suffix(1)) : history.versions
      for version in versions {
        if json {
          var object = version.json()
          let isKnown = history.policyFault == nil
          object["compatibility"] = isKnown ? .string(policy.compatibility.rawValue) : .null
          object["transitive"] = isKnown ? .bool(policy.isTransitive) : .null
          print(object.text())
        } else {
          let key = version.name.key(version: version.version)
          let shown = history.policyFault == nil ? policy.text : "(a policy that is not understood)"
          print("\(key)  \(version.hash.prefix(12))  \(version.time)  \(shown)")
        }
      }
    }
    for fault in histories.compactMap(\.policyFault) { printError("configuration: \(fault)") }
    if wanted != nil, histories.allSatisfy(\.versions.isEmpty) {
      printError("no schema is published as \(name ?? "")")
      throw ExitCode(1)
    }
    if histories.contains(where: { $0.policyFault != nil }) { throw ExitCode(78) }
  }
}

/// `tailrace schema show`.
struct SchemaShow: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "A published schema, for people.")

  @Argument(help: "The name.") var name: String
  @Option(help: "Which version; the newest if left out.") var version: Int?
  @OptionGroup var file: ConfigurationOption

  func validate() throws { _ = try SchemaStoreCommand.name(name) }

  func run() async throws {
    let (found, _) = try await SchemaStoreCommand.version(
      try SchemaStoreCommand.name(name), version, file)
    printNote("\(found.name.key(version: found.version)) of \(found.time), sha256 \(found.hash)")
    guard let value = try? JSONValue(parsing: found.bytes) else {
      printError("what is stored is no JSON")
      throw ExitCode(1)
    }
    print(value.text(pretty: true))
  }
}

/// `tailrace schema pull`.
struct SchemaPull: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pull", abstract: "A published schema, byte for byte.")

  @Argument(help: "The name.") var name: String
  @Option(help: "Which version; the newest if left out.") var version: Int?
  @Option(name: .shortAndLong, help: "The file to write; standard output if left out.")
  var output: String?
  @Option(help: "Exit code 1 if this isn't its hash.") var sha256: String?
  @OptionGroup var file: ConfigurationOption

  func validate() throws { _ = try SchemaStoreCommand.name(name) }

  func run() async throws {
    let (found, _) = try await SchemaStoreCommand.version(
      try SchemaStoreCommand.name(name), version, file)
    if let sha256, sha256.lowercased() != found.hash {
      printError("\(found.name.key(version: found.version)) has the sha256 \(found.hash)")
      throw ExitCode(1)
    }
    guard let output else { return printPart(String(decoding: found.bytes, as: UTF8.self)) }
    do {
      try ResultFile.replace(output, with: found.bytes, for: .everyone)
    } catch {
      printError("\(error)")
      throw ExitCode(74)
    }
    printNote("\(found.name.key(version: found.version)), sha256 \(found.hash)")
  }
}
