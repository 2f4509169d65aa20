/// Why a schema can't be compiled: which document, where in it, and a sentence that says what is
/// wrong and what would be right.
public struct SchemaError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The document's URI; empty for a schema without one.
  public var document: String
  /// A JSON pointer into the document; empty for the document itself.
  public var pointer: String
  public var message: String

  public init(document: String, pointer: String, message: String) {
    self.document = document
    self.pointer = pointer
    self.message = message
  }

  public var description: String {
    let place = pointer.isEmpty ? "the schema" : pointer
    return document.isEmpty
      ? "at \(place): \(message)" : "\(document), at \(place): \(message)"
  }
}
