import JSON
import JSONSchema
import Patterns

/// What a rule asks, as a sentence.
enum RuleSentence {
  /// - Parameter branch: an alternative that only the other version has.
  static func message(
    _ part: SchemaPart, _ side: Side, _ branch: SchemaKey?, _ solver: Solver
  ) -> String {
    let classes = solver.builder.classes
    let key = part.schema
    let rule = rule(part, keyword(part.keyword, classes.node(key)))
    let other: Side = side == .new ? .old : .new
    if let branch {
      return
        "\(name(side)) asks: \(rule); \(name(other)) has another one, \(solver.pointer(branch))"
    }
    let counterpart =
      part.keyword.isEmpty
      ? nil : classes.counterpart(of: key, on: other).flatMap { classes.node($0) }
    guard let present = keyword(part.keyword, counterpart), let brief = brief(present),
      brief != rule
    else {
      return "\(name(side)) asks: \(rule)"
    }
    return "\(name(side)) asks: \(rule); \(name(other)) has \(brief)"
  }

  private static func name(_ side: Side) -> String { side == .old ? "OLD" : "NEW" }

  private static func keyword(_ name: String, _ node: SchemaNode?) -> Keyword? {
    guard case .keywords(let keywords)? = node?.content else { return nil }
    let base = name.split(separator: "/").first.map(String.init) ?? name
    if let exact = keywords.first(where: { $0.name == base }) { return exact.keyword }
    let isCount = base == "minContains" || base == "maxContains"
    return isCount ? keywords.first { $0.name == "contains" }?.keyword : nil
  }

  private static func rule(_ part: SchemaPart, _ keyword: Keyword?) -> String {
    switch keyword {
    case .required?: return "\(quoted(part.detail ?? "")) is required"
    case .dependentRequired?:
      return
        "\(quoted(part.detail ?? "")) is required beside \(part.keyword.split(separator: "/").last ?? "")"
    case .contains(_, let least, let most, _)?:
      return part.keyword == "maxContains"
        ? "at most \(most ?? 0) items of a kind" : "at least \(least) items of a kind"
    case let keyword?: return brief(keyword) ?? part.keyword
    case nil: return part.keyword.isEmpty ? "nothing is allowed here" : part.keyword
    }
  }

  private static func quoted(_ text: String) -> String { JSONValue.string(text).text() }

  /// A keyword with its value, if that is short.
  private static func brief(_ keyword: Keyword) -> String? {
    switch keyword {
    case .type(let types): return "type \(types.description)"
    case .const(let value): return "const \(short(value))"
    case .enumeration(let values): return "enum \(short(.array(values)))"
    case .multipleOf(let number, _): return "multipleOf \(number.description)"
    case .bound(let bound, let number): return "\(bound) \(number.description)"
    case .minLength(let count): return "minLength \(count)"
    case .maxLength(let count): return "maxLength \(count)"
    case .pattern(let pattern): return "pattern \(pattern.text)"
    case .format(_, let name, _): return "format \(name)"
    case .minItems(let count): return "minItems \(count)"
    case .maxItems(let count): return "maxItems \(count)"
    case .uniqueItems: return "uniqueItems"
    case .minProperties(let count): return "minProperties \(count)"
    case .maxProperties(let count): return "maxProperties \(count)"
    case .required(let names): return "required \(short(.array(names.map { .string($0) })))"
    case .anyOf: return "one of the alternatives of anyOf"
    case .oneOf: return "exactly one of the alternatives of oneOf"
    case .not: return "not what \"not\" says"
    case .unevaluatedItems: return "no other items than those that were evaluated"
    case .unevaluatedProperties: return "no other members than those that were evaluated"
    default: return nil
    }
  }

  private static func short(_ value: JSONValue) -> String {
    let text = value.text()
    return text.count <= 80 ? text : String(text.prefix(77)) + "…"
  }
}
