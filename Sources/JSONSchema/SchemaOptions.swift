import BSON

/// How schemas are read, and in which JSON style values are validated.
public struct SchemaOptions: Sendable {
  /// The style in which values are written as JSON, which is what is validated.
  public var style: JSONStyle
  /// Whether `format` is an assertion, or only an annotation. A metaschema with the format-assertion
  /// vocabulary makes it an assertion in any case.
  public var assertFormats: Bool
  /// Whether draft-07's `contentEncoding` and `contentMediaType` are validated, as that
  /// draft allows. In later drafts they never are.
  public var assertContent: Bool
  /// The draft of schemas without `$schema`.
  public var defaultDraft: SchemaDraft

  public init(
    style: JSONStyle = .simplified, assertFormats: Bool = true, assertContent: Bool = false,
    defaultDraft: SchemaDraft = .draft2020
  ) {
    self.style = style
    self.assertFormats = assertFormats
    self.assertContent = assertContent
    self.defaultDraft = defaultDraft
  }
}
