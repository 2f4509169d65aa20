import JSON
package import JSONSchema
import Mapping

extension UnknownKeyword {
  /// What was probably meant; nil for an apparent custom annotation.
  package var meant: (what: String, remedy: String)? {
    if keyword == "format" { return meantFormat }
    let ignored = "the keyword \(keyword) is unknown, so it says nothing"
    if isOfAnotherDraft {
      return (
        "the keyword \(keyword) says nothing in \(draft.rawValue)",
        Self.replacements[keyword] ?? "name the draft that has it with $schema"
      )
    }
    if let remedy = Self.others[keyword] { return (ignored, remedy) }
    guard !Self.harmless.contains(keyword), !keyword.hasPrefix("x-") else { return nil }
    return likely.map { (ignored, "did you mean \($0)?") }
  }

  /// A misspelt format, or one of another draft. Custom formats are common.
  private var meantFormat: (what: String, remedy: String)? {
    guard let name = value.stringValue else { return nil }
    if isOfAnotherDraft {
      return (
        "the format \(name) says nothing in \(draft.rawValue)",
        "name the draft that has it with $schema"
      )
    }
    guard !Self.ownFormats.contains(name) else { return nil }
    let known = UnknownKeyword.formats(in: draft)
    let stem = Self.stem(name)
    let meant =
      known.first { Self.stem($0) == stem && $0.last?.isNumber != true }
      ?? Self.otherFormats[stem].flatMap { known.contains($0) ? $0 : nil }
      ?? nearest(to: name, among: known, most: 2)
    return meant.map {
      ("the format \(name) is unknown, so it says nothing", "did you mean \($0)?")
    }
  }

  /// Other words for formats, by their stems.
  private static let otherFormats = [
    "url": "uri", "guid": "uuid", "mail": "email", "emailaddress": "email",
    "timestamp": "date-time",
    "isodate": "date-time", "isodatetime": "date-time", "ip": "ipv4", "ipaddress": "ipv4",
    "host": "hostname", "domain": "hostname", "domainname": "hostname", "regexp": "regex",
    "regularexpression": "regex", "internetaddress": "ipv4",
  ]
  /// Formats of OpenAPI, and others that resemble a format but differ from it.
  private static let ownFormats: Set = [
    "int32", "int64", "float", "double", "byte", "binary", "password", "ulid", "cuid", "uid", "urn",
    "mime", "data", "rate", "unknown",
  ]

  /// A misspelt or abbreviated keyword.
  private var likely: String? {
    // One typo is a typo, for any value; but the shortest words resemble many others.
    let known = UnknownKeyword.known(in: draft)
    let words = known.filter { $0.count > 3 || fits($0) }
    if let near = nearest(to: keyword, among: words, most: 1) { return near }
    // For more than one, the value must have a type that the keyword accepts.
    let fitting = known.filter(fits)
    let plain = Self.stem(keyword)
    guard plain.count > 2 else { return nil }
    if let same = fitting.first(where: { Self.stem($0) == plain }) { return same }
    if let meant = Self.synonyms[plain], known.contains(meant), fits(meant) { return meant }
    if let near = nearest(to: keyword, among: fitting.filter { $0.count > 4 }, most: 2) {
      return near
    }
    // `maxLen`: into the keyword's second word at least.
    return fitting.first { word in
      let first = word.prefix { !$0.isUppercase }
      return first.count < word.count && plain.count > first.count
        && Self.stem(word).hasPrefix(plain)
    }
  }

  /// In small letters, without `$`, `_` and `-`, in the singular.
  private static func stem(_ word: String) -> String {
    let letters = word.lowercased().filter(\.isLetter)
    if letters.hasSuffix("ies") { return letters.dropLast(3) + "y" }
    return letters.hasSuffix("s") ? String(letters.dropLast()) : letters
  }

  /// Other words for keywords, by their stems.
  private static let synonyms = [
    "min": "minimum", "max": "maximum", "minimumlength": "minLength", "maximumlength": "maxLength",
    "minlength": "minLength", "maxlength": "maxLength", "minimumitem": "minItems",
    "maximumitem": "maxItems", "minimumproperty": "minProperties",
    "maximumproperty": "maxProperties", "prop": "properties", "field": "properties",
    "additionalfield": "additionalProperties", "additionalprop": "additionalProperties",
    "extraproperty": "additionalProperties", "patternprop": "patternProperties",
    "regex": "pattern", "regexp": "pattern", "enumeration": "enum", "enumvalue": "enum",
    "allowedvalue": "enum", "constant": "const", "any": "anyOf", "all": "allOf", "one": "oneOf",
    "requiredproperty": "required", "requiredfield": "required", "mandatory": "required",
    "reference": "$ref", "definition": "$defs",
  ]

  /// The value has a type that the keyword accepts.
  private func fits(_ keyword: String) -> Bool {
    func isSchema(_ value: JSONValue) -> Bool {
      value.objectValue != nil || value.boolValue != nil
    }
    switch keyword {
    case "properties", "patternProperties", "$defs", "definitions", "dependentSchemas",
      "dependentRequired", "dependencies", "$vocabulary":
      return value.objectValue != nil
    case "items", "additionalItems", "additionalProperties", "propertyNames", "contains", "not",
      "if", "then", "else", "unevaluatedItems", "unevaluatedProperties", "contentSchema":
      return isSchema(value)
        || keyword == "items" && value.arrayValue.map { $0.allSatisfy(isSchema) } == true
    case "allOf", "anyOf", "oneOf", "prefixItems":
      return value.arrayValue.map { !$0.isEmpty && $0.allSatisfy(isSchema) } ?? false
    case "required":
      return value.arrayValue.map { $0.allSatisfy { $0.stringValue != nil } } ?? false
    case "enum", "examples": return value.arrayValue != nil
    case "type":
      return value.stringValue != nil
        || value.arrayValue.map { $0.allSatisfy { $0.stringValue != nil } } == true
    case "multipleOf", "maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum", "maxLength",
      "minLength", "maxItems", "minItems", "maxProperties", "minProperties", "maxContains",
      "minContains":
      if case .number = value { return true } else { return false }
    case "uniqueItems", "readOnly", "writeOnly", "deprecated", "$recursiveAnchor":
      return value.boolValue != nil
    case "const", "default": return true
    default: return value.stringValue != nil
    }
  }

  /// Keywords of other languages, and of unsupported drafts.
  private static let others = [
    "bsonType": "did you mean type? JSON Schema knows no BSON types",
    "nullable": "write type: [\"string\", \"null\"] or the like",
    "id": "did you mean $id?",
    "divisibleBy": "did you mean multipleOf?",
  ]
  private static let replacements = [
    "additionalItems": "write prefixItems for the first items, and items for the rest",
    "$recursiveRef": "write $dynamicRef", "$recursiveAnchor": "write $dynamicAnchor",
  ]
  /// Common annotations, including OpenAPI's. Words that resemble them are annotations as well.
  private static let harmless: Set = [
    "comment", "example", "discriminator", "externalDocs", "xml", "note", "notes", "tag", "tags",
  ]
}
