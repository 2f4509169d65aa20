import JSON

/// A compiled schema: immutable, so it can be shared by all threads. Each thread validates with its own
/// `SchemaValidator`.
public final class CompiledSchema: Sendable {
  /// The schema's URI: its `$id`, or the URI it was retrieved by.
  public let uri: String
  public let options: SchemaOptions
  package let model: SchemaModel
  let program: Program

  /// - Parameters:
  ///   - schema: the schema itself.
  ///   - uri: the URI it was retrieved by. A fragment selects a schema within the document.
  ///   - set: the documents it may refer to.
  /// - Throws: the first error in it, with its location.
  public init(
    _ schema: JSONValue, uri: String = "", options: SchemaOptions = SchemaOptions(),
    set: SchemaSet = SchemaSet()
  ) throws(SchemaError) {
    let model = try SchemaReader.model(schema, uri: uri, set: set, options: options)
    self.model = model
    self.options = options
    self.uri = model.resources[model.schemas[model.root].resource].uri
    self.program = Lowering.program(model)
  }

  /// From the schema's text.
  public convenience init(
    text: String, uri: String = "", options: SchemaOptions = SchemaOptions(),
    set: SchemaSet = SchemaSet()
  ) throws(SchemaError) {
    let value: JSONValue
    do throws(JSONError) {
      value = try JSONValue(parsing: text)
    } catch {
      throw SchemaError(document: uri, pointer: "", message: "\(error)")
    }
    try self.init(value, uri: uri, options: options, set: set)
  }

  /// From one of the set's documents, or one that its resolver knows.
  public convenience init(
    reference uri: String, options: SchemaOptions = SchemaOptions(), set: SchemaSet
  ) throws(SchemaError) {
    try self.init(.object([.init("$ref", .string(uri))]), uri: "", options: options, set: set)
  }

  /// Validates a JSON value. Slow: for tools and tests.
  public func explain(_ value: JSONValue) -> SchemaReport { Explainer.report(model, value) }
}
