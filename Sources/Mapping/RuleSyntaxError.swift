/// An error in a text of a rule (a template, a path, a namespace), its position, and the remedy. Found when the
/// configuration is read, never while events flow.
public struct RuleSyntaxError: Error, Equatable, Sendable, CustomStringConvertible {
  /// One clause without a closing full stop.
  public var message: String
  /// What to write instead; one clause without a closing full stop.
  public var remedy: String
  /// Unicode scalars from the start of the text.
  public var offset: Int

  public init(_ message: String, remedy: String, at offset: Int) {
    self.message = message
    self.remedy = remedy
    self.offset = offset
  }

  public var description: String { "at character \(offset + 1): \(message). \(remedy)" }
}
