import ArgumentParser
import BSON
import Bridge
import BridgeConfiguration
import DeadLetters
import Foundation
import JSON
import JSONSchema
import Logging
import Mapping
import MongoSource
import Operator
import Oplog
import SchemaInference

/// `tailrace schema infer`.
struct SchemaInferCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "infer", abstract: "A schema of the documents that there are.",
    discussion: """
      Files hold one document a line (BSON: one behind the other). The schema accepts all of \
      them. With --rule they are oplog entries, and the schema is of the bodies that the rule \
      makes of them. Exit code 64 for what can't be read, 69 if a server can't be reached, 78 for \
      the configuration.
      """)

  @Argument(help: "Documents; standard input if none is given or -.") var files: [String] = []
  @Option(help: "What the files hold: json, extended (MongoDB's Extended JSON), bson.")
  var format: SchemaCheck.Format?
  @Option(help: "What BSON becomes in JSON (simplified).") var style: SchemaCheck.Style?
  @Flag(help: "Only what was seen: no other members, enumerations, bounds.") var strict = false
  @Flag(help: "Comments that say how many documents support it.") var evidence = false
  @Option(help: "The schema's title.") var title: String?
  @Option(name: .customLong("from-mongodb"), help: "Instead of files: a deployment.")
  var uri: String?
  @Option(name: .customLong("from-collection"), help: "database.collection, with --from-mongodb.")
  var collection: String?
  @Option(help: "With --from-mongodb: a random sample of so many documents, at most 10000 (1000).")
  var sample: Int?
  @Flag(help: "The whole collection instead of a sample.") var whole = false
  @Flag(name: .customLong("from-oplog"), help: "Instead of files: MongoDB's oplog, for --rule.")
  var fromOplog = false
  @Option(help: "With --from-oplog: the first entry, <seconds>.<increment>.") var from: String?
  @Option(help: "With --from-oplog: the last one.") var until: String?
  @Option(name: .customLong("from-stream"), help: "Instead of files: the bodies in a stream.")
  var stream: String?
  @Flag(
    name: .customLong("from-dlq"),
    help:
      "Instead of files: the dead letters of --rule that its schema refuses; the smallest change of it."
  )
  var fromDLQ = false
  @Option(help: "With --from-stream: no more than so many (100000); with --from-dlq at most 10000.")
  var limit: Int?
  @Flag(help: "With --from-dlq: one JSON object.") var json = false
  @Option(help: "Bodies as this rule of --config publishes them.") var rule: String?
  @OptionGroup var file: ConfigurationOption

  func validate() throws {
    guard (uri == nil) == (collection == nil) else {
      throw ValidationError("--from-mongodb and --from-collection go together")
    }
    let sources = [!files.isEmpty, uri != nil, fromOplog, stream != nil, fromDLQ]
    guard sources.count(where: { $0 }) <= 1 else {
      throw ValidationError(
        "one of files, --from-mongodb, --from-oplog, --from-stream and --from-dlq")
    }
    guard !fromDLQ || rule != nil else {
      throw ValidationError("--from-dlq needs --rule: the schema to change is that rule's")
    }
    guard fromDLQ || !json else { throw ValidationError("--json goes with --from-dlq") }
    guard uri == nil || rule == nil else {
      throw ValidationError("--rule is for oplog entries and streams")
    }
    guard !fromOplog || rule != nil else {
      throw ValidationError("--from-oplog needs --rule: the schema is of what it publishes")
    }
    guard fromOplog || from == nil && until == nil else {
      throw ValidationError("--from and --until go with --from-oplog")
    }
    _ = try position(from, "--from")
    _ = try position(until, "--until")
    if let collection, collection.split(separator: ".", maxSplits: 1).count != 2 {
      throw ValidationError("--from-collection needs database.collection")
    }
    if let sample, !(1...10_000).contains(sample) {
      throw ValidationError("--sample takes 1 to 10000")
    }
    if let limit, limit < 1 { throw ValidationError("--limit is at least 1, not \(limit)") }
    try refuseIgnored()
  }

  /// Options that would have no effect.
  private func refuseIgnored() throws {
    guard uri != nil || sample == nil && !whole else {
      throw ValidationError("--sample and --whole go with --from-mongodb")
    }
    guard sample == nil || !whole else {
      throw ValidationError("one of --sample and --whole")
    }
    guard stream != nil || fromDLQ || limit == nil else {
      throw ValidationError("--limit goes with --from-stream and --from-dlq")
    }
    guard format == nil || uri == nil && !fromOplog && stream == nil && !fromDLQ && rule == nil
    else {
      throw ValidationError("--format is for files of documents")
    }
    guard style == nil || rule == nil && stream == nil else {
      throw ValidationError(
        "--style is for documents: bodies are in the style that the rule has (payload.json)")
    }
    guard !fromDLQ || !strict && !evidence && title == nil else {
      throw ValidationError(
        "--strict, --evidence and --title are for a new schema, not with --from-dlq")
    }
    guard file.config == nil || rule != nil || stream != nil else {
      throw ValidationError("--config is for --rule and --from-stream")
    }
  }

  private func position(_ text: String?, _ option: String) throws -> OplogPosition? {
    guard let text else { return nil }
    guard let position = OplogPosition(text) else {
      throw ValidationError("\(option) takes <seconds>.<increment>, not '\(text)'")
    }
    return position
  }

  func run() async throws {
    if fromDLQ, let rule { return try await proposeChange(rule) }
    let style = (style ?? .simplified).style
    let intake = DocumentIntake(style)
    var merge: CollectionContract?
    if let uri, let collection {
      let contract = try await CollectionContract(
        uri, collection, sample: whole ? nil : sample ?? 1000, style)
      try await contract.read(intake)
      merge = contract
    } else if fromOplog || stream != nil {
      try await readBodies(intake)
    } else {
      let bodies = try rule.map { try EntryBodies($0, file) }
      for file in files.isEmpty ? ["-"] : files {
        try read(file, intake, bodies)
      }
    }
    let options = InferenceOptions(isStrict: strict, withEvidence: evidence, title: title)
    if let failure = intake.failure { try unreadable(failure) }
    if intake.skipped > 0 {
      printNote("\(intake.skipped) bodies that are no JSON were left out")
    }
    guard intake.inference.count > 0 else {
      printError("there is no document to infer a schema from")
      throw ExitCode(64)
    }
    var schema = intake.inference.schema(options)
    if let merge {
      let found = try await merge.merged(into: schema)
      schema = found.schema
      for reason in found.leftOut { printNote(reason) }
    }
    print(schema.text(pretty: true))
    printNote("\(intake.inference.count) documents")
    if intake.inference.count == 1, schema["type"] == "array" {
      printNote(
        "the only one is an array: if its items are the documents, jq -c '.[]' makes lines of them")
    }
  }

  private func unreadable(_ reason: DocumentIntake.Unreadable) throws {
    printError(reason.description)
    throw ExitCode(64)
  }

  private func read(
    _ file: String, _ intake: DocumentIntake, _ bodies: EntryBodies?
  ) throws {
    let format = format ?? (file.hasSuffix(".bson") ? .bson : .json)
    var entry = ""
    do {
      guard format != .bson || bodies != nil else {
        let data =
          file == "-"
          ? FileHandle.standardInput.readDataToEndOfFile()
          : try Data(contentsOf: URL(fileURLWithPath: file))
        return try intake.take(dump: Array(data), file)
      }
      var lines = try LineFile(file)
      while let line = try lines.next() {
        let place = "\(file):\(lines.number)"
        if let bodies {
          entry = String(decoding: line, as: UTF8.self)
          for body in try bodies.bodies(of: entry) {
            try intake.take(text: body, place)
          }
        } else if format == .extended {
          try intake.take(extended: String(decoding: line, as: UTF8.self), place)
        } else {
          try intake.take(line, place)
        }
      }
    } catch let failure as DocumentIntake.Unreadable {
      try unreadable(failure)
    } catch let failure as OfflineDecoder.Failure {
      let hint = LineFile.hint(entry, file).map { ". \($0)" } ?? ""
      printError("\(file): \(failure)\(hint)")
      throw ExitCode(64)
    } catch let error as CocoaError {
      printError("\(file) can't be read: \(error.localizedDescription)")
      throw ExitCode(64)
    }
  }

  // MARK: Servers

  /// From dead letters.
  private func proposeChange(_ rule: String) async throws {
    let environment = ProcessInfo.processInfo.environment
    let configuration = try loadConfiguration(file.path(environment), environment)
    guard let index = configuration.rules.firstIndex(where: { $0.name == rule }) else {
      printError("configuration: \(EntryBodies.unknown(rule, configuration))")
      throw ExitCode(78)
    }
    guard let schema = configuration.schemas[index] else {
      printError("configuration: the rule \(rule) has no schema to change")
      throw ExitCode(78)
    }
    let bodies = try await refusedBodies(rule, configuration)
    guard !bodies.isEmpty else {
      printError("there is no dead letter of the rule \(rule) that its schema refuses")
      throw ExitCode(64)
    }
    let report: SchemaWideningReport
    do throws(SchemaError) {
      report = try SchemaWideningReport(index, of: configuration, schema, toAccept: bodies)
    } catch {
      printError("\(error)")
      throw ExitCode(78)
    }
    if json {
      print(report.json.text(pretty: true))
    } else {
      print(printable(report.text, keepingLines: true))
    }
    if !report.widening.remainders.isEmpty { throw ExitCode(1) }
  }

  /// As the rule would publish them now.
  private func refusedBodies(
    _ rule: String, _ configuration: BridgeConfiguration
  ) async throws -> [JSONValue] {
    var logger = makeLogger(configuration.log)
    logger.logLevel = max(logger.logLevel, .warning)
    let box = DeadLetterBox(configuration, logger: logger)
    var filter = DeadLetterFilter()
    filter.bridges = .own
    filter.takesUnnamed = true
    filter.rules = [rule]
    filter.errors = [MappingErrorCode.schemaInvalid.rawValue]
    filter.limit = min(limit ?? 10_000, 10_000)
    var letters: [DeadLetter] = []
    let maker = try EntryBodies(rule, of: configuration)
    var bodies: [JSONValue] = []
    do throws(BridgeError) {
      try await box.list(filter) { letters.append($0) }
      for letter in letters {
        let event = try await box.event(of: letter)
        do {
          bodies += try maker.bodies(ofEvent: event)
        } catch {
          printNote("dead letter \(letter.sequence) is left out: \(error.reason)")
        }
      }
    } catch {
      printError(error.description)
      throw ExitCode(error.exitCode)
    }
    return bodies
  }

  private func readBodies(_ intake: DocumentIntake) async throws {
    let environment = ProcessInfo.processInfo.environment
    let configuration = try loadConfiguration(file.path(environment), environment)
    var logger = makeLogger(configuration.log)
    logger.logLevel = max(logger.logLevel, .warning)
    let reader = BodyReader(configuration, logger: logger)
    if let rule, !configuration.rules.contains(where: { $0.name == rule }) {
      printError("configuration: \(EntryBodies.unknown(rule, configuration))")
      throw ExitCode(78)
    }
    do throws(BridgeError) {
      if let stream {
        try await reader.bodies(inStream: stream, rule: rule, limit: limit ?? 100_000) {
          intake.take(anyBody: $0)
        }
      } else if let rule, let index = configuration.rules.firstIndex(where: { $0.name == rule }) {
        try await reader.bodies(
          ofRule: index, from: from.flatMap { OplogPosition($0) },
          until: until.flatMap { OplogPosition($0) }
        ) {
          intake.take(orNote: $0)
        }
      } else {
        throw .configuration(EntryBodies.unknown(rule ?? "", configuration))
      }
    } catch {
      printError(error.description)
      throw ExitCode(error.exitCode)
    }
  }
}
