/// The supported drafts of JSON Schema.
public enum SchemaDraft: String, Sendable, CaseIterable {
  case draft7 = "http://json-schema.org/draft-07/schema"
  case draft2019 = "https://json-schema.org/draft/2019-09/schema"
  case draft2020 = "https://json-schema.org/draft/2020-12/schema"

  /// By the URI in `$schema`, which may end in an empty fragment. People write either scheme.
  package init?(metaschema uri: String) {
    let name = uri.hasSuffix("#") ? String(uri.dropLast()) : uri
    guard let draft = Self.allCases.first(where: { Self.isSame($0.rawValue, name) }) else {
      return nil
    }
    self = draft
  }

  /// Whether two URIs are the same, or differ by `http` and `https` alone.
  static func isSame(_ uri: String, _ other: String) -> Bool {
    withoutScheme(uri) == withoutScheme(other)
  }

  private static func withoutScheme(_ uri: String) -> Substring {
    for scheme in ["https://", "http://"] where uri.hasPrefix(scheme) {
      return uri.dropFirst(scheme.count)
    }
    return uri[...]
  }
}

/// The groups of keywords that a metaschema switches on.
struct Vocabularies: OptionSet, Sendable {
  let rawValue: UInt16

  static let applicator = Vocabularies(rawValue: 1 << 0)
  static let unevaluated = Vocabularies(rawValue: 1 << 1)
  static let validation = Vocabularies(rawValue: 1 << 2)
  static let metadata = Vocabularies(rawValue: 1 << 3)
  static let format = Vocabularies(rawValue: 1 << 4)
  static let formatAssertion = Vocabularies(rawValue: 1 << 5)
  static let content = Vocabularies(rawValue: 1 << 6)
  /// Always on.
  static let core = Vocabularies(rawValue: 1 << 7)

  static let standard: Vocabularies = [
    .core, .applicator, .unevaluated, .validation, .metadata, .format, .content,
  ]

  /// The vocabulary with a URI, and the ones that it implies in that draft.
  init?(uri: String) {
    switch uri {
    case "https://json-schema.org/draft/2020-12/vocab/core",
      "https://json-schema.org/draft/2019-09/vocab/core":
      self = .core
    case "https://json-schema.org/draft/2020-12/vocab/applicator": self = .applicator
    case "https://json-schema.org/draft/2019-09/vocab/applicator":
      self = [.applicator, .unevaluated]
    case "https://json-schema.org/draft/2020-12/vocab/unevaluated": self = .unevaluated
    case "https://json-schema.org/draft/2020-12/vocab/validation",
      "https://json-schema.org/draft/2019-09/vocab/validation":
      self = .validation
    case "https://json-schema.org/draft/2020-12/vocab/meta-data",
      "https://json-schema.org/draft/2019-09/vocab/meta-data":
      self = .metadata
    case "https://json-schema.org/draft/2020-12/vocab/format-annotation",
      "https://json-schema.org/draft/2019-09/vocab/format":
      self = .format
    case "https://json-schema.org/draft/2020-12/vocab/format-assertion":
      self = [.format, .formatAssertion]
    case "https://json-schema.org/draft/2020-12/vocab/content",
      "https://json-schema.org/draft/2019-09/vocab/content":
      self = .content
    default: return nil
    }
  }

  init(rawValue: UInt16) { self.rawValue = rawValue }
}

/// The subschemas of a keyword.
enum Subschemas {
  case none, one, list, map
  /// One schema or a list of them: `items` before 2020-12.
  case oneOrList
  /// Schemas or lists of names, by name: `dependencies`.
  case dependencies

  /// - Parameter draft: an unknown keyword's value is never a schema.
  init(of keyword: String, in draft: SchemaDraft) {
    switch keyword {
    case "additionalProperties", "propertyNames", "contains", "not", "if", "then", "else":
      self = .one
    case "allOf", "anyOf", "oneOf": self = .list
    case "properties", "patternProperties", "definitions": self = .map
    case "dependencies": self = .dependencies
    case "items": self = draft == .draft2020 ? .one : .oneOrList
    case "additionalItems": self = draft == .draft2020 ? .none : .one
    case "prefixItems": self = draft == .draft2020 ? .list : .none
    case "unevaluatedItems", "unevaluatedProperties", "contentSchema":
      self = draft == .draft7 ? .none : .one
    case "$defs", "dependentSchemas": self = draft == .draft7 ? .none : .map
    default: self = .none
    }
  }
}
