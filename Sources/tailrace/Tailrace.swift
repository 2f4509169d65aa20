import ArgumentParser
import Bridge
import BridgeConfiguration

@main
struct Tailrace: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tailrace",
    abstract:
      "Carries a system off oplog tailing onto NATS JetStream: nothing lost, doubled or reordered.",
    discussion: """
      Exit codes: 0 done, 1 failed check, 2 it can't be said, 64 usage, 69 a server is unavailable, 70 halted \
      on something it can't understand, 74 results could not be written to standard output, 75 position \
      lost (an operator must decide), 78 configuration.
      """,
    version: TailraceVersion.current,
    subcommands: [
      Run.self, SnapshotCommand.self, Validate.self, Decode.self, CheckpointCommand.self,
      DoctorCommand.self, ExplainCommand.self, InitCommand.self,
      CutoverCommand.self, DLQCommand.self, SchemaCommand.self, StatusCommand.self,
      StreamsCommand.self, TapCommand.self, VerifyCommand.self,
    ])

  static func main() async {
    ProcessSetup.prepare()
    await main(nil)
  }
}

/// `-c`, shared by all commands.
struct ConfigurationOption: ParsableArguments {
  @Option(
    name: [.customShort("c"), .customLong("config")],
    help:
      "Configuration file, - for standard input (default: $TAILRACE_CONFIG, else tailrace.yaml).")
  var config: String?

  func path(_ environment: [String: String]) -> String {
    config ?? environment["TAILRACE_CONFIG"] ?? "tailrace.yaml"
  }
}
