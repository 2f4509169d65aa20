import ArgumentParser
import Bridge
import BridgeConfiguration
import Foundation
import JSON
import Logging
import Operator
import Oplog
import ServiceLifecycle
import Synchronization
import UnixSignals
import Verification

struct Run: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "The service: tails the oplog and publishes to JetStream.")

  @OptionGroup var file: ConfigurationOption

  @Option(
    help:
      "Begin at now, oldest, or <seconds>.<increment>; only where there is no checkpoint, or with --force."
  )
  var from: String?

  @Option(
    help: """
      Stop at now or at <seconds>.<increment>, once all of it is acknowledged; or finalized: once every group has \
      been cut over.
      """)
  var until: String?

  @Flag(help: "With --from: leave the present position.")
  var force = false

  @Flag(
    name: .customLong("no-wait"), help: "Exit with 69 if a server can't be reached at the start.")
  var noWait = false

  @Flag(
    name: .customLong("dry-run"),
    help: """
      Publish nothing, and don't connect to NATS: read, map and judge, and report what would become \
      of it. Exit code 0 PASS, 1 FAIL, 2 INCONCLUSIVE.
      """)
  var dryRun = false

  @Flag(
    help: "With --dry-run: how far it is, every second, on standard error; on a terminal a table.")
  var follow = false

  @Option(
    name: .customLong("max-payload"), help: "With --dry-run: the server's max_payload, in bytes.")
  var maximumPayload = 1_048_576

  @Flag(help: "With --dry-run: the report as JSON.")
  var json = false

  func validate() throws {
    _ = try options()
    guard (1...(1 << 30)).contains(maximumPayload) else {
      throw ValidationError("--max-payload takes bytes, 1 to \(1 << 30), not \(maximumPayload)")
    }
    if dryRun, until == "finalized" {
      throw ValidationError("--until finalized does not go with --dry-run")
    }
    if !dryRun, follow || json { throw ValidationError("--follow and --json go with --dry-run") }
  }

  private func options() throws -> RunOptions {
    var options = RunOptions()
    options.force = force
    options.waitForServers = !noWait
    switch from {
    case nil: break
    case "now": options.from = .now
    case "oldest": options.from = .oldest
    case let text?:
      guard let position = OplogPosition(text) else {
        throw ValidationError("--from takes now, oldest or <seconds>.<increment>, not '\(text)'")
      }
      options.from = .at(position)
    }
    switch until {
    case nil: break
    case "now": options.until = .now
    case "finalized": options.endsWhenFinalized = true
    case let text?:
      guard let position = OplogPosition(text) else {
        throw ValidationError(
          "--until takes now, finalized or <seconds>.<increment>, not '\(text)'")
      }
      options.until = .at(position)
    }
    if force, from == nil { throw ValidationError("--force goes with --from") }
    return options
  }

  func run() async throws {
    // Before the file is read: what is changed behind that is asked for by a signal.
    let hangups = await UnixSignalsSequence(trapping: .sighup)
    let environment = ProcessInfo.processInfo.environment
    let configuration = try loadConfiguration(file.path(environment), environment)
    let logger = makeLogger(configuration.log)
    for warning in configuration.warnings {
      logger.warning("\(warning)", metadata: ["id": "\(warning.id.rawValue)"])
    }
    if dryRun { return try await runDry(configuration, logger, hangups) }
    let path = file.path(environment)
    let bridge = BridgeService(
      configuration: configuration, options: try options(), logger: logger,
      setLogLevel: setLogLevel)
    let reload = ReloadOnSignal(signals: hangups) {
      let next = await Self.next(path, environment, logger)
      bridge.reload { () throws(ConfigurationProblems) in try next.get() }
    }
    try await serve(bridge, logger, reload)
  }
}

extension Run {
  /// The configuration as it is now, unless the servers say that it must not be used.
  private static func next(
    _ path: String, _ environment: [String: String], _ logger: Logger
  ) async -> Result<BridgeConfiguration, ConfigurationProblems> {
    do throws(ConfigurationProblems) {
      let next = try BridgeConfiguration.reload(path: path, environment: environment)
      if let refusal = await ReloadExaminer.refusal(of: next, logger: logger) { throw refusal }
      return .success(next)
    } catch {
      return .failure(error)
    }
  }

