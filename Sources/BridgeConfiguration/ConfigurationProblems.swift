import Mapping

/// One thing wrong in a configuration: where, what, and what would be right.
public struct ConfigurationProblem: Error, Sendable, Equatable, CustomStringConvertible {
  public var file: String
  /// From 1; 0 where the file itself is the trouble.
  public var line: Int
  /// From 1, in Unicode scalars; 0 where the file itself is the trouble.
  public var column: Int
  /// One clause without a closing full stop.
  public var message: String
  /// What to write or do; a sentence.
  public var remedy: String

  /// `file:line:column: message. remedy`
  public var description: String {
    line > 0 ? "\(file):\(line):\(column): \(message). \(remedy)" : "\(file): \(message). \(remedy)"
  }
}

/// Everything wrong with a configuration, in the order of the file.
public struct ConfigurationProblems: Error, Sendable, Equatable, CustomStringConvertible {
  public var problems: [ConfigurationProblem]

  /// One problem a line.
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

  init(file: String) { self.file = file }

  func add(_ at: TextPosition, _ message: String, _ remedy: String) {
    let problem = ConfigurationProblem(
      file: file, line: at.line, column: at.column, message: message, remedy: sentence(remedy))
    // An alias (`*name`) brings the same text to several places.
    if !problems.contains(problem) { problems.append(problem) }
  }

  func add(_ error: RuleSyntaxError, in scalar: ConfigScalar) {
    add(scalar.position(at: error.offset), error.message, error.remedy)
  }

  var isEmpty: Bool { problems.isEmpty }

  var sorted: ConfigurationProblems {
    ConfigurationProblems(
      problems: problems.enumerated().sorted { a, b in
        (a.element.line, a.element.column, a.offset) < (b.element.line, b.element.column, b.offset)
      }.map(\.element))
  }

  private func sentence(_ text: String) -> String {
    let closed = text.hasSuffix("?") || text.hasSuffix(".")
    return text.prefix(1).uppercased() + text.dropFirst() + (closed ? "" : ".")
  }
}
