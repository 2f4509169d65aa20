import ArgumentParser
import Bridge
import BridgeConfiguration
import Foundation
import JSON
import Logging

struct SnapshotCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "snapshot",
    abstract:
      "Publishes the documents that the rules' collections hold; the tail continues behind them.",
    discussion: """
      Where the bridge has run before, first what the tail still has to publish. Interrupted, it \
      resumes where it was. Afterwards `tailrace run` continues with the first change behind the snapshot. \
      Don't run it beside another instance of the same bridge.
      """)

  @OptionGroup var file: ConfigurationOption

  @Option(help: "Only documents that this rule takes. May be given several times.")
  var rule: [String] = []

  @Option(help: "Only documents that rules of this group take. May be given several times.")
  var group: [String] = []

  @Option(
    help:
      "Only these collections: database.collection, with * as a wildcard. May be given several times."
  )
  var namespace: [String] = []

  @Flag(
    help: """
      Begin at once and from the beginning: leave a snapshot that is not over, a position, and what lies between \
      that and now.
      """)
  var force = false

  @Flag(
    name: .customLong("no-wait"), help: "Exit with 69 if a server can't be reached at the start.")
  var noWait = false

  @Flag(help: "Machine-readable output.") var json = false

  func run() async throws {
    let environment = ProcessInfo.processInfo.environment
    let configuration = try loadConfiguration(file.path(environment), environment)
    let logger = makeLogger(configuration.log)
    var options = RunOptions()
    options.snapshot = true
    options.selection = SnapshotSelection(rules: rule, groups: group, namespaces: namespace)
    if let mistake = options.selection.mistake(in: configuration) {
      printError(mistake)
      throw ExitCode(64)
    }
    options.force = force
    options.waitForServers = !noWait
    let bridge = BridgeService(configuration: configuration, options: options, logger: logger)
    try await serve(bridge, logger)
    guard let report = bridge.finishedSnapshot else {
      print(json ? "{\"finished\":false}" : "stopped: the next start continues from here")
      return
    }
    var value = report.json
    value["finished"] = true
    print(json ? value.text(pretty: true) : "finished: \(report.line)")
    for namespace in report.unmatched {
      printError("--namespace \(namespace): no collection has a name like that")
    }
    if !report.unmatched.isEmpty { throw ExitCode(64) }
    if report.collections == 0 { printError("there is no collection to read") }
  }
}