  /// Until the end of the range, or SIGTERM.
  fileprivate func runDry(
    _ configuration: BridgeConfiguration, _ logger: Logger, _ hangups: UnixSignalsSequence
  ) async throws {
    var quiet = logger
    quiet.logLevel = max(logger.logLevel, .warning)
    var progress: (@Sendable (CoverageReport) -> Void)?
    if follow { progress = LiveTable().show }
    let run = DryRun(
      configuration: configuration, options: try options(), maximumPayload: maximumPayload,
      logger: quiet, progress: progress)
    let group = ServiceGroupConfiguration(
      services: [
        .init(
          service: ReloadOnSignal(signals: hangups) {
            // Its report is of one configuration.
            printNote("a dry run keeps the configuration that it began with: start another one")
          }),
        .init(service: run, successTerminationBehavior: .gracefullyShutdownGroup),
      ],
      gracefulShutdownSignals: [.sigterm, .sigint], logger: quiet)
    do {
      try await ServiceGroup(configuration: group).run()
    } catch let error as BridgeError {
      printError(error.description)
      throw ExitCode(error.exitCode)
    } catch {
      printError("\(error)")
      throw ExitCode(70)
    }
    guard let report = run.report else {
      printError("stopped before MongoDB answered: nothing was looked at")
      throw ExitCode(2)
    }
    print(json ? report.json.text(pretty: true) : report.text)
    if report.exitCode != 0 { throw ExitCode(report.exitCode) }
  }
}

/// SIGHUP: the configuration is to be read again. Signals that come meanwhile count as one.
struct ReloadOnSignal: Service {
  let signals: UnixSignalsSequence
  let reload: @Sendable () async -> Void

  func run() async throws {
    let (wakes, continuation) = AsyncStream.makeStream(
      of: Void.self, bufferingPolicy: .bufferingNewest(1))
    await withTaskGroup(of: Void.self) { group in
      group.addTask {
        for await _ in signals.cancelOnGracefulShutdown() { continuation.yield() }
        continuation.finish()
      }
      for await _ in wakes { await reload() }
    }
  }
}

/// What a dry run has found so far: a table that is drawn over itself on a terminal, else a line each time.
final class LiveTable: Sendable {
  private let drawn = Mutex(0)

  @Sendable func show(_ report: CoverageReport) {
    guard isatty(STDERR_FILENO) == 1 else { return printNote(report.line) }
    drawn.withLock { drawn in
      let lines = report.table
      // Back to the table's first line; each line clears what stood there.
      let up = drawn > 0 ? "\u{1B}[\(drawn)A" : ""
      let text = up + lines.map { "\u{1B}[2K\($0)\n" }.joined()
      StandardError.write(text)
      drawn = lines.count
    }
  }
}

/// Runs the bridge, with its HTTP server, until it ends or is stopped.
func serve(
  _ bridge: BridgeService, _ logger: Logger, _ reload: (any Service)? = nil
) async throws {
  var silent = logger
  silent.logLevel = max(logger.logLevel, .critical)
  let server = StatusServer(
    for: bridge, version: TailraceVersion.current, logger: logger,
    explain: Explainer.forPages(logger: silent))
  var quiet = logger
  quiet.logLevel = max(logger.logLevel, .warning)
  var group = ServiceGroupConfiguration(
    services: [
      .init(service: server, failureTerminationBehavior: .gracefullyShutdownGroup),
      .init(
        service: BehindHTTP(bridge, server.listening),
        successTerminationBehavior: .gracefullyShutdownGroup,
        failureTerminationBehavior: .gracefullyShutdownGroup),
    ],
    gracefulShutdownSignals: [.sigterm, .sigint], logger: quiet)
  // The bridge itself is done by then: this is for whoever holds on to the HTTP port.
  if let reload { group.services.insert(.init(service: reload), at: 0) }
  if let notice = SystemdNotice(
    for: bridge, listening: server.listening, environment: ProcessInfo.processInfo.environment)
  {
    group.services.append(.init(service: notice, successTerminationBehavior: .ignore))
  }
  group.maximumGracefulShutdownDuration = .seconds(10)
  logger.info("tailrace \(TailraceVersion.current)", metadata: bridge.startMetadata)
  do {
    try await ServiceGroup(configuration: group).run()
    logger.info("done")
  } catch let error as BridgeError {
    // As the other lines are written, so that who reads them sees the last one, too.
    logger.critical("\(error)", metadata: ["exit_code": "\(error.exitCode)"])
    throw ExitCode(error.exitCode)
  } catch {
    if bridge.isStopping { return logger.info("done") }
    logger.critical("\(error)", metadata: ["exit_code": "70"])
    throw ExitCode(70)
  }
}

/// Every problem of the file at once, then exit code 78.
func loadConfiguration(_ path: String, _ environment: [String: String]) throws
  -> BridgeConfiguration
{
  do {
    return try BridgeConfiguration.load(path: path, environment: environment)
  } catch {
    printError(error.description, lines: true)
    throw ExitCode(78)
  }
}
