import JSON

/// JSON pointers (RFC 6901) into values that are changed.
enum JSONPointer {
  /// Also of a pointer in a URI's fragment, where bytes may be percent-encoded.
  static func parts(_ pointer: String) -> [String] {
    pointer.split(separator: "/", omittingEmptySubsequences: false).dropFirst().map {
      let part = String($0)
      return (decoded(part) ?? part).replacing("~1", with: "/").replacing("~0", with: "~")
    }
  }

  static func text(_ parts: [String]) -> String {
    parts.map { "/" + $0.replacing("~", with: "~0").replacing("/", with: "~1") }.joined()
  }

  private static func decoded(_ part: String) -> String? {
    guard part.utf8.contains(UInt8(ascii: "%")) else { return part }
    var bytes: [UInt8] = []
    var rest = Array(part.utf8)[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard rest.count >= 2,
        let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
      else { return nil }
      bytes.append(value)
      rest = rest.dropFirst(2)
    }
    return String(validating: bytes, as: UTF8.self)
  }

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

  /// Objects on the way are made. Nil takes a member away.
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
