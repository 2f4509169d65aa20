import ArgumentParser
import Bridge
import BridgeConfiguration
import Foundation
import JSON
import Logging
import Mapping
import Operator
import Oplog
import Parity
import Synchronization
import Verification

struct CutoverCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cutover",
    abstract: "Moves a group of rules from the bridge to its new producers.",
    discussion: """
      bridge -> dual -> (committing) -> committed -> finalized. Every command may be repeated, and interrupted \
      at any time. Exit code 1: blocked, with the blockers on standard error. docs/cutover.md is the runbook.
      """,
    subcommands: [
      Status.self, Dual.self, Commit.self, Cancel.self, Rollback.self, Finalize.self,
    ])

  struct GroupOptions: ParsableArguments {
    @Option(help: "The group; a rule without one is a group of its own name.")
    var group: String
    @Option(help: "Why, for the audit stream.")
    var reason = ""
    @OptionGroup var file: ConfigurationOption
    @Flag(help: "Machine-readable output.") var json = false
  }

  struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Every group's phase, counts, and what keeps it from being committed.")
    @Option(help: "One group only.") var group: String?
    @OptionGroup var file: ConfigurationOption
    @Flag(help: "Machine-readable output.") var json = false
    @Flag(help: "Again every second, until interrupted.") var watch = false

    func run() async throws {
      let cutover = try CutoverCommand.cutover(file, reason: "")
      var drawn = 0
      while true {
        let report = try await CutoverCommand.perform { () throws(BridgeError) in
          try await cutover.status(group)
        }
        if json {
          print(report.json.text(pretty: !watch))
        } else {
          let lines = report.lines.map { printable($0) }
          let isTerminal = watch && isatty(STDOUT_FILENO) == 1
          let up = isTerminal && drawn > 0 ? "\u{1B}[\(drawn)A\u{1B}[J" : ""
          printPart(up + lines.joined(separator: "\n") + "\n")
          drawn = lines.count
        }
        guard watch else { return }
        try await Task.sleep(for: .seconds(1))
      }
    }
  }

  struct Dual: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Producers may publish; the bridge compares, and fills in what is missing.")
    @OptionGroup var options: GroupOptions
    func run() async throws {
      try await CutoverCommand.finish(options) { cutover throws(BridgeError) in
        try await cutover.dual(options.group)
      }
    }
  }

  struct Cancel: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Back from committing to dual, or from dual to bridge.")
    @OptionGroup var options: GroupOptions
    func run() async throws {
      try await CutoverCommand.finish(options) { cutover throws(BridgeError) in
        try await cutover.cancel(options.group)
      }
    }
  }

  struct Rollback: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Back from committed to dual; what producers missed since is filled in.")
    @OptionGroup var options: GroupOptions
    func run() async throws {
      try await CutoverCommand.finish(options) { cutover throws(BridgeError) in
        try await cutover.rollback(options.group)
      }
    }
  }

  struct Finalize: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "The bridge no longer derives the group's messages. There is no way back.")
    @OptionGroup var options: GroupOptions
    func run() async throws {
      try await CutoverCommand.finish(options) { cutover throws(BridgeError) in
        try await cutover.finalize(options.group)
      }
    }
  }

  struct Commit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "The bridge stops publishing the group's messages, once everything is proven.")
    @OptionGroup var options: GroupOptions
    @Option(help: "Within this time, or the group stays in dual: 60s, 2m.") var timeout = "60s"

    func validate() throws {
      guard let limit = Units.duration(timeout), limit >= .seconds(1),
        limit <= .seconds(3600)
      else { throw ValidationError("--timeout takes 1s to 1h, not '\(timeout)'") }
    }

    func run() async throws {
      guard let limit = Units.duration(timeout) else { throw ExitCode(64) }
      try await CutoverCommand.finish(options) { cutover throws(BridgeError) in
        try await cutover.commit(
          options.group, timeout: limit, verify: CutoverCommand.verifier(cutover),
          step: { printNote($0) })
      }
    }
  }

  // MARK: - All of them

  private static func cutover(
    _ file: ConfigurationOption, reason: String
  ) throws -> CutoverOperator {
    let environment = ProcessInfo.processInfo.environment
    let configuration = try loadConfiguration(file.path(environment), environment)
    var logger = makeLogger(configuration.log)
    logger.logLevel = max(logger.logLevel, .warning)
    return CutoverOperator(configuration, reason: reason, logger: logger)
  }

  private static func perform<T>(
    _ body: () async throws(BridgeError) -> T
  ) async throws -> T {
    do throws(BridgeError) {
      return try await body()
    } catch {
      printError(error.description)
      throw ExitCode(error.exitCode)
    }
  }

  private static func finish(
    _ options: GroupOptions,
    _ body: (CutoverOperator) async throws(BridgeError) -> CutoverOperator.Outcome
  ) async throws {
    let cutover = try cutover(options.file, reason: options.reason)
    let outcome = try await perform { () throws(BridgeError) in try await body(cutover) }
    switch outcome {
    case .done(let words):
      print(
        options.json
          ? JSONValue.object([.init("done", true), .init("detail", .string(words))]).text()
          : printable(words))
    case .blocked(let blockers):
      if options.json {
        print(
          JSONValue.object([
            .init("done", false),
            .init("blockers", .array(blockers.map { CutoverGroupReport.json($0) })),
          ]).text())
      }
      for blocker in blockers { printError(printable("\(blocker.code): \(blocker.detail)")) }
      throw ExitCode(1)
    }
  }

  /// Compares the streams with the oplog by `verify`'s own means, and judges what concerns the group.
  private static func verifier(_ cutover: CutoverOperator) -> CutoverOperator.Verifier {
    { group, after, to in
      let configuration = cutover.configuration
      var logger = cutover.logger
      logger.logLevel = max(logger.logLevel, .error)
      var options = VerifyOptions()
      options.from = .after(after)
      options.to = .at(to)
      options.timeout = .seconds(10)
      let rules = Set(configuration.rules.filter { $0.group == group }.map(\.name))
      let found = Mutex<[Mismatch]>([])
      let verification = EventVerification(
        configuration: configuration, options: options, logger: logger)
      let report = await verification.run { mismatch in
        guard rules.contains(mismatch.rule) else { return }
        found.withLock { if $0.count < 5 { $0.append(mismatch) } }
      }
      let mismatches = found.withLock { $0 }
      if let first = mismatches.first {
        return (
          false,
          "verify is not PASS: \(first.kind.rawValue) \(first.id): \(first.detail)"
        )
      }
      // Between what was verified before and the fence, nothing may have been written.
      if report.foundNothing { return (true, "nothing was written") }
      if !report.reasons.isEmpty {
        return (false, "verify is inconclusive: \(report.reasons.joined(separator: "; "))")
      }
      let expected = report.expected(of: rules)
      return (true, "\(expected) messages of the group are there, once each and right")
    }
  }
}
