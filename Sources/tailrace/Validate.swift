import ArgumentParser
import BridgeConfiguration
import Foundation
import JSON

struct Validate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Checks configuration and rules offline; every error with file:line:column.")

  @OptionGroup var file: ConfigurationOption

  @Flag(help: "Machine-readable output.")
  var json = false

  func run() throws {
    let environment = ProcessInfo.processInfo.environment
    let path = file.path(environment)
    do {
      let configuration = try BridgeConfiguration.load(path: path, environment: environment)
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
    } catch {
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
}
