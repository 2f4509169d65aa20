import ArgumentParser
import Bridge
import BridgeConfiguration
import Foundation
import JSON
import Logging
import Oplog
import Parity
import ServiceLifecycle
import Synchronization
import UnixSignals
import Verification

struct VerifyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Compares what the streams hold with what they must hold.",
    discussion: """
      Expected messages are derived from the oplog, observed ones read back from the streams; publishes \
      nothing. Exit code 0 PASS, 1 FAIL, 2 INCONCLUSIVE.
      """,
    subcommands: [Compare.self, SelfTest.self, RepairCommand.self], defaultSubcommand: Compare.self)

  /// The range, and how it is gone through.
  struct RangeOptions: ParsableArguments {
    @Option(help: "Begin at first (where the bridge began), oldest, or <seconds>.<increment>.")
    var from = "first"

    @Option(
      help: """
        End at settled (what the bridge has had acknowledged by now), now, or <seconds>.<increment>.
        """)
    var to = "settled"

    @Option(
      help:
        "What derives the expected changes: oplog or change_stream; default: the configuration's.")
    var reader: String?

    @Option(help: "Seconds to wait for what is not settled yet.")
    var timeout = 30
    private static let longest = 31_536_000

    @Option(help: "Messages to compare at a time, about; progress is kept in between.")
    var stretch = 2_000_000

    func validate() throws { _ = try options() }

    func options() throws -> VerifyOptions {
      var options = VerifyOptions()
      guard (0...Self.longest).contains(timeout) else {
        throw ValidationError("--timeout takes seconds, 0 to \(Self.longest), not \(timeout)")
      }
      options.timeout = .seconds(timeout)
      guard stretch > 0 else { throw ValidationError("--stretch is at least 1") }
      options.stretch = stretch
      switch from {
      case "first": options.from = .first
      case "oldest": options.from = .oldest
      default: options.from = .at(try position(from, "--from takes first, oldest or"))
      }
      switch to {
      case "settled": options.to = .settled
      case "now": options.to = .now
      default: options.to = .at(try position(to, "--to takes settled, now or"))
      }
      if let reader {
        guard let kind = SourceSettings.Reader(rawValue: reader) else {
          throw ValidationError("--reader takes oplog or change_stream, not '\(reader)'")
        }
        options.reader = kind
      }
      return options
    }

    private func position(_ text: String, _ what: String) throws -> OplogPosition {
      guard let position = OplogPosition(text) else {
        throw ValidationError("\(what) <seconds>.<increment>, not '\(text)'")
      }
      return position
    }
  }

  struct Compare: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "compare", abstract: "The comparison itself (the default).")

    @OptionGroup var file: ConfigurationOption
    @OptionGroup var range: RangeOptions
    @Option(
      help: """
        events: every message against its change. state: the documents that messages come to against the \
        collections.
        """)
    var level = "events"

    @Option(help: "The report as JSON, into this file.") var report: String?
    @Option(help: "The report as a page for people, into this file.") var html: String?
    @Option(help: "Every mismatch, one JSON object a line, into this file.") var mismatches: String?
    @Option(
      help: """
        How far it is, into this file; where it exists, the comparison continues from there, and what is \
        found is added to what was.
        """)
    var progress: String?
    @Flag(help: "The report as JSON on standard output.") var json = false

    @Flag(
      help: """
        Go on beside a running bridge, until SIGTERM; then the report. Status and metrics are on --listen.
        """)
    var follow = false
    @Option(help: "With --follow: where /healthz, /status and /metrics are.")
    var listen = "127.0.0.1:8081"
    @Option(name: .customLong("max-rate"), help: "With --follow: messages a second, on average.")
    var maximumRate: Int?
    @Option(help: "With --follow: seconds between two comparisons.") var interval = 1.0

    func validate() throws {
      if maximumRate.map({ $0 < 1 }) ?? false { throw ValidationError("--max-rate is at least 1") }
      guard level == "events" || level == "state" else {
        throw ValidationError("--level takes events or state, not '\(level)'")
      }
      if level == "state",
        follow || progress != nil || range.from != "first" || range.to != "settled"
      {
        throw ValidationError(
          "--level state compares all there is at one moment: no --from, --to, --progress, --follow"
        )
      }
      guard (0.01...86_400).contains(interval) else {
        throw ValidationError("--interval takes seconds, 0.01 to 86400, not \(interval)")
      }
      if follow, progress != nil || range.to != "settled" {
        throw ValidationError("--progress and --to don't go with --follow")
      }
      _ = try address()
    }

    private func address() throws -> (host: String, port: Int) {
      guard let colon = listen.lastIndex(of: ":"),
        let port = Int(listen[listen.index(after: colon)...]),
        (0...65535).contains(port)
      else { throw ValidationError("--listen takes host:port, not '\(listen)'") }
      return (String(listen[..<colon]), port)
    }

    func run() async throws {
      let environment = ProcessInfo.processInfo.environment
      let configuration = try loadConfiguration(file.path(environment), environment)
      var logger = makeLogger(configuration.log)
      logger.logLevel = max(logger.logLevel, .warning)
      let isContinued = progress.map { FileManager.default.fileExists(atPath: $0) } ?? false
      let sink = try MismatchFile(mismatches, appending: isContinued)
      var options = try range.options()
      options.progressFile = progress
      if follow { return try await self.follow(configuration, options, sink, logger) }
      if level == "state" {
        let verification = StateVerification(
          configuration: configuration, options: options, logger: logger,
          progress: { printNote($0) })
        return try finish(await verification.run { sink.write($0) }, sink)
      }
      let verification = EventVerification(
        configuration: configuration, options: options, logger: logger,
        progress: { printNote($0.line) })
      let found = await verification.run { sink.write($0) }
      try finish(found, sink)
    }

    private func follow(
      _ configuration: BridgeConfiguration, _ options: VerifyOptions, _ sink: MismatchFile,
      _ logger: Logger
    ) async throws {
      let follower = FollowVerification(
        configuration: configuration, options: options,
        interval: .seconds(interval), maximumRate: maximumRate, logger: logger
      ) { mismatch in
        sink.write(mismatch)
        printNote(mismatch.json.text())
      }
      let (host, port) = try address()
      let server = FollowServer(for: follower, host: host, port: port, logger: logger)
      let group = ServiceGroupConfiguration(
        services: [
          .init(service: server, failureTerminationBehavior: .gracefullyShutdownGroup),
          .init(
            service: BehindHTTP(follower, server.listening),
            successTerminationBehavior: .gracefullyShutdownGroup),
        ], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
      do {
        try await ServiceGroup(configuration: group).run()
      } catch let error as BridgeError {
        printError(error.description)
        throw ExitCode(error.exitCode)
      } catch {
        printError("\(error)")
        throw ExitCode(70)
      }
      try finish(follower.report, sink)
    }

    private func finish(_ found: VerifyReport, _ sink: MismatchFile) throws {
      try sink.close()
      try write(found)
      print(json ? found.json.text(pretty: true) : found.text)
      if found.exitCode != 0 { throw ExitCode(found.exitCode) }
    }

    private func write(_ found: VerifyReport) throws {
      if let report { try save(found.json.text(pretty: true) + "\n", report) }
      if let html { try save(found.html, html) }
    }
  }
}

