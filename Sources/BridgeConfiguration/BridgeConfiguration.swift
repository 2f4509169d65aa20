import JSON
public import Mapping

/// A complete, validated configuration.
public struct BridgeConfiguration: Sendable {
  /// The file it was read from, for messages.
  public var file: String
  public var source: SourceSettings
  public var nats: NATSSettings
  public var bridge: BridgeSettings
  public var cutover: CutoverSettings
  public var streams: [StreamSpec]
  /// In the order they are tried; each one's `route` has an index into `streams`.
  public var rules: [Rule]
  /// Of each rule, in the same order.
  public var schemas: [RuleSchema?]
  public var unmatched: Unmatched
  /// The key for hashing redacted values.
  public var redactionKey: Secret?
  public var deadLetter: DeadLetterSettings
  public var http: HTTPSettings
  public var log: LogSettings
  /// What is legal in the file and almost certainly unintended, in the order of the file.
  public var warnings: [ConfigurationWarning] = []
  /// The position of each key in the file.
  var keyPositions: [String: TextPosition] = [:]
  /// Every key outside of `rules` that the configuration was searched for.
  package var keysRead: Set<String> = []

  /// Reads a file, or standard input if the path is `-`. Throws all of its errors, in the order of the
  /// file.
  public static func load(
    path: String, environment: [String: String]
  ) throws(ConfigurationProblems) -> BridgeConfiguration {
    let isInput = path == "-"
    let name = isInput ? "standard input" : path
    let text: String
    do {
      text = isInput ? try SmallFile.readInput() : try SmallFile.read(path)
    } catch {
      throw ConfigurationProblems(problems: [
        ConfigurationProblem(
          file: name, line: error.line, column: error.column,
          message: "the configuration can't be read: \(error.reason)",
          remedy: error.remedy(missing: "Name the file with --config or TAILRACE_CONFIG."))
      ])
    }
    return try parse(yaml: text, file: name, environment: environment)
  }

  /// Reads a file again. Standard input can't be.
  public static func reload(
    path: String, environment: [String: String]
  ) throws(ConfigurationProblems) -> BridgeConfiguration {
    guard path != "-" else {
      throw ConfigurationProblems(problems: [
        ConfigurationProblem(
          file: "standard input", line: 1, column: 1,
          message: "a configuration that came by standard input can't be read again",
          remedy: "Start with a file, or restart.")
      ])
    }
    return try load(path: path, environment: environment)
  }

  /// Reads YAML. `file` is named in messages, and relative paths of secret files start beside it.
  public static func parse(
    yaml: String, file: String, environment: [String: String]
  ) throws(ConfigurationProblems) -> BridgeConfiguration {
    let problems = ProblemList(file: file)
    let reading = YAMLReading(yaml: yaml, environment: environment, problems: problems)
    guard let root = reading.root() else { throw problems.sorted }
    let section = Section(
      root, name: "", at: TextPosition(line: 1, column: 1), problems: problems)
    let configuration = read(section)
    guard problems.isEmpty, var configuration else { throw problems.sorted }
    configuration.warnings = problems.warnings
    configuration.keyPositions = keyPositions(root)
    configuration.keysRead = problems.keysRead
    return configuration
  }

  /// The dead-letter stream, if the configuration defines it.
  public var deadLetterStream: StreamSpec? { streams.first { $0.name == deadLetter.stream } }

  /// Whether the bridge is configured as the only publisher of a stream.
  public func isExclusive(_ stream: String) -> Bool {
    streams.contains { $0.name == stream && $0.ownership == .exclusive }
  }

  /// How messages name this bridge: dead letters always, and all messages in streams that other bridges
  /// may write to.
  public var bridgeMark: BridgeMark {
    BridgeMark(
      bridge: bridge.name,
      streams: streams.map { $0.ownership == .shared || $0.name == deadLetter.stream },
      qualifiesLetterIDs: deadLetterStream != nil)
  }

  /// Nil only if a problem was reported.
  private static func read(_ root: Section) -> BridgeConfiguration? {
    let source = SourceSettings.read(root.section("source"))
    let nats = NATSSettings.read(root.section("nats"))
    let bridge = BridgeSettings.read(root.section("bridge"))
    let cutover = CutoverSettings.read(root.section("cutover"))
    let hasOtherRoutes = root.node("kv") != nil || root.namesSignals
    var streams = StreamSpec.readAll(root, isRequired: !hasOtherRoutes)
    streams += StreamSpec.readBuckets(root, stateBucket: bridge.stateBucket)
    let redaction = root.section("redaction")
    let redactionKey = redaction.secret("key")
    if let redactionKey, redactionKey.value.utf8.count < 16 {
      root.problems.add(
        redactionKey.scalar.position, "redaction.key has fewer than 16 bytes",
        "use 32 random bytes or more, such as from: openssl rand -base64 32")
    }
    redaction.finish()
    let rules = RuleReading(
      streams: streams, hasOtherRoutes: hasOtherRoutes, hasRedactionKey: redactionKey != nil,
      problems: root.problems
    ).readAll(root)
    let unmatched: Unmatched = root.choice("unmatched", default: .ignore)
    let deadLetter = DeadLetterSettings.read(
      root.section("dead_letter"), streams: streams, rules: rules.map(\.rule))
    let http = HTTPSettings.read(root.section("http"))
    let log = LogSettings.read(root.section("log"))
    root.finish()
    for rule in rules where rule.rule.keyTTL != nil {
      if let index = rule.rule.streamIndex { streams[index].settings["allow_msg_ttl"] = true }
    }
    guard let source, let nats, let deadLetter, let http else { return nil }
    return BridgeConfiguration(
      file: root.problems.file, source: source, nats: nats, bridge: bridge,
      cutover: cutover,
      streams: streams, rules: rules.map(\.rule), schemas: rules.map(\.schema),
      unmatched: unmatched, redactionKey: redactionKey.map { $0.secret },
      deadLetter: deadLetter,
      http: http, log: log)
  }
}
