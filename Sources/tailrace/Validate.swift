import ArgumentParser
import Bridge
import BridgeConfiguration
import Foundation
import JSON

struct Validate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Checks configuration, rules and schemas offline; every error with file:line:column.",
    discussion: """
      With --samples, recorded events (NAME.events.json, one change event a line as tailrace decode \
      prints it) go through the rules, and what becomes of them is compared with NAME.messages.json, \
      byte for byte. Exit code 1 if anything differs.
      """)

  @OptionGroup var file: ConfigurationOption

  @Flag(help: "Machine-readable output.")
  var json = false

  @Option(help: "A folder of recorded events, and the messages they must become.")
  var samples: String?

  @Flag(help: "With --samples: record what the rules make of the events now.")
  var write = false

  func validate() throws {
    if write, samples == nil { throw ValidationError("--write goes with --samples") }
  }

  func run() throws {
    let environment = ProcessInfo.processInfo.environment
    let path = file.path(environment)
    do {
      let configuration = try BridgeConfiguration.load(path: path, environment: environment)
      if let samples { return try check(samples, configuration) }
      if json {
        print(
          JSONValue.object([
            .init("file", .string(path)), .init("valid", true), .init("problems", []),
            .init("rules", .int(configuration.rules.count)),
            .init("streams", .int(configuration.streams.count)),
          ]).text(pretty: true))
      } else {
        print(
          "\(path): valid, \(configuration.rules.count) rules to \(configuration.streams.count) streams"
        )
      }
    } catch let error as ConfigurationProblems {
      if json {
        let problems = error.problems.map { problem -> JSONValue in
          [
            "file": .string(problem.file), "line": .int(problem.line),
            "column": .int(problem.column), "message": .string(problem.message),
            "remedy": .string(problem.remedy),
          ]
        }
        print(
          JSONValue.object([
            .init("file", .string(path)), .init("valid", false),
            .init("problems", .array(problems)),
          ]).text(pretty: true))
      } else {
        print(error.description)
      }
      throw ExitCode(78)
    }
  }

  private func check(_ folder: String, _ configuration: BridgeConfiguration) throws {
    let outcomes: [Samples.Outcome]
    do {
      outcomes = try Samples(configuration, folder: folder).check(writing: write)
    } catch {
      printError("\(error)")
      throw ExitCode(1)
    }
    if json {
      print(
        JSONValue.object([.init("samples", .array(outcomes.map(Self.json)))]).text(pretty: true))
    } else {
      for outcome in outcomes { print(Self.text(outcome)) }
    }
    if outcomes.contains(where: { $0.difference != nil }) { throw ExitCode(1) }
  }

  private static func text(_ outcome: Samples.Outcome) -> String {
    let counts = "\(outcome.events) events, \(outcome.messages) messages"
    guard let difference = outcome.difference else {
      return "\(outcome.isWritten ? "written" : "ok     ")  \(outcome.name): \(counts)"
    }
    return """
      DIFFERS  \(outcome.name): \(counts); message \(difference.line)
        recorded  \(difference.recorded ?? "nothing")
        now       \(difference.made ?? "nothing")
      """
  }

  private static func json(_ outcome: Samples.Outcome) -> JSONValue {
    var value: JSONValue = [
      "name": .string(outcome.name), "events": .int(outcome.events),
      "messages": .int(outcome.messages), "ok": .bool(outcome.difference == nil),
    ]
    if let difference = outcome.difference {
      value["line"] = .int(difference.line)
      value["recorded"] = difference.recorded.map { .string($0) } ?? .null
      value["now"] = difference.made.map { .string($0) } ?? .null
    }
    return value
  }
}
