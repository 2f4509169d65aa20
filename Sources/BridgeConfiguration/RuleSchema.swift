import BSON
public import JSON
public import JSONSchema
import Mapping

/// The schema that a rule's bodies must satisfy.
public struct RuleSchema: Sendable {
  /// Its path in the configuration.
  public var path: String
  /// Validates bodies in the rule's own style, by the BSON they are made from.
  public var compiled: CompiledSchema
  /// The same for bodies as JSON, if they differ from their events' BSON.
  public var plain: CompiledSchema
  /// The published version that it is, if the rule names one.
  public let version: SchemaVersion?
  /// `ce-dataschema`: the version's URI, else its `$id`, if that is a URI.
  public let identifier: String?
  /// A hash of the schema and everything it may refer to.
  public var digest: String
  /// The schema by itself, with everything that it refers to.
  public var bundled: JSONValue
  /// The files that it consists of: its own first.
  public var sources: [SchemaSource]
  /// Keywords in it without effect.
  var unknownKeywords: [(document: String, keyword: UnknownKeyword)]

  /// Reads and compiles a file; what it refers to must lie in its folder.
  init(
    path: String, version: SchemaVersion?, besideFile file: String, style: JSONStyle
  ) throws(SchemaError) {
    self.path = path
    let file = try SchemaFile(SmallFile.resolve(path, besideFile: file), called: path)
    compiled = try file.compile(SchemaOptions(style: style))
    plain = style == .simplified ? compiled : try file.compile(SchemaOptions(style: .simplified))
    self.version = version
    identifier = version?.uri ?? file.id.flatMap { $0.contains(":") ? $0 : nil }
    digest = file.digest
    bundled = file.bundled
    sources = file.sources
    unknownKeywords = file.unknownKeywords
  }
}
