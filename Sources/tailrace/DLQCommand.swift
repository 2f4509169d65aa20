import ArgumentParser
import Bridge
import BridgeConfiguration
import DeadLetters
import Foundation
import JSON
import Logging
import Mapping
import Oplog

struct DLQCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dlq", abstract: "Dead letters: list, show, replay, drop.",
    subcommands: [List.self, Show.self, Replay.self, Drop.self])

  /// Which letters; shared by all but `show`.
  struct Filter: ParsableArguments {
    @Option(
      name: .customLong("sequence"),
      help: "Those at this sequence of the dead-letter stream; repeatable.")
    var sequences: [UInt64] = []
    @Option(name: .customLong("rule"), help: "Of this rule; repeatable.") var rules: [String] = []
    @Option(name: .customLong("error"), help: "With this error code; repeatable.")
    var errors: [String] = []
    @Option(name: .customLong("namespace"), help: "Of this namespace, a glob per part; repeatable.")
    var namespaces: [String] = []
    @Option(name: .customLong("id"), help: "With this message id; repeatable.") var ids: [String] =
      []
    @Option(
      name: .customLong("bridge"),
      help: "Of the bridge with this name; repeatable. Default: list takes all, drop this bridge's."
    )
    var bridges: [String] = []
    @Flag(help: "Those too that name no bridge, as letters of older versions.") var unnamed = false
    @Option(help: "From this position on, <seconds>.<increment>.") var from: String?
    @Option(help: "Up to this position, included.") var to: String?
    @Option(help: "No more than so many.") var limit: Int?

    func validate() throws { _ = try filter(.any) }

    /// `bridges`: where none is named.
    func filter(_ bridges: DeadLetterFilter.Bridges) throws -> DeadLetterFilter {
      var filter = DeadLetterFilter()
      filter.bridges = self.bridges.isEmpty ? bridges : .named(Set(self.bridges))
      filter.takesUnnamed = unnamed
      filter.sequences = Set(sequences)
      filter.rules = Set(rules)
      filter.errors = Set(errors)
      filter.ids = Set(ids)
      if let limit, limit < 1 { throw ValidationError("--limit is at least 1, not \(limit)") }
      filter.limit = limit
      for text in namespaces {
        do {
          filter.namespaces.append(try NamespacePattern(parsing: text))
        } catch {
          throw ValidationError("--namespace: \(error)")
        }
      }
      filter.from = try position(from, "--from")
      filter.to = try position(to, "--to")
      return filter
    }

    private func position(_ text: String?, _ option: String) throws -> OplogPosition? {
      guard let text else { return nil }
      guard let position = OplogPosition(text) else {
        throw ValidationError("\(option) takes <seconds>.<increment>, not '\(text)'")
      }
      return position
    }
  }

  private static func perform<T>(
    _ file: ConfigurationOption, _ body: (DeadLetterBox) async throws(BridgeError) -> T
  ) async throws -> T {
    let environment = ProcessInfo.processInfo.environment
    let configuration = try loadConfiguration(file.path(environment), environment)
    var logger = makeLogger(configuration.log)
    logger.logLevel = max(logger.logLevel, .warning)
    do throws(BridgeError) {
      return try await body(DeadLetterBox(configuration, logger: logger))
    } catch {
      printError(error.description)
      throw ExitCode(error.exitCode)
    }
  }

  private static func noteOthers(_ count: Int, _ what: String) {
    guard count > 0 else { return }
    printNote("\(count) letters of other bridges, or that name none, are \(what) (see dlq list)")
  }

  private static func line(_ letter: DeadLetter) -> String {
    func word(_ text: String?) -> String { text.flatMap { $0.isEmpty ? nil : $0 } ?? "-" }
    let parts = [
      "\(letter.sequence)", "\(letter.time.prefix(19))Z", word(letter.position?.description),
      word(letter.bridge), word(letter.rule), word(letter.error), word(letter.wouldBeSubject),
      letter.unreadable.map { "unreadable, on subject \(letter.subject): \($0)" } ?? letter.detail,
    ]
    return printable(parts.joined(separator: "  "))
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: """
        One a line: sequence, time, position, bridge, rule, error, subject it would have had, why; of \
        one that can't be replayed, what it lacks.
        """
    )
    @OptionGroup var file: ConfigurationOption
    @OptionGroup var filter: Filter
    @Flag(help: "Machine-readable output, one object a line.") var json = false

    func run() async throws {
      let filter = try filter.filter(.any)
      var count = 0
      _ = try await DLQCommand.perform(file) { box throws(BridgeError) in
        try await box.list(filter) { letter in
          count += 1
          print(json ? letter.json.text() : DLQCommand.line(letter))
        }
      }
      if !json { printNote("\(count) dead letters") }
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "One letter whole: its headers and the change event.",
      discussion: """
        Documents that were too large for a dead letter are read from the oplog again, as long as \
        that holds them (else exit code 75).
        """)
    @Argument(help: "Sequence in the dead-letter stream.") var sequence: UInt64
    @OptionGroup var file: ConfigurationOption
    @Flag(help: "Machine-readable output.") var json = false

    func run() async throws {
      var filter = DeadLetterFilter()
      filter.sequences = [sequence]
      let found = try await DLQCommand.perform(file) { box throws(BridgeError) in
        var found: DeadLetter?
        try await box.list(filter) { found = $0 }
        guard let letter = found else { return nil as (DeadLetter, String)? }
        return (letter, try await box.event(of: letter))
      }
      guard let (letter, event) = found else {
        printError("there is no dead letter at sequence \(sequence)")
        throw ExitCode(1)
      }
      if json {
        var value = letter.json
        value["headers"] = .object(
          letter.headers.map { JSONValue.Member($0.name, .string($0.value)) })
        guard (try? JSONValue(parsing: event)) != nil else {
          value["event"] = .null
          value["body"] = .string(event)
          print(value.text())
          return
        }
        print("\(value.text().dropLast()),\"event\":\(event)}")
        return
      }
      for header in letter.headers { print(printable("\(header.name): \(header.value)")) }
      if let unreadable = letter.unreadable { printNote("unreadable: \(printable(unreadable))") }
      print("")
      let text = (try? JSONValue(parsing: event))?.text(pretty: true) ?? event
      print(printable(text, keepingLines: true))
    }
  }

  struct Replay: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Maps letters again by today's rules, and publishes the resulting messages.",
      discussion: """
        A replayed message comes behind everything published since, under the id it would have had. \
        A letter leaves the dead-letter stream once its message has been read back from the stream; \
        what is still invalid, or has an id that the stream has for something else, stays. Exit code 1 \
        if any is.
        """)
    @OptionGroup var file: ConfigurationOption
    @OptionGroup var filter: Filter
    @Flag(help: "Every letter; needed where no filter is given.") var all = false
    @Flag(help: "Leave the letters where they are.") var keep = false
    @Flag(name: .customLong("dry-run"), help: "Only say what would be published.") var dryRun =
      false
    @Flag(help: "Machine-readable output, one object a line.") var json = false

    func validate() throws {
      if try filter.filter(.own).isEmpty, !all {
        throw ValidationError("say which (--rule, --error, --sequence, …), or --all")
      }
      guard filter.bridges.isEmpty else {
        throw ValidationError(
          "a bridge replays its own letters: run dlq replay with the other bridge's configuration")
      }
    }

    func run() async throws {
      let filter = try filter.filter(.own)
      var counts: [String: Int] = [:]
      let leftOut = try await DLQCommand.perform(file) { box throws(BridgeError) in
        try await box.replay(filter, keep: keep, dryRun: dryRun) { letter, outcome in
          counts[outcome.name, default: 0] += 1
          print(json ? Self.json(letter, outcome).text() : printable(Self.line(letter, outcome)))
        }
      }
      let sums = counts.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
      if !json { printNote(sums.isEmpty ? "nothing to replay" : sums.joined(separator: ", ")) }
      DLQCommand.noteOthers(leftOut, "not replayed")
      if counts["invalid"] != nil || counts["id_conflict"] != nil { throw ExitCode(1) }
    }

    private static func line(_ letter: DeadLetter, _ outcome: ReplayOutcome) -> String {
      switch outcome {
      case .published(let stream, let sequence, let id):
        "\(letter.sequence)  published  \(stream) \(sequence)  \(id)"
      case .duplicate(let stream, let id):
        "\(letter.sequence)  duplicate  \(stream) had \(id) already"
      case .idConflict(_, _, let detail):
        "\(letter.sequence)  id conflict  \(detail): try again when the stream's duplicate_window is over, or give the rule another id"
      case .invalid(let code, let detail): "\(letter.sequence)  invalid  \(code): \(detail)"
      case .wouldPublish(let subject, let id):
        "\(letter.sequence)  would be published  \(subject)  \(id)"
      }
    }

    private static func json(_ letter: DeadLetter, _ outcome: ReplayOutcome) -> JSONValue {
      var value: JSONValue = [
        "sequence": .int(letter.sequence), "outcome": .string(outcome.name),
      ]
      switch outcome {
      case .published(let stream, let sequence, let id):
        value["stream"] = .string(stream)
        value["stream_sequence"] = .int(sequence)
        value["id"] = .string(id)
      case .duplicate(let stream, let id):
        value["stream"] = .string(stream)
        value["id"] = .string(id)
      case .idConflict(let stream, let id, let detail):
        value["stream"] = .string(stream)
        value["id"] = .string(id)
        value["error"] = "id_conflict"
        value["detail"] = .string(detail)
      case .invalid(let code, let detail):
        value["error"] = .string(code)
        value["detail"] = .string(detail)
      case .wouldPublish(let subject, let id):
        value["subject"] = .string(subject)
        value["id"] = .string(id)
      }
      return value
    }
  }

  struct Drop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Takes letters out of the dead-letter stream for good.")
    @OptionGroup var file: ConfigurationOption
    @OptionGroup var filter: Filter
    @Flag(help: "Every letter; needed where no filter is given.") var all = false
    @Flag(name: .customLong("dry-run"), help: "Only say which.") var dryRun = false

    func validate() throws {
      if try filter.filter(.own).isEmpty, !all {
        throw ValidationError("say which (--rule, --error, --sequence, …), or --all")
      }
    }

    func run() async throws {
      let filter = try filter.filter(.own)
      var count = 0
      let leftOut = try await DLQCommand.perform(file) { box throws(BridgeError) in
        let each = { (letter: DeadLetter) in
          count += 1
          print(DLQCommand.line(letter))
        }
        return dryRun ? try await box.list(filter, each) : try await box.drop(filter, each)
      }
      printNote("\(count) dead letters \(dryRun ? "would be dropped" : "dropped")")
      DLQCommand.noteOthers(leftOut, "kept")
    }
  }
}
