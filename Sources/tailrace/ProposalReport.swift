import ArgumentParser
import Bridge
import BridgeConfiguration
import Foundation
import JSON
import Logging
import Operator
import Oplog
import Verification

/// Checks a proposal, and says what it is and what it would do.
struct ProposalReport {
  let files: InitialFiles
  /// What the proposal's variables come from.
  let environment: [String: String]
  /// One JSON object, at the end.
  let json: Bool

  static func logger(_ configuration: BridgeConfiguration) -> Logger {
    var logger = makeLogger(configuration.log)
    logger.logLevel = .warning
    return logger
  }

  /// The configuration without schemas, before anything is written.
  func draft(_ proposal: ProposedConfiguration) throws -> BridgeConfiguration {
    guard !proposal.collections.isEmpty else {
      for (name, reason) in proposal.leftOut { printError("\(name): \(reason)") }
      throw ExitCode(64)
    }
    do {
      return try BridgeConfiguration.parse(
        yaml: proposal.yaml, file: files.main, environment: environment)
    } catch {
      try fail(error)
    }
  }

  /// The configuration as it was written; says what is in it.
  func validate(_ proposal: ProposedConfiguration) throws -> BridgeConfiguration {
    let configuration: BridgeConfiguration
    do {
      configuration = try BridgeConfiguration.load(path: files.main, environment: environment)
    } catch {
      try fail(error)
    }
    guard !json else { return configuration }
    let count = proposal.schemas.count
    print(
      "\(printable(files.main)) is written"
        + (count > 0 ? ", with \(count) schemas in \(printable(files.path("schemas")))" : ""))
    for collection in proposal.collections { print("  \(printable(collection.summary))") }
    for (name, reason) in proposal.leftOut { print("  \(printable(name)): no rules: \(reason)") }
    if let others = Self.list(proposal.passedOver) {
      print("Events without a document are passed over: \(others).")
    }
    if case .deployment(nil, _) = proposal.origin {
      print("The connection string has a secret in it and is not written: set MONGODB_URI.")
    }
    print("\nvalidate:")
    for warning in configuration.warnings { print("  \(warning)") }
    print(
      "  valid, \(configuration.rules.count) rules to \(configuration.streams.count) streams, \(configuration.warnings.count) warnings"
    )
    return configuration
  }

  /// Types of events with how many there are; nil for none.
  static func list(_ events: [String: Int]) -> String? {
    guard !events.isEmpty else { return nil }
    return events.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
      .joined(separator: ", ")
  }

  private func fail(_ problems: ConfigurationProblems) throws -> Never {
    printError("what was proposed is not valid; please report it:", lines: true)
    printError(problems.description, lines: true)
    throw ExitCode(70)
  }

  /// The dry run over a range of the oplog.
  func run(
    _ configuration: BridgeConfiguration, of proposal: ProposedConfiguration,
    from first: OplogPosition, until last: OplogPosition
  ) async throws {
    var options = RunOptions()
    options.from = .at(first)
    options.until = .at(last)
    var quiet = Logger(label: "tailrace")
    quiet.logLevel = .warning
    let run = DryRun(
      configuration: configuration, options: options, maximumPayload: 1 << 20, logger: quiet)
    try await run.run()
    guard let report = run.report else {
      printError("stopped before MongoDB answered: nothing was looked at")
      throw ExitCode(2)
    }
    try show(report, configuration, proposal)
  }

  func show(
    _ report: CoverageReport, _ configuration: BridgeConfiguration,
    _ proposal: ProposedConfiguration
  ) throws {
    if json {
      print(
        JSONValue.object([
          .init("file", .string(files.main)),
          .init("schemas", .array(proposal.schemas.map { .string(files.path($0.path)) })),
          .init("collections", .array(proposal.collections.map(\.json))),
          .init(
            "left_out",
            .array(
              proposal.leftOut.map {
                ["namespace": .string($0.name), "reason": .string($0.reason)]
              }
            )),
          .init(
            "passed_over",
            .object(
              proposal.passedOver.sorted { $0.key < $1.key }.map { .init($0.key, .int($0.value)) })),
          .init("warnings", .array(configuration.warnings.map { .string($0.description) })),
          .init("dry_run", report.json),
        ]).text(pretty: true))
    } else {
      print("\ndry run:")
      for line in report.text.split(separator: "\n") { print("  \(printable(String(line)))") }
      print("\nNext:\n  edit it: what is published, under which subjects, what is left out")
      print(files.next)
    }
    // Where nothing has happened, there is nothing against it.
    if report.verdict == .fail { throw ExitCode(1) }
  }
}
