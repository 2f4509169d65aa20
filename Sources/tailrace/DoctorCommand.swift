import ArgumentParser
import Bridge
import BridgeConfiguration
import Foundation
import JSON
import Logging
import MongoSource
import Operator

struct DoctorCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Connects and checks what would hurt later; remedies are ready to paste.",
    discussion: "Exit code 1 if a check fails. Nothing is changed.")

  @OptionGroup var file: ConfigurationOption
  @Flag(help: "Machine-readable output.") var json = false

  func run() async throws {
    let environment = ProcessInfo.processInfo.environment
    let configuration = try loadConfiguration(file.path(environment), environment)
    var logger = makeLogger(configuration.log)
    logger.logLevel = max(logger.logLevel, .error)
    let found = await Doctor(configuration, logger: logger).examine()
    let failed = found.filter { $0.verdict == .fail }.count
    if json {
      let checks = found.map { check -> JSONValue in
        [
          "id": .string(check.id), "verdict": .string(check.verdict.rawValue),
          "evidence": .string(check.evidence),
          "remedy": check.remedy.map { .string($0) } ?? .null,
        ]
      }
      print(
        JSONValue.object([.init("ok", .bool(failed == 0)), .init("checks", .array(checks))])
          .text(pretty: true))
    } else {
      for check in found {
        let verdict = check.verdict.rawValue
        print(
          "\(verdict)\(String(repeating: " ", count: 5 - verdict.count))\(check.id): \(check.evidence)"
        )
        for line in check.remedy?.split(separator: "\n") ?? [] { print("       \(line)") }
      }
      let warned = found.filter { $0.verdict == .warn }.count
      print("\(found.count) checks: \(failed) failed, \(warned) warnings")
    }
    if failed > 0 { throw ExitCode(1) }
  }
}
