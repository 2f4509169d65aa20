package import JSON

/// The first difference of two JSON bodies as values: neither the order of members nor the spelling of numbers counts.
package struct BodyDifference: Sendable, Equatable {
  /// A JSON pointer (RFC 6901).
  package var pointer: String
  /// Nil: it has no value there.
  package var expected: String?
  package var found: String?

  /// - Parameter hidden: names of members whose values must not be shown, wherever they are.
  package init?(expected: JSONValue, found: JSONValue, hidden: Set<String> = []) {
    guard let difference = Self.first(expected, found, []) else { return nil }
    pointer = difference.path.map { "/\(Self.escaped($0))" }.joined()
    let isBelow = difference.path.contains { hidden.contains($0) }
    func text(_ value: JSONValue?) -> String? {
      value.map { isBelow || Self.holds(hidden, $0) ? "(hidden)" : Self.short($0) }
    }
    self.expected = text(difference.expected)
    self.found = text(difference.found)
  }

  private typealias Place = (path: [String], expected: JSONValue?, found: JSONValue?)

  private static func holds(_ names: Set<String>, _ value: JSONValue) -> Bool {
    guard !names.isEmpty else { return false }
    switch value {
    case .object(let members):
      return members.contains { names.contains($0.key) || holds(names, $0.value) }
    case .array(let elements): return elements.contains { holds(names, $0) }
    default: return false
    }
  }

  private static func first(_ a: JSONValue, _ b: JSONValue, _ path: [String]) -> Place? {
    switch (a, b) {
    case (.object(let wanted), .object(let got)):
      for member in wanted {
        let inner = path + [member.key]
        guard let other = b[member.key] else { return (inner, member.value, nil) }
        if let found = first(member.value, other, inner) { return found }
      }
      for member in got where a[member.key] == nil {
        return (path + [member.key], nil, member.value)
      }
      return nil
    case (.array(let wanted), .array(let got)):
      for index in 0..<max(wanted.count, got.count) {
        let inner = path + [String(index)]
        guard index < wanted.count else { return (inner, nil, got[index]) }
        guard index < got.count else { return (inner, wanted[index], nil) }
        if let found = first(wanted[index], got[index], inner) { return found }
      }
      return nil
    default: return a.isSameValue(as: b) ? nil : (path, a, b)
    }
  }

  private static func escaped(_ key: String) -> String {
    var out = ""
    for scalar in key.unicodeScalars {
      switch scalar {
      case "~": out += "~0"
      case "/": out += "~1"
      default: out.unicodeScalars.append(scalar)
      }
    }
    return out
  }

  private static func short(_ value: JSONValue) -> String {
    let text = value.text()
    return text.unicodeScalars.count > 120 ? "\(String(text.unicodeScalars.prefix(120)))…" : text
  }
}
