public import JSON

/// The first difference of two JSON values.
public enum JSONDifference {
  /// A JSON pointer (RFC 6901) and the difference; nil if they are equal.
  public static func first(expected: JSONValue, found: JSONValue) -> (
    pointer: String, detail: String
  )? {
    first(expected, found, "")
  }

  private static func first(_ a: JSONValue, _ b: JSONValue, _ place: String) -> (
    pointer: String, detail: String
  )? {
    switch (a, b) {
    case (.object(let wanted), .object(let got)):
      for (index, member) in wanted.enumerated() {
        let inner = "\(place)/\(escaped(member.key))"
        guard let other = counterpart(of: index, in: wanted, among: got) else {
          return (inner, "it is missing")
        }
        if let found = first(member.value, other.value, inner) { return found }
        if got.indices.contains(index), !got[index].key.isSame(as: member.key),
          haveSameNames(wanted, got)
        {
          return (inner, "the members are in a different order")
        }
      }
      let more = got.indices.first { counterpart(of: $0, in: got, among: wanted) == nil }
      return more.map { ("\(place)/\(escaped(got[$0].key))", "nothing should be there") }
    case (.array(let wanted), .array(let got)):
      for (index, value) in wanted.enumerated() {
        guard index < got.count else { return ("\(place)/\(index)", "it is missing") }
        if let found = first(value, got[index], "\(place)/\(index)") { return found }
      }
      return got.count > wanted.count
        ? ("\(place)/\(wanted.count)", "nothing should be there") : nil
    default:
      return a == b ? nil : (place, "expected \(short(a)), found \(short(b))")
    }
  }

  private static func haveSameNames(
    _ one: [JSONValue.Member], _ other: [JSONValue.Member]
  ) -> Bool {
    one.count == other.count
      && one.indices.allSatisfy { counterpart(of: $0, in: one, among: other) != nil }
  }

  /// The member with the same name. Of several, the one with the same number of predecessors as `index`.
  private static func counterpart(
    of index: Int, in members: [JSONValue.Member], among others: [JSONValue.Member]
  ) -> JSONValue.Member? {
    let key = members[index].key
    // Usually it has the same index.
    if others.indices.contains(index), others[index].key.isSame(as: key),
      !others[..<index].contains(where: { $0.key.isSame(as: key) }),
      !members[..<index].contains(where: { $0.key.isSame(as: key) })
    {
      return others[index]
    }
    let before = members[..<index].count { $0.key.isSame(as: key) }
    return others.lazy.filter { $0.key.isSame(as: key) }.dropFirst(before).first
  }

  private static func escaped(_ key: String) -> String {
    var out = ""
    for character in key.unicodeScalars {
      switch character {
      case "~": out += "~0"
      case "/": out += "~1"
      default: out.unicodeScalars.append(character)
      }
    }
    return out
  }

  private static func short(_ value: JSONValue) -> String {
    let text = value.text()
    return text.count > 60 ? "\(text.prefix(60))…" : text
  }
}
