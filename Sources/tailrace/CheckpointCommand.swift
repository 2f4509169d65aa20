import ArgumentParser
import Bridge
import BridgeConfiguration
import Foundation
import JSON
import Logging
import Operator
import Oplog

struct CheckpointCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "checkpoint", abstract: "The resume position: show it, set it, export it.",
    subcommands: [Show.self, Set.self, Export.self])

  /// The stored checkpoint; exit code 1 where there is none.
  private static func stored(_ file: ConfigurationOption) async throws -> Checkpoint {
    let checkpoint = try await perform(file) { checkpoints throws(BridgeError) in
      try await checkpoints.show()
    }
    guard let checkpoint else {
      printError("there is no checkpoint: the bridge has not run yet, or it was deleted")
      throw ExitCode(1)
    }
    return checkpoint
  }

  private static func perform<T>(
    _ file: ConfigurationOption, _ body: (CheckpointOperator) async throws(BridgeError) -> T
  ) async throws -> T {
    let environment = ProcessInfo.processInfo.environment
    let configuration = try loadConfiguration(file.path(environment), environment)
    var logger = makeLogger(configuration.log)
    logger.logLevel = max(logger.logLevel, .warning)
    do throws(BridgeError) {
      return try await body(CheckpointOperator(configuration, logger: logger))
    } catch {
      printError(error.description)
      throw ExitCode(error.exitCode)
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "What is stored.")
    @OptionGroup var file: ConfigurationOption
    @Flag(help: "Machine-readable output.") var json = false

    func run() async throws {
      let checkpoint = try await CheckpointCommand.stored(file)
      if json {
        print(checkpoint.json.text(pretty: true))
        return
      }
      print("bridge    \(checkpoint.bridge), source \(checkpoint.source)")
      print("resume    \(checkpoint.resume)\(checkpoint.term.map { " (term \($0))" } ?? "")")
      print(
        "origin    \(checkpoint.origin.position)\(checkpoint.origin.inclusive ? " (inclusive)" : "")"
      )
      print("written   version \(checkpoint.version) by instance \(checkpoint.instance)")
      for (name, stream) in checkpoint.streams.sorted(by: { $0.key < $1.key }) {
        print("stream    \(name): sequence \(stream.sequence), \(stream.position), \(stream.id)")
      }
    }
  }

  struct Set: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Makes a position, or the first entry behind it, the resume position.",
      discussion: """
        Stop the bridge first. Going back sends nothing again that a stream holds; going forward \
        leaves out what lies between.
        """)
    @Argument(help: "<seconds>.<increment>; the oplog must reach back to it.") var position: String
    @OptionGroup var file: ConfigurationOption
    @Flag(help: "Machine-readable output.") var json = false

    func validate() throws {
      guard OplogPosition(position) != nil else {
        throw ValidationError("a position is <seconds>.<increment>, not '\(position)'")
      }
    }

    func run() async throws {
      guard let wanted = OplogPosition(position) else { throw ExitCode(64) }
      let checkpoint = try await CheckpointCommand.perform(file) {
        checkpoints throws(BridgeError) in
        try await checkpoints.set(wanted)
      }
      print(
        json ? checkpoint.json.text(pretty: true) : "the bridge resumes at \(checkpoint.resume)")
    }
  }

  struct Export: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Prints the stored checkpoint as it is, for safe-keeping.")
    @OptionGroup var file: ConfigurationOption

    func run() async throws { print(try await CheckpointCommand.stored(file).json.text()) }
  }
}
