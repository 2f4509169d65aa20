import BSON
public import JSONSchema
import Mapping

/// The contract that a rule's bodies must keep.
public struct RuleSchema: Sendable {
  /// As the configuration names it.
  public var path: String
  /// Judges bodies in the rule's own style, on the BSON they are made from.
  public var compiled: CompiledSchema
  /// The same for bodies as JSON, where they differ from the BSON of their events.
  public var plain: CompiledSchema
  /// Its `$id`, where that is a URI: `ce-dataschema`.
  public var identifier: String?
  /// Of the schema and everything it may refer to: changes when any of it does.
  public var digest: String
  /// Keywords in it that say nothing.
  var unknownKeywords: [(document: String, keyword: UnknownKeyword)]

  /// Reads and compiles a file; what it refers to must lie in its folder.
  init(
    path: String, besideFile file: String, style: JSONStyle
  ) throws(SchemaError) {
    self.path = path
    let file = try SchemaFile(SmallFile.resolve(path, besideFile: file), called: path)
    compiled = try file.compile(SchemaOptions(style: style))
    plain = style == .simplified ? compiled : try file.compile(SchemaOptions(style: .simplified))
    identifier = file.id.flatMap { $0.contains(":") ? $0 : nil }
    digest = file.digest
    unknownKeywords = file.unknownKeywords
  }
}
