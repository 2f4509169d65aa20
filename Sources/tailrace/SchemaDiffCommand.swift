import ArgumentParser
import BridgeConfiguration
import JSON
import JSONSchema
import SchemaDiff

/// `tailrace schema diff`.
struct SchemaDiffCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "diff", abstract: "Whether two versions of a schema are compatible, and why not.",
    discussion: """
      BACKWARD: what OLD accepts, NEW accepts. FORWARD: what NEW accepts, OLD accepts. FULL: both. \
      Each difference comes with the place in the schema, who breaks, and a value that one version \
      accepts and the other refuses. Exit code 0 compatible, 1 incompatible, 2 undecided, 78 if a \
      schema can't be compiled.
      """)

  enum Compatibility: String, ExpressibleByArgument, CaseIterable {
    case backward, forward, full

    var compatibility: SchemaCompatibility {
      switch self {
      case .backward: .backward
      case .forward: .forward
      case .full: .full
      }
    }
  }

  @Argument(help: "The old version's file.") var old: String
  @Argument(help: "The new version's file.") var new: String
  @Option(help: "What decides the exit code: backward, forward, full.")
  var compatibility = Compatibility.backward
  @Flag(help: "Writers may put in members that their schema doesn't declare.") var strict = false
  @Flag(name: .customLong("no-formats"), help: "Take `format` for an annotation.")
  var noFormats = false
  @Flag(help: "One JSON object.") var json = false

  func run() throws {
    let options = SchemaOptions(assertFormats: !noFormats)
    let comparison = SchemaComparison(
      old: try compiled(old, options), new: try compiled(new, options))
    if json {
      print(comparison.json(for: compatibility.compatibility, isStrict: strict).text())
    } else {
      print(printable(comparison.text(isStrict: strict), keepingLines: true))
    }
    switch comparison.verdict(for: compatibility.compatibility, isStrict: strict) {
    case .compatible: break
    case .incompatible: throw ExitCode(1)
    case .undecided: throw ExitCode(2)
    }
  }

  private func compiled(_ file: String, _ options: SchemaOptions) throws -> CompiledSchema {
    do {
      return try SchemaFile(file).compile(options)
    } catch {
      printError("\(error)")
      throw ExitCode(78)
    }
  }
}
