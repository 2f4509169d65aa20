import JSON
import JSONSchema

/// What is known of values that a schema is to accept.
enum WideningValues {
  /// A lenient schema of them, without its head.
  static func schema(_ values: [JSONValue]) -> JSONValue {
    let inference = SchemaInference()
    // Values that were read once.
    for value in values { try? inference.observe(value.text()) }
    var schema = inference.schema()
    schema["$schema"] = nil
    return schema
  }

  static func typeNames(_ values: [JSONValue]) -> [String] {
    var names: [String] = []
    for value in values {
      let name =
        switch value {
        case .null: "null"
        case .bool: "boolean"
        case .number(let digits):
          ExactDecimal(digits)?.isInteger == true ? "integer" : "number"
        case .string: "string"
        case .array: "array"
        case .object: "object"
        }
      if !names.contains(name) { names.append(name) }
    }
    if names.contains("number") { names.removeAll { $0 == "integer" } }
    return names
  }

  /// Characters, items or members.
  static func size(_ value: JSONValue) -> Int {
    switch value {
    case .string(let text): text.unicodeScalars.count
    case .array(let items): items.count
    case .object(let members): members.count
    case .null, .bool, .number: 0
    }
  }

  /// The least or the greatest of the numbers among them.
  static func extreme(_ values: [JSONValue], least: Bool) -> JSONValue? {
    var found: (value: JSONValue, number: ExactDecimal)?
    for case .number(let digits) in values {
      guard let number = ExactDecimal(digits) else { continue }
      if let known = found {
        let order = number.compared(to: known.number)
        guard least ? order < 0 : order > 0 else { continue }
      }
      found = (.number(digits), number)
    }
    return found?.value
  }

  static func distinct(_ values: [JSONValue]) -> [JSONValue] {
    values.reduce(into: []) { found, value in if !found.contains(value) { found.append(value) } }
  }

  static func list(_ values: [JSONValue]) -> String {
    let shown = values.prefix(5).map { $0.text() }.joined(separator: ", ")
    return values.count > 5 ? "\(shown) and \(values.count - 5) more" : shown
  }
}
