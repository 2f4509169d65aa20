import ArgumentParser
import Bridge
import BridgeConfiguration
import Foundation
import JSON
import Logging
import Operator

struct StreamsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "streams",
    abstract:
      "Streams, consumers and buckets: what differs from the configuration, and making it agree.",
    subcommands: [Plan.self, Apply.self, Size.self])

  private static func perform<T>(
    _ file: ConfigurationOption, _ body: (StreamsOperator) async throws(BridgeError) -> T
  ) async throws -> T {
    let environment = ProcessInfo.processInfo.environment
    let configuration = try loadConfiguration(file.path(environment), environment)
    var logger = makeLogger(configuration.log)
    logger.logLevel = max(logger.logLevel, .error)
    do throws(BridgeError) {
      return try await body(StreamsOperator(configuration, logger: logger))
    } catch {
      printError(error.description)
      throw ExitCode(error.exitCode)
    }
  }

  struct Plan: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "What differs. Changes nothing.",
      discussion: """
        + has to be made, ~ changed, - removed; ! can't be, or would lose something. Exit code 1 if anything \
        differs.
        """)
    @OptionGroup var file: ConfigurationOption
    @Flag(help: "Machine-readable output.") var json = false

    func run() async throws {
      let found = try await StreamsCommand.perform(file) { streams throws(BridgeError) in
        try await streams.plan()
      }
      if json {
        print(found.json.text(pretty: true))
      } else {
        for line in found.lines { print(printable(line)) }
      }
      if !found.differing.isEmpty { throw ExitCode(1) }
    }
  }

  struct Apply: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Makes what differs, unless something would be lost.",
      discussion: """
        Exit code 1 if something still differs: what can't be made (then nothing is), and what would lose \
        something, which takes --allow-destructive.
        """)
    @OptionGroup var file: ConfigurationOption
    @Flag(
      help: "Make also what loses messages, subjects or a consumer's place; it is listed first.")
    var allowDestructive = false
    @Flag(help: "Machine-readable output.") var json = false

    func run() async throws {
      let isPlain = !json
      let isAllowed = allowDestructive
      let applied = try await StreamsCommand.perform(file) { streams throws(BridgeError) in
        try await streams.apply(allowsLoss: isAllowed) { found in
          guard isPlain else { return }
          for line in found.differing.flatMap(\.lines) { print(printable(line)) }
          for loss in found.destructive.flatMap(\.losses) where isAllowed {
            printNote("will be lost: \(printable(loss.detail))")
          }
        }
      }
      let left = applied.after?.differing ?? applied.before.differing
      if json {
        print(
          JSONValue.object([
            .init("applied", .bool(applied.after != nil)), .init("before", applied.before.json),
            .init("after", applied.after?.json ?? .null),
          ]).text(pretty: true))
      } else if applied.after == nil {
        print("nothing is made: \(applied.before.refused.count) of them are impossible")
      } else if left.isEmpty {
        let count = applied.before.differing.count
        print(
          count == 0 ? "everything is as configured" : "\(count) made; everything is as configured")
      } else {
        print("\(left.count) left as they are, because something would be lost:")
        for item in left {
          print(printable("  \(item.summary)"))
          for loss in item.losses { print(printable("    loses \(loss.detail)")) }
        }
        print("tailrace streams apply --allow-destructive makes them, too")
      }
      if !left.isEmpty { throw ExitCode(1) }
    }
  }
}
