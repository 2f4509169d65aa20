import ArgumentParser
import Bridge
import BridgeConfiguration
import Foundation
import JSON
import Operator

/// `tailrace schema asyncapi`.
struct SchemaAsyncAPI: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "asyncapi",
    abstract: "What the bridge publishes, as an AsyncAPI 3.0 document.",
    discussion: """
      Subjects, messages, headers, schemas and streams of the configuration, as JSON, on standard output. Asks \
      no server. Examples come from recorded events (tailrace validate --samples). No secret is in it.
      """)
  @OptionGroup var file: ConfigurationOption
  @Option(help: "A folder of recorded events, for examples.") var samples: String?
  @Option(name: .shortAndLong, help: "Write a file instead.") var output: String?

  func run() async throws {
    let environment = ProcessInfo.processInfo.environment
    let configuration = try loadConfiguration(file.path(environment), environment)
    let document: AsyncAPIDocument
    do {
      document = AsyncAPIDocument(
        configuration,
        examples: try samples.map {
          try Samples(configuration, folder: $0).messagesByRule()
        } ?? [:])
    } catch let error as Samples.Unreadable {
      printError(error.description)
      throw ExitCode(78)
    }
    let text = document.json.text(pretty: true) + "\n"
    guard let output else { return print(text, terminator: "") }
    do {
      try ResultFile.replace(output, with: text)
    } catch {
      printError("\(error)")
      throw ExitCode(OutputExit.lost)
    }
  }
}
