import Mapping

/// One error in a configuration: position, message, and remedy.
public struct ConfigurationProblem: Error, Sendable, Hashable, CustomStringConvertible {
  public var file: String
  /// From 1; 0 if the file itself is the problem.
  public var line: Int
  /// From 1, in Unicode scalars; 0 if the file itself is the problem.
  public var column: Int
  /// One clause without a closing full stop.
  public var message: String
  /// What to write or do; a sentence.
  public var remedy: String

  public init(file: String, line: Int, column: Int, message: String, remedy: String) {
    self.file = file
    self.line = line
    self.column = column
    self.message = message
    self.remedy = remedy
  }

  /// `file:line:column: message. remedy`
  public var description: String {
    line > 0 ? "\(file):\(line):\(column): \(message). \(remedy)" : "\(file): \(message). \(remedy)"
  }
}

/// All errors of a configuration, in the order of the file.
public struct ConfigurationProblems: Error, Sendable, Equatable, CustomStringConvertible {
  public var problems: [ConfigurationProblem]
  /// Warnings: what is legal and probably unintended.
  public var warnings: [ConfigurationWarning] = []

  public init(problems: [ConfigurationProblem], warnings: [ConfigurationWarning] = []) {
    self.problems = problems
    self.warnings = warnings
  }

  /// One problem per line.
  public var description: String { problems.map(\.description).joined(separator: "\n") }
}

/// A place in the configuration's text.
struct TextPosition: Equatable, Comparable {
  var line: Int
  var column: Int

  static func < (a: Self, b: Self) -> Bool { (a.line, a.column) < (b.line, b.column) }
}

/// Gathers problems while a configuration is read, so that one run shows them all.
final class ProblemList {
  let file: String
  private var problems: [ConfigurationProblem] = []
  private var known: Set<ConfigurationProblem> = []
  private var found: [ConfigurationWarning] = []
  private var knownWarnings: Set<ConfigurationWarning> = []

  /// Keys that were searched, present or not.
  private(set) var keysRead: Set<String> = []

  init(file: String) { self.file = file }

  func noteRead(_ key: String) { if !key.hasPrefix("rules[") { keysRead.insert(key) } }

  func add(_ at: TextPosition, _ message: String, _ remedy: String) {
    let problem = ConfigurationProblem(
      file: file, line: at.line, column: at.column, message: TerminalText.printable(message),
      remedy: TerminalText.printable(sentence(remedy)))
    // An alias (`*name`) brings the same text to several places.
    if known.insert(problem).inserted { problems.append(problem) }
  }

  func add(_ error: RuleSyntaxError, in scalar: ConfigScalar) {
    add(scalar.position(at: error.offset), error.message, error.remedy)
  }

  func warn(
    _ id: ConfigurationWarning.ID, _ at: TextPosition, _ message: String, _ remedy: String
  ) {
    let warning = ConfigurationWarning(
      id: id, file: file, line: at.line, column: at.column,
      message: TerminalText.printable(message),
      remedy: TerminalText.printable(sentence(remedy)))
    if knownWarnings.insert(warning).inserted { found.append(warning) }
  }

  var isEmpty: Bool { problems.isEmpty }

  /// In the order of the file.
  var warnings: [ConfigurationWarning] {
    inOrder(found) { TextPosition(line: $0.line, column: $0.column) }
  }

  var sorted: ConfigurationProblems {
    ConfigurationProblems(
      problems: inOrder(problems) { TextPosition(line: $0.line, column: $0.column) },
      warnings: warnings)
  }

  /// By position; those with the same position keep their order.
  private func inOrder<Item>(_ items: [Item], _ place: (Item) -> TextPosition) -> [Item] {
    items.enumerated().sorted { a, b in
      (place(a.element), a.offset) < (place(b.element), b.offset)
    }.map(\.element)
  }

  private func sentence(_ text: String) -> String {
    let closed = text.hasSuffix("?") || text.hasSuffix(".")
    return text.prefix(1).uppercased() + text.dropFirst() + (closed ? "" : ".")
  }
}
