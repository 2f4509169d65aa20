import JSON

/// Takes demands out of an inferred schema.
enum SchemaEasing {
  /// Without `required` in a property and below it, but for `_id` of the property itself. What tells kinds apart
  /// stays.
  static func withoutRequired(_ schema: JSONValue, in property: String) -> JSONValue {
    guard case .object(var members) = schema else { return schema }
    for index in members.indices {
      switch members[index].key {
      case "properties":
        guard let inner = members[index].value[property] else { continue }
        var eased = eased(inner)
        let hadID = inner["required"]?.arrayValue?.contains("_id") == true
        if hadID { eased["required"] = ["_id"] }
        members[index].value[property] = eased
      case "allOf", "anyOf", "oneOf":
        let parts = members[index].value.arrayValue ?? []
        members[index].value = .array(parts.map { withoutRequired($0, in: property) })
      case "then": members[index].value = withoutRequired(members[index].value, in: property)
      default: break
      }
    }
    return .object(members)
  }

  private static func eased(_ schema: JSONValue) -> JSONValue {
    guard case .object(let members) = schema else { return schema }
    return .object(
      members.compactMap { member in
        switch member.key {
        case "required": return nil
        case "properties":
          let inner = member.value.objectValue ?? []
          return .init(member.key, .object(inner.map { .init($0.key, eased($0.value)) }))
        case "items", "additionalProperties", "then": return .init(member.key, eased(member.value))
        case "allOf", "anyOf", "oneOf":
          return .init(member.key, .array((member.value.arrayValue ?? []).map(eased)))
        default: return member
        }
      })
  }
}
