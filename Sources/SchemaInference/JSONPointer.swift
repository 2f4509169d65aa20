import JSON
import JSONSchema

/// Pointers into values that are changed.
extension JSONPointer {
  /// No pointer: none, as of the whole value.
  static func parts(_ pointer: String) -> [String] { tokens(pointer) ?? [] }

  static func text(_ parts: [String]) -> String { parts.map { "/" + escaped($0) }.joined() }

  static func value(at path: ArraySlice<String>, in value: JSONValue) -> JSONValue? {
    guard let first = path.first else { return value }
    switch value {
    case .array(let items):
      guard let index = Int(first), items.indices.contains(index) else { return nil }
      return self.value(at: path.dropFirst(), in: items[index])
    case .object: return value[first].flatMap { self.value(at: path.dropFirst(), in: $0) }
    case .null, .bool, .number, .string: return nil
    }
  }

  /// Objects on the way are made. Nil removes a member.
  static func replacing(
    _ path: ArraySlice<String>, with new: JSONValue?, in value: JSONValue
  ) -> JSONValue {
    guard let first = path.first else { return new ?? value }
    if case .array(var items) = value {
      guard let index = Int(first), items.indices.contains(index) else { return value }
      items[index] = replacing(path.dropFirst(), with: new, in: items[index])
      return .array(items)
    }
    guard case .object = value else { return value }
    var changed = value
    if path.count == 1 {
      changed[first] = new
    } else if let inner = value[first] ?? (new == nil ? nil : .object([])) {
      changed[first] = replacing(path.dropFirst(), with: new, in: inner)
    }
    return changed
  }
}
