import ArgumentParser
import Bridge
import BridgeConfiguration
import Foundation
import JSON
import Operator

struct Validate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Checks configuration, rules and schemas offline; every error with file:line:column.",
    discussion: """
      With --samples, recorded events (NAME.events.json, one change event a line as tailrace decode \
      prints it) go through the rules, and their messages are compared with NAME.messages.json, \
      byte for byte. Exit code 1 if anything differs.
      """)

  @OptionGroup var file: ConfigurationOption

  @Flag(help: "Machine-readable output.")
  var json = false

  @Flag(help: "Warnings are errors: exit code 78.")
  var strict = false

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
      if let samples {
        for warning in configuration.warnings { printNote(warning.description) }
        try check(samples, configuration)
        if strict, !configuration.warnings.isEmpty { throw ExitCode(78) }
        return
      }
      report(configuration)
      if strict, !configuration.warnings.isEmpty { throw ExitCode(78) }
    } catch let error as ConfigurationProblems {
      report(error, path)
      throw ExitCode(78)
    }
  }

  private func report(_ configuration: BridgeConfiguration) {
    let warnings = configuration.warnings
    if json {
      print(
        JSONValue.object([
          .init("file", .string(configuration.file)),
          .init("valid", .bool(!strict || warnings.isEmpty)), .init("problems", []),
          .init("warnings", .array(warnings.map(Self.json))),
          .init("rules", .int(configuration.rules.count)),
          .init("streams", .int(configuration.streams.count)),
          .init("groups", .array(CutoverEligibility.all(in: configuration).map(Self.json))),
        ]).text(pretty: true))
      return
    }
    for warning in warnings { print(warning.description) }
    let found = warnings.isEmpty ? "" : ", \(warnings.count) warnings"
    print(
      "\(configuration.file): \(strict && !warnings.isEmpty ? "not valid (--strict)" : "valid"), "
        + "\(configuration.rules.count) rules to \(configuration.streams.count) streams\(found)")
    let groups = CutoverEligibility.all(in: configuration)
    let ready = groups.filter(\.isEligible).map(\.group)
    print(
      "cut-over: \(ready.count) of \(groups.count) groups can be handed to producers"
        + (ready.isEmpty ? "" : " (\(ready.joined(separator: ", ")))")
        + (ready.count < groups.count ? "; --json says what the others lack" : ""))
  }

  private static func json(_ group: CutoverEligibility) -> JSONValue {
    [
      "group": .string(group.group), "eligible": .bool(group.isEligible),
      "rules": .array(group.rules.map { .string($0) }),
      "reasons": .array(group.reasons.map { CutoverGroupReport.json($0) }),
    ]
  }

  private func report(_ error: ConfigurationProblems, _ path: String) {
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
          .init("file", .string(error.problems.first?.file ?? path)), .init("valid", false),
          .init("problems", .array(problems)),
          .init("warnings", .array(error.warnings.map(Self.json))),
        ]).text(pretty: true))
    } else {
      print(error.description)
      for warning in error.warnings { print(warning.description) }
    }
  }

  private static func json(_ warning: ConfigurationWarning) -> JSONValue {
    [
      "id": .string(warning.id.rawValue), "file": .string(warning.file),
      "line": .int(warning.line), "column": .int(warning.column),
      "message": .string(warning.message), "remedy": .string(warning.remedy),
    ]
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
