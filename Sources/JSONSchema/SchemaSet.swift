import JSON

/// Schema documents that other schemas may refer to, by URI. Nothing is ever fetched: what isn't
/// here, isn't one of the built-in metaschemas and isn't known to `resolver` doesn't exist.
public struct SchemaSet: Sendable {
  /// By URI without fragment.
  private(set) var documents: [String: JSONValue] = [:]
  /// Asked for a URI (without fragment) that is not in the set: for a folder of schemas, say.
  public var resolver: (@Sendable (_ uri: String) -> JSONValue?)?

  public init(resolver: (@Sendable (_ uri: String) -> JSONValue?)? = nil) {
    self.resolver = resolver
  }

  /// Adds a document under the URI it can be retrieved by. Its `$id`, and those of schemas within
  /// it, are found too.
  public mutating func add(_ document: JSONValue, uri: String) {
    documents[URIReference(uri).resource] = document
  }

  /// - Throws: if the text isn't JSON.
  public mutating func add(text: String, uri: String) throws(SchemaError) {
    do throws(JSONError) {
      add(try JSONValue(parsing: text), uri: uri)
    } catch {
      throw SchemaError(document: uri, pointer: "", message: "\(error)")
    }
  }
}
