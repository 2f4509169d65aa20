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

  /// Where the keyword is that a violation names: its document, by the URI that it was requested by, and a JSON pointer
  /// in that.
  package func source(of violation: SchemaViolation) -> (document: String, pointer: String)? {
    let place = URIReference(violation.absoluteKeywordLocation)
    // In a URI, pointers are percent-encoded.
    guard let pointer = place.decodedFragment,
      let resource = model.resources.first(where: { $0.uri.isSame(as: place.resource) })
    else { return nil }
    return (resource.document, resource.pointer + pointer)
  }

  /// How many references lead to the same schema: that at a place or one that it is in, whichever has the most.
  package func references(to document: String, _ pointer: String) -> Int {
    var targets: [SchemaID: Int] = [:]
    for schema in model.schemas {
      guard case .keywords(let keywords) = schema.content else { continue }
      for case (_, .reference(let target)) in keywords { targets[target, default: 0] += 1 }
    }
    return targets.reduce(0) { most, target in
      let schema = model.schemas[target.key]
      let resource = model.resources[schema.resource]
      let start = resource.pointer + schema.pointer
      let isAround = pointer == start || pointer.hasPrefix(start + "/")
      return resource.document == document && isAround ? max(most, target.value) : most
    }
  }

  /// Validates a JSON value by one of its schemas, by the URI of its resource and the pointer from there on. Nil if there is
  /// no such schema.
  package func explain(_ value: JSONValue, by place: String) -> SchemaReport? {
    let place = URIReference(place)
    guard let pointer = place.decodedFragment,
      let schema = model.schemas.firstIndex(where: {
        $0.pointer.isSame(as: pointer)
          && model.resources[$0.resource].uri.isSame(as: place.resource)
      })
    else { return nil }
    var inner = model
    inner.root = schema
    return Explainer.report(inner, value)
  }

  /// Validates a JSON value. Slow: for tools and tests.
  public func explain(_ value: JSONValue) -> SchemaReport { Explainer.report(model, value) }
}
