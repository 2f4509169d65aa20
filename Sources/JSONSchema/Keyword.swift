import JSON
import Patterns

/// JSON's types for schemas, with integers as a type of their own.
package struct JSONTypes: OptionSet, Sendable, Equatable {
  package let rawValue: UInt8
  package static let null = JSONTypes(rawValue: 1 << 0)
  package static let boolean = JSONTypes(rawValue: 1 << 1)
  package static let integer = JSONTypes(rawValue: 1 << 2)
  /// A number that isn't an integer.
  package static let fraction = JSONTypes(rawValue: 1 << 3)
  package static let string = JSONTypes(rawValue: 1 << 4)
  package static let array = JSONTypes(rawValue: 1 << 5)
  package static let object = JSONTypes(rawValue: 1 << 6)
  package static let number: JSONTypes = [.integer, .fraction]
  package static let all = JSONTypes(rawValue: 0x7F)

  package init(rawValue: UInt8) { self.rawValue = rawValue }

  package init?(name: String) {
    switch name {
    case "null": self = .null
    case "boolean": self = .boolean
    case "integer": self = .integer
    case "number": self = .number
    case "string": self = .string
    case "array": self = .array
    case "object": self = .object
    default: return nil
    }
  }

  /// `string`, `null or integer`, …
  package var description: String {
    var names: [String] = []
    if contains(.null) { names.append("null") }
    if contains(.boolean) { names.append("boolean") }
    if contains(.number) {
      names.append("number")
    } else if contains(.integer) {
      names.append("integer")
    }
    if contains(.string) { names.append("string") }
    if contains(.array) { names.append("array") }
    if contains(.object) { names.append("object") }
    return names.joined(separator: " or ")
  }
}

/// An index into `SchemaModel.schemas`.
package typealias SchemaID = Int

/// One parsed keyword of a schema. Subschemas are indices.
package enum Keyword: Sendable {
  case type(JSONTypes)
  case const(JSONValue)
  case enumeration([JSONValue])

  case multipleOf(ExactDecimal, DecimalDivisor)
  case bound(Bound, ExactDecimal)

  case minLength(Int)
  case maxLength(Int)
  case pattern(Pattern)
  case format(StringFormat?, name: String, asserts: Bool)
  case content(ContentCheck, JSONValue)

  case minItems(Int)
  case maxItems(Int)
  case uniqueItems
  case prefixItems([SchemaID])
  /// The schema of the items from an index on.
  case items(SchemaID, from: Int)
  /// `evaluates`: whether what it matches counts as evaluated, as from 2020-12 on.
  case contains(SchemaID, least: Int, most: Int?, evaluates: Bool)
  case unevaluatedItems(SchemaID)

  case minProperties(Int)
  case maxProperties(Int)
  case required([String])
  case properties([(name: String, schema: SchemaID)])
  case patternProperties([(pattern: Pattern, schema: SchemaID)])
  /// With the adjacent names and patterns, which it doesn't apply to.
  case additionalProperties(SchemaID, names: [String], patterns: [Pattern])
  case propertyNames(SchemaID)
  case dependentRequired([(name: String, required: [String])])
  case dependentSchemas([(name: String, schema: SchemaID)])
  case unevaluatedProperties(SchemaID)

  case allOf([SchemaID])
  case anyOf([SchemaID])
  case oneOf([SchemaID])
  case not(SchemaID)
  case condition(SchemaID, then: SchemaID?, otherwise: SchemaID?)
  case reference(SchemaID)
  /// The initial target, and the anchor that is looked for in the dynamic scope.
  case dynamicReference(SchemaID, anchor: String)

  /// Has no effect on validity.
  case annotation(JSONValue)

  package enum Bound: Sendable { case minimum, maximum, exclusiveMinimum, exclusiveMaximum }
}

/// The optional assertions of draft-07's `contentEncoding` and `contentMediaType`.
package enum ContentCheck: Sendable {
  case none, base64, json, base64JSON
}

/// A parsed schema: keywords in the order of their evaluation.
package struct SchemaNode: Sendable {
  package enum Content: Sendable {
    case always
    case never
    case keywords([(name: String, keyword: Keyword)])
  }
  /// Index of its resource in `SchemaModel.resources`.
  package var resource: Int
  /// JSON pointer from the start of its resource.
  package var pointer: String
  package var content: Content = .always
}

/// A schema's complete model: the input of the compiler, and of explanations.
package struct SchemaModel: Sendable {
  package struct Resource: Sendable {
    package var uri: String
    /// The document that it is in, by the URI that it was requested by, and where it starts there.
    package var document: String
    package var pointer: String
    /// Where a dynamic reference to an anchor leads when this resource is the outermost that has
    /// it.
    package var dynamicAnchors: [String: SchemaID] = [:]
  }
  package var schemas: [SchemaNode]
  package var resources: [Resource]
  package var root: SchemaID
  package var usesDynamicScope: Bool

  /// 2019-09's recursive anchor has no name; this one can't be written in a schema.
  package static let recursiveAnchor = "\u{0}"
}
