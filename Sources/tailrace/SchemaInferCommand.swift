import ArgumentParser
import BSON
import Bridge
import BridgeConfiguration
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
  @Option(help: "What BSON becomes in JSON.") var style = SchemaCheck.Style.simplified
  @Flag(help: "Only what was seen: no other members, enumerations, bounds.") var strict = false
  @Flag(help: "Comments that say how many documents support it.") var evidence = false
  @Option(help: "The schema's title.") var title: String?
  @Option(name: .customLong("from-mongodb"), help: "Instead of files: a deployment.")
  var uri: String?
  @Option(name: .customLong("from-collection"), help: "database.collection, with --from-mongodb.")
  var collection: String?
  @Option(help: "A random sample of so many documents, at most 10000.") var sample = 1000
  @Flag(help: "The whole collection instead of a sample.") var whole = false
  @Flag(name: .customLong("from-oplog"), help: "Instead of files: MongoDB's oplog, for --rule.")
  var fromOplog = false
  @Option(help: "With --from-oplog: the first entry, <seconds>.<increment>.") var from: String?
  @Option(help: "With --from-oplog: the last one.") var until: String?
  @Option(name: .customLong("from-stream"), help: "Instead of files: the bodies in a stream.")
  var stream: String?
  @Option(help: "With --from-stream: no more than so many.") var limit = 100_000
  @Option(help: "Bodies as this rule of --config publishes them.") var rule: String?
  @OptionGroup var file: ConfigurationOption

  func validate() throws {
    guard (uri == nil) == (collection == nil) else {
      throw ValidationError("--from-mongodb and --from-collection go together")
    }
    let sources = [!files.isEmpty, uri != nil, fromOplog, stream != nil]
    guard sources.count(where: { $0 }) <= 1 else {
      throw ValidationError("one of files, --from-mongodb, --from-oplog and --from-stream")
    }
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
    guard (1...10_000).contains(sample) else {
      throw ValidationError("--sample takes 1 to 10000")
    }
    guard limit >= 1 else { throw ValidationError("--limit is at least 1, not \(limit)") }
  }

  private func position(_ text: String?, _ option: String) throws -> OplogPosition? {
    guard let text else { return nil }
    guard let position = OplogPosition(text) else {
      throw ValidationError("\(option) takes <seconds>.<increment>, not '\(text)'")
    }
    return position
  }

  func run() async throws {
    let intake = DocumentIntake(style.style)
    if let uri, let collection {
      try await read(collection, uri, intake)
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
    print(intake.inference.schema(options).text(pretty: true))
    printNote("\(intake.inference.count) documents")
  }

  private func unreadable(_ reason: DocumentIntake.Unreadable) throws {
    printError(reason.description)
    throw ExitCode(64)
  }

  private func read(
    _ file: String, _ intake: DocumentIntake, _ bodies: EntryBodies?
  ) throws {
    let format = format ?? (file.hasSuffix(".bson") ? .bson : .json)
    do {
      guard format != .bson || bodies != nil else {
        let data =
          file == "-"
          ? FileHandle.standardInput.readDataToEndOfFile()
          : try Data(contentsOf: URL(fileURLWithPath: file))
        return try intake.take(dump: Array(data), file)
      }
      var lines = try LineFile(file)
      while let line = lines.next() {
        let place = "\(file):\(lines.number)"
        if let bodies {
          for body in try bodies.bodies(of: String(decoding: line, as: UTF8.self)) {
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
      printError("\(file): \(failure)")
      throw ExitCode(64)
    } catch let error as CocoaError {
      printError("\(file) can't be read: \(error.localizedDescription)")
      throw ExitCode(64)
    }
  }

  // MARK: Servers

  private func read(_ collection: String, _ uri: String, _ intake: DocumentIntake) async throws {
    let parts = collection.split(separator: ".", maxSplits: 1).map(String.init)
    let options = MongoSourceOptions(uri: uri, readConcernMajority: false)
    do throws(MongoError) {
      if whole {
        try await MongoAdmin.documents(options, database: parts[0], collection: parts[1]) {
          intake.take(bson: $0, orNote: collection)
        }
      } else {
        let documents = try await MongoAdmin.sample(
          options, database: parts[0], collection: parts[1], count: sample)
        for document in documents {
          guard document.withUnsafeBytes({ intake.take(bson: $0, orNote: collection) }) else {
            return
          }
        }
      }
    } catch {
      printError("MongoDB: \(error)")
      throw ExitCode(error.isTransient ? 69 : 78)
    }
  }

  private func readBodies(_ intake: DocumentIntake) async throws {
    let environment = ProcessInfo.processInfo.environment
    let configuration = try loadConfiguration(file.path(environment), environment)
    var logger = makeLogger(configuration.log)
    logger.logLevel = max(logger.logLevel, .warning)
    let reader = BodyReader(configuration, logger: logger)
    do throws(BridgeError) {
      if let stream {
        try await reader.bodies(inStream: stream, rule: rule, limit: limit) {
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
