import ArgumentParser
import Bridge
import BridgeConfiguration
import Foundation
import JSON
import Operator

/// `tailrace init`.
struct InitCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "init", abstract: "Writes a configuration to start from.",
    discussion: """
      DIR/tailrace.yaml, for a person to edit. With --from-mongodb or --from-events it has rules and schemas for \
      the collections that are found, is validated, and run dry. It never replaces a file without --force. Exit \
      code 1 if it can't be written, or if the dry run fails.
      """)
  @Argument(help: "The folder; made if it is missing.") var folder = "."
  @Option(
    parsing: .singleValue,
    help: "The database whose changes are published: chat; with --from-…, all, or these ones.")
  var database: [String] = []
  @Option(
    name: .customLong("from-mongodb"),
    help: "Propose rules and schemas for what a deployment holds.")
  var uri: String?
  @Option(
    name: .customLong("from-events"),
    help: "The same for recorded events: change events or oplog entries, one a line.")
  var events: String?
  @Option(help: "With --from-mongodb: so many documents of each collection, at most 10000 (300).")
  var sample: Int?
  @Option(help: "With --from-mongodb: how much of the oplog is read, from its end (1h).")
  var window: String?
  @Flag(help: "Replace files that are there.") var force = false
  @Flag(help: "With --from-…: what is proposed, and what the dry run found, as one JSON object.")
  var json = false

  func validate() throws {
    guard uri == nil || events == nil else {
      throw ValidationError("one of --from-mongodb and --from-events")
    }
    if uri == nil {
      guard sample == nil, window == nil else {
        throw ValidationError("--sample and --window go with --from-mongodb")
      }
    }
    if let sample, !(1...10_000).contains(sample) {
      throw ValidationError("--sample takes 1 to 10000")
    }
    if let window {
      guard let duration = Units.duration(window), duration > .zero else {
        throw ValidationError("--window is '\(window)': \(Units.durationRemedy)")
      }
    }
    guard uri == nil, events == nil else { return }
    guard !json else { throw ValidationError("--json goes with --from-mongodb or --from-events") }
    guard database.count <= 1 else {
      throw ValidationError("one --database, unless rules are proposed (--from-mongodb)")
    }
    if let database = database.first, !StartingConfiguration.isPlain(database) {
      throw ValidationError(
        "--database '\(printable(database))': letters, digits, _ and -, up to 63; rules for other names are in docs/mapping.md"
      )
    }
  }

  func run() async throws {
    let files = InitialFiles(folder: folder, force: force)
    if let uri {
      let window =
        window.flatMap { Units.duration($0) }.map { Int($0.components.seconds) } ?? 3600
      let proposal = DeploymentProposal(
        uri: uri, databases: database, sample: sample ?? 300, window: max(1, window), json: json)
      return try await proposal.write(to: files)
    }
    if let events {
      return try RecordedProposal(file: events, databases: database, json: json).write(to: files)
    }
    try files.prepare()
    try files.write(
      files.main, StartingConfiguration(database: database.first ?? "chat").yaml)
    print(
      "\(printable(files.main)) is written. Next:\n  edit it: the database, what of it, under which subjects"
    )
    print(files.next)
  }
}

/// The files that `init` writes.
struct InitialFiles {
  let folder: String
  let force: Bool

  /// The configuration's path.
  var main: String { path("tailrace.yaml") }

  func path(_ name: String) -> String { folder == "." ? name : "\(folder)/\(name)" }

  /// Makes the folder. Ends the program with 1 if that fails, or if the configuration is there already.
  func prepare() throws {
    do {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    } catch {
      printError("\(printable(folder)) can't be made: \(error.localizedDescription)")
      throw ExitCode(1)
    }
    try refuse(main)
  }

  /// Ends the program with 1 if a file is there that must not be replaced.
  func refuse(_ path: String) throws {
    guard force || !FileManager.default.fileExists(atPath: path) else {
      printError("\(printable(path)) is there already; --force replaces it")
      throw ExitCode(1)
    }
  }

  func write(_ path: String, _ text: String) throws {
    do {
      try ResultFile.replace(path, with: text)
    } catch {
      printError(printable(error.description))
      throw ExitCode(1)
    }
  }

  /// A proposal, with its schemas: all of it or, where one is there already, nothing.
  func write(_ proposal: ProposedConfiguration) throws {
    for schema in proposal.schemas { try refuse(path(schema.path)) }
    if !proposal.schemas.isEmpty {
      do {
        try FileManager.default.createDirectory(
          atPath: path("schemas"), withIntermediateDirectories: true)
      } catch {
        printError("\(printable(path("schemas"))) can't be made: \(error.localizedDescription)")
        throw ExitCode(1)
      }
    }
    for schema in proposal.schemas {
      try write(path(schema.path), schema.schema.text(pretty: true) + "\n")
    }
    try write(main, proposal.yaml)
  }

  var next: String {
    """
      tailrace validate -c \(printable(main))
      tailrace doctor -c \(printable(main))
      tailrace run --dry-run --from oldest --until now -c \(printable(main))
    """
  }
}
