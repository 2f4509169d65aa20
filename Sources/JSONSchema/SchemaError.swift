/// Why a schema can't be compiled: the document, the location in it, and a sentence with the error and the
/// remedy.
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
