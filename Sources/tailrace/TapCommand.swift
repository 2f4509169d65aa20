import ArgumentParser
import Bridge
import BridgeConfiguration
import Foundation
import Logging
import Operator
import Oplog
import UnixSignals

struct TapCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tap",
    abstract: "The bridge's messages as they are stored, one a line, dead letters included.",
    discussion: """
      Until interrupted, or --count of them. Nothing is acknowledged, and nothing remains in the servers.
      """)

  @OptionGroup var file: ConfigurationOption
  @Option(name: .customLong("rule"), help: "Of this rule; repeatable.") var rules: [String] = []
  @Option(help: "To subjects that match: * is any token, > is the rest.")
  var subject: String?
  @Option(help: "End after so many.") var count: Int?
  @Flag(help: "Begin with what the streams hold already.") var fromStart = false
  @Option(help: "Begin with this position of the oplog, <seconds>.<increment>[.<index>].")
  var from: String?
  @Flag(help: "Machine-readable output, one object a line.") var json = false

  func validate() throws {
    if let count, count < 1 { throw ValidationError("--count is at least 1, not \(count)") }
    if from != nil, fromStart {
      throw ValidationError("--from and --from-start exclude each other")
    }
    _ = try start
  }

  private var start: TapStart {
    get throws {
      guard let from else { return fromStart ? .first : .now }
      if let entry = OplogPosition(from) { return .position(EventPosition(entry: entry, index: 0)) }
      if let position = EventPosition(from) { return .position(position) }
      throw ValidationError(
        "--from takes a position, <seconds>.<increment> or <seconds>.<increment>.<index>, not '\(printable(from))'"
      )
    }
  }

  func run() async throws {
    let environment = ProcessInfo.processInfo.environment
    let configuration = try loadConfiguration(file.path(environment), environment)
    let filter = TapFilter(rules: Set(rules), subject: subject)
    if let problem = filter.problem(in: configuration) { throw ValidationError(problem) }
    var logger = makeLogger(configuration.log)
    logger.logLevel = max(logger.logLevel, .error)
    let tap = Tap(configuration, filter, from: try start, logger: logger) {
      printNote(printable($0))
    }
    let isJSON = json
    let ends = await UnixSignalsSequence(trapping: .sigterm, .sigint)
    let failure = await withTaskGroup(of: BridgeError?.self) { group in
      group.addTask {
        for await _ in ends { break }
        return nil
      }
      group.addTask { [count] in
        do throws(BridgeError) {
          try await tap.run(count: count) { print(isJSON ? $0.json : $0.line) }
          return nil
        } catch {
          return error
        }
      }
      let first = await group.next() ?? nil
      group.cancelAll()
      // The consumers are removed, unless the server or the reader of the output is not there to wait for.
      let exit = Task.detached {
        try? await Task.sleep(for: .seconds(1))
        if !Task.isCancelled { Foundation.exit(first?.exitCode ?? 0) }
      }
      for await _ in group {}
      exit.cancel()
      return first
    }
    if let failure {
      printError(printable(failure.description))
      throw ExitCode(failure.exitCode)
    }
  }
}