extension VerifyCommand {
  struct SelfTest: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "selftest",
      abstract: "Spoils a scratch stream in every way, and demands that each fault is found.",
      discussion: """
        Uses the configured NATS and nothing else of the configuration; the scratch streams are in memory \
        and are removed. Exit code 1 if a fault goes unseen or is wrongly called, or a clean stream \
        doesn't PASS; 2 if it is stopped before the end.
        """)

    @OptionGroup var file: ConfigurationOption
    @Option(help: "Rounds of each fault.") var rounds = 3
    @Option(help: "Repeats a run's choices.") var seed: UInt64?
    @Flag(help: "Machine-readable output.") var json = false

    func validate() throws {
      guard (1...10_000).contains(rounds) else {
        throw ValidationError("--rounds takes 1 to 10000, not \(rounds)")
      }
    }

    func run() async throws {
      let environment = ProcessInfo.processInfo.environment
      let configuration = try loadConfiguration(file.path(environment), environment)
      var logger = makeLogger(configuration.log)
      logger.logLevel = max(logger.logLevel, .error)
      let seed = seed ?? UInt64.random(in: 0...UInt64.max)
      // The scratch streams are removed first, whatever ends it.
      let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint, .sighup)
      let test = Selftest(configuration, rounds: rounds, seed: seed, logger: logger)
      let work = Task { [json] in
        await Self.run(test) { result in
          // Nobody gets the results any more: that is found again when they are printed.
          if !json, writeResults("\(Self.line(result))\n") != nil {
            withUnsafeCurrentTask { $0?.cancel() }
          }
        }
      }
      let stop = Task {
        for await _ in signals {
          if work.isCancelled { Foundation.exit(2) }
          work.cancel()
        }
      }
      let outcome = await work.value
      stop.cancel()
      let results: [Selftest.Result]
      switch outcome {
      case .success(let found): results = found
      case .failure(let error):
        printError(error.description)
        throw ExitCode(error.exitCode)
      }
      let isStopped = work.isCancelled
      let isGood = results.allSatisfy(\.isGood)
      if json {
        print(
          JSONValue.object([
            .init("ok", .bool(isGood && !isStopped)), .init("stopped", .bool(isStopped)),
            .init("seed", .int(seed)),
            .init(
              "faults",
              .array(
                results.map { result in
                  [
                    "fault": .string(result.fault), "rounds": .int(result.rounds),
                    "found": .int(result.found),
                    "failure": result.failure.map { .string($0) } ?? .null,
                  ]
                })),
          ]).text(pretty: true))
      } else {
        let verdict = isStopped ? "INCONCLUSIVE (stopped before the end)" : "PASS"
        print(isGood ? verdict : "FAIL (repeat with --seed \(seed))")
      }
      if !isGood { throw ExitCode(1) }
      if isStopped { throw ExitCode(2) }
    }

    private static func run(
      _ test: Selftest, _ told: @Sendable (Selftest.Result) -> Void
    ) async -> Result<[Selftest.Result], BridgeError> {
      do throws(BridgeError) {
        return .success(try await test.run(told))
      } catch {
        return .failure(error)
      }
    }

    private static func line(_ result: Selftest.Result) -> String {
      let name = result.fault.padding(toLength: 16, withPad: " ", startingAt: 0)
      let text = "\(name)\(result.found) of \(result.rounds) found and rightly called"
      return result.failure.map { "\(text): \($0)" } ?? text
    }
  }
}

/// Writes a whole file; ends the program where it can't.
func save(_ text: String, _ path: String) throws {
  do {
    try ResultFile.replace(path, with: text)
  } catch {
    printError("\(error)")
    throw ExitCode(OutputExit.lost)
  }
}

/// Mismatches, one JSON object a line, as they are found.
final class MismatchFile: Sendable {
  private let file: ResultFile?
  private let failure = Mutex<ResultFile.Failure?>(nil)

  init(_ path: String?, appending: Bool) throws {
    guard let path else {
      file = nil
      return
    }
    do {
      file = try ResultFile(path, appending: appending)
    } catch {
      printError("\(error)")
      throw ExitCode(OutputExit.lost)
    }
  }

  func write(_ mismatch: Mismatch) {
    guard failure.withLock({ $0 == nil }) else { return }
    do {
      try file?.append(mismatch.json.text() + "\n")
    } catch {
      failure.withLock { $0 = error }
    }
  }

  /// Ends the program if anything could not be written.
  func close() throws {
    guard let failure = failure.withLock({ $0 }) else { return }
    printError("\(failure)")
    throw ExitCode(OutputExit.lost)
  }
}
