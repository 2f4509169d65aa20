import ArgumentParser
import Bridge
import BridgeConfiguration
import Foundation
import Logging
import Oplog
import ServiceLifecycle
import UnixSignals

struct Run: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "The service: tails the oplog and publishes to JetStream.")

  @OptionGroup var file: ConfigurationOption

  @Option(
    help:
      "Begin at now, oldest, or <seconds>.<increment>; only where there is no checkpoint, or with --force."
  )
  var from: String?

  @Option(help: "Stop at now or at <seconds>.<increment>, once all of it is acknowledged.")
  var until: String?

  @Flag(help: "With --from: leave the present position.")
  var force = false

  @Flag(
    name: .customLong("no-wait"), help: "Exit with 69 if a server can't be reached at the start.")
  var noWait = false

  func validate() throws {
    _ = try options()
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
    case let text?:
      guard let position = OplogPosition(text) else {
        throw ValidationError("--until takes now or <seconds>.<increment>, not '\(text)'")
      }
      options.until = .at(position)
    }
    if force, from == nil { throw ValidationError("--force goes with --from") }
    return options
  }

  func run() async throws {
    let environment = ProcessInfo.processInfo.environment
    let configuration = try loadConfiguration(file.path(environment), environment)
    let logger = makeLogger(configuration.log)
    try await serve(
      BridgeService(configuration: configuration, options: try options(), logger: logger), logger)
  }
}

/// Runs the bridge, with its HTTP server, until it ends or is told to stop.
func serve(_ bridge: BridgeService, _ logger: Logger) async throws {
  let server = StatusServer(for: bridge, version: TailraceVersion.current, logger: logger)
  var quiet = logger
  quiet.logLevel = max(logger.logLevel, .warning)
  var group = ServiceGroupConfiguration(
    services: [
      .init(service: server, failureTerminationBehavior: .gracefullyShutdownGroup),
      .init(
        service: bridge, successTerminationBehavior: .gracefullyShutdownGroup,
        failureTerminationBehavior: .gracefullyShutdownGroup),
    ],
    gracefulShutdownSignals: [.sigterm, .sigint], logger: quiet)
  group.maximumGracefulShutdownDuration = .seconds(20)
  logger.info("tailrace \(TailraceVersion.current)", metadata: ["bridge": "\(bridge.name)"])
  do {
    try await ServiceGroup(configuration: group).run()
    logger.info("done")
  } catch let error as BridgeError {
    printError(error.description)
    throw ExitCode(error.exitCode)
  } catch {
    printError("\(error)")
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
    printError(error.description)
    throw ExitCode(78)
  }
}

func printError(_ text: String) {
  FileHandle.standardError.write(Data("tailrace: \(text)\n".utf8))
}
