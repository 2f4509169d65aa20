import ArgumentParser
import Bridge
import BridgeConfiguration
import Foundation
import JSON
import Logging
import Operator

struct ExplainCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain",
    abstract:
      "Where is my event? From oplog entry to rule, message and stream sequence, or why not.",
    discussion: """
      Answers from the oplog, the streams, or both. Exit code 0: found and as it should be (or nothing is due); \
      1: what has to be there is missing, or differs; 2: neither side reaches back to it; 69: a server that \
      would know is unavailable.
      """)

  @Argument(
    help: "<seconds>.<increment>, <seconds>.<increment>.<index>, or a message id (Nats-Msg-Id).")
  var what: String?
  @Option(
    parsing: .upToNextOption,
    help: "NAMESPACE ID: the changes of the document with this _id that the oplog holds.")
  var document: [String] = []
  @Option(help: "So many events of an entry or a document are explained, a document's newest.")
  var limit = 10
  @OptionGroup var file: ConfigurationOption
  @Flag(help: "Machine-readable output.") var json = false

  func validate() throws { _ = try question() }

  private func question() throws -> ExplainQuestion {
    guard (1...1000).contains(limit) else {
      throw ValidationError("--limit is 1 to 1000, not \(limit)")
    }
    if document.isEmpty {
      guard let what, !what.isEmpty else {
        throw ValidationError("say what: a position, a message id, or --document NAMESPACE ID")
      }
      return ExplainQuestion(what)
    }
    guard what == nil, document.count == 2, document[0].contains(".") else {
      throw ValidationError("--document takes database.collection and an _id, and nothing else")
    }
    return .document(WantedDocument(namespace: document[0], id: document[1]))
  }

  func run() async throws {
    let question = try question()
    let environment = ProcessInfo.processInfo.environment
    let configuration = try loadConfiguration(file.path(environment), environment)
    var logger = makeLogger(configuration.log)
    logger.logLevel = max(logger.logLevel, .error)
    let explainer = Explainer(configuration, limit: limit, logger: logger) {
      printNote(printable($0))
    }
    let explanation: Explanation
    do throws(BridgeError) {
      explanation = try await explainer.explain(question)
    } catch {
      printError(printable(error.description))
      throw ExitCode(error.exitCode)
    }
    if json {
      print(TerminalText.printableJSON(explanation.json.text()))
    } else {
      for line in explanation.lines { print(line) }
    }
    if explanation.exitCode != 0 { throw ExitCode(explanation.exitCode) }
  }
}
