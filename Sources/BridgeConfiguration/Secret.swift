/// A text that must stay secret: printing, logging and reflection show `***`.
///
/// A secret from a file is read again for each use, so that it can be changed without a restart. Two secrets
/// are equal if their texts were equal when they were first read.
public struct Secret: Sendable, Equatable {
  private let text: String
  /// Where it is read again; nil for one in the configuration itself.
  public let file: String?

  public init(_ text: String, file: String? = nil) {
    self.text = text
    self.file = file
  }

  /// The text as it was when the configuration was read; for the one call that needs it, never for
  /// a message or a log.
  public func reveal() -> String { text }

  /// The current text: that of the file, if it came from one.
  ///
  /// - Throws: if the file is missing, empty or unreadable, as it may be while it is replaced.
  public func current() throws(SecretFileError) -> String {
    guard let file else { return text }
    return try SecretFile.read(file)
  }

  public static func == (a: Secret, b: Secret) -> Bool { a.text == b.text }
}

extension Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  public var description: String { "***" }
  public var debugDescription: String { "***" }
  public var customMirror: Mirror { Mirror(self, children: [:]) }
}
