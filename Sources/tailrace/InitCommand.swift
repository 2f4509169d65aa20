import ArgumentParser
import Bridge
import Foundation
import Operator

/// `tailrace init`.
struct InitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "init", abstract: "Writes a commented configuration to start from.",
    discussion: """
      DIR/tailrace.yaml, for a person to edit. It never replaces a file without --force. Exit code 1 if it can't \
      be written.
      """)
  @Argument(help: "The folder; made if it is missing.") var folder = "."
  @Option(help: "The database whose changes are published.") var database = "chat"
  @Flag(help: "Replace a file that is there.") var force = false

  func validate() throws {
    guard StartingConfiguration.isPlain(database) else {
      throw ValidationError(
        "--database '\(printable(database))': letters, digits, _ and -, up to 63; rules for other names are in docs/mapping.md"
      )
    }
  }

  func run() throws {
    let path = folder == "." ? "tailrace.yaml" : "\(folder)/tailrace.yaml"
    do {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      guard force || !FileManager.default.fileExists(atPath: path) else {
        printError("\(printable(path)) is there already; --force replaces it")
        throw ExitCode(1)
      }
      try ResultFile.replace(path, with: StartingConfiguration(database: database).yaml)
    } catch let error as CocoaError {
      printError("\(printable(folder)) can't be made: \(error.localizedDescription)")
      throw ExitCode(1)
    } catch let error as ResultFile.Failure {
      printError(printable(error.description))
      throw ExitCode(1)
    }
    print(
      """
      \(printable(path)) is written. Next:
        edit it: the database, what of it, under which subjects
        tailrace validate -c \(printable(path))
        tailrace doctor -c \(printable(path))
        tailrace run --dry-run --from oldest --until now -c \(printable(path))
      """)
  }
}
