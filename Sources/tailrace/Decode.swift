import ArgumentParser
import Bridge
import BridgeConfiguration
import Foundation
import Operator

struct Decode: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Offline: oplog entries (Extended JSON, one a line) to change events or messages.",
    discussion: """
      Prints the change events as canonical Extended JSON, one a line; with --messages what the \
      configuration's rules make of them. An entry at which the bridge would halt ends it with the \
      error and exit code 1.
      """)

  @Argument(help: "A file; standard input if left out or -.")
  var input: String?

  @Flag(help: "Print messages (subject, headers, body) by the rules of --config.")
  var messages = false

  @Flag(help: "Add disambiguatedPaths to update descriptions.")
  var disambiguatedPaths = false

  @OptionGroup var file: ConfigurationOption

  func run() throws {
    let output: OfflineDecoder.Output
    if messages {
      let environment = ProcessInfo.processInfo.environment
      output = .messages(try loadConfiguration(file.path(environment), environment))
    } else {
      output = .events
    }
    if let input, input != "-" {
      // As if the shell had redirected it.
      let descriptor = open(input, O_RDONLY)
      guard descriptor >= 0, dup2(descriptor, STDIN_FILENO) >= 0 else {
        printError("\(input) can't be read: \(String(cString: strerror(errno)))")
        throw ExitCode(64)
      }
    }
    let decoder = OfflineDecoder(output, disambiguatedPaths: disambiguatedPaths)
    while let line = readLine() {
      do throws(OfflineDecoder.Failure) {
        try decoder.decode(line) { print($0) }
      } catch {
        printError(error.description)
        throw ExitCode(1)
      }
    }
  }
}
