import BSON

/// How schemas are read and what the values they judge are written as.
public struct SchemaOptions: Sendable {
  /// The JSON that values are written as; what is judged is that JSON.
  public var style: JSONStyle
  /// Whether `format` is validated, or only noted. A metaschema that has the vocabulary
  /// for it demands it in any case.
  public var assertFormats: Bool
  /// Whether draft-07's `contentEncoding` and `contentMediaType` are validated, as that
  /// draft allows. In later drafts they never are.
  public var assertContent: Bool
  /// The draft of schemas that don't say.
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
