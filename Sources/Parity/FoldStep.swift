public import JSON

/// The effect of a message, or of a change without one, on the folded documents.
public enum FoldStep: Sendable {
  public enum Operation: String, Sendable {
    case insert, replace, update, delete
    /// A document in a snapshot.
    case snapshot
  }

  /// How the published form differs from the document.
  public struct Shape: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Arrays may lack elements, so indexes are meaningless.
    public static let shortensArrays = Shape(rawValue: 1)
    /// So may those in fields whose names are numbers, which a filter's paths pass over.
    public static let shortensNumbered = Shape(rawValue: 8)
    /// Values are published as hashes, and updates may change parts of them.
    public static let hashes = Shape(rawValue: 2)
    /// Values are hashed or masked.
    public static let redacts = Shape(rawValue: 4)
  }

  /// `event`: the change in the message.
  case document(DocumentKey, Operation, event: JSONValue, Shape)
  /// A collection was dropped or created: it is empty.
  case emptied(namespace: String)
  case databaseDropped(String)
  /// A collection was renamed, replacing any with the new name. `from` is nil if its documents aren't known
  /// in the new name's form.
  case renamed(from: String?, to: String)
}
