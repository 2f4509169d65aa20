/// A text that must not be seen: printing, logging and reflecting show `***`.
public struct Secret: Sendable, Equatable {
  private let text: String

  public init(_ text: String) { self.text = text }

  /// The text itself; for the one call that needs it, never for a message or a log.
  public func reveal() -> String { text }
}

extension Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  public var description: String { "***" }
  public var debugDescription: String { "***" }
  public var customMirror: Mirror { Mirror(self, children: [:]) }
}
