public import JSON

/// What one message, or a change that no message tells of, does to the documents that are folded.
public enum FoldStep: Sendable {
  public enum Operation: String, Sendable {
    case insert, replace, update, delete
    /// A document as a snapshot found it.
    case snapshot
  }

  /// What is not shown as it is.
  public struct Shape: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Arrays may lack elements, so that indexes say nothing.
    public static let shortensArrays = Shape(rawValue: 1)
    /// Hashes stand for values, of which updates may change a part.
    public static let hashes = Shape(rawValue: 2)
    /// Values are hashed or masked.
    public static let redacts = Shape(rawValue: 4)
  }

  /// `event`: the change as the message shows it.
  case document(DocumentKey, Operation, event: JSONValue, Shape)
  /// A collection is gone, or there is a new one of that name. Nothing was in it then.
  case emptied(namespace: String)
  case databaseDropped(String)
  /// A collection has taken another one's name and place. `from`: nil where its documents are not known
  /// in the new one's shape.
  case renamed(from: String?, to: String)
}
