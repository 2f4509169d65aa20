public import JSON

/// What becomes of a document when a message's update is applied to it: both as the messages show them,
/// which is JSON in whatever style.
public enum DocumentFold {
  /// Applies an `updateDescription` as change streams have it: arrays are cut first, then fields set and
  /// removed. Paths go by dots; a key that holds dots itself is taken whole where there is one.
  public static func apply(_ update: JSONValue, to document: JSONValue) -> JSONValue {
    var document = document
    for cut in update["truncatedArrays"]?.arrayValue ?? [] {
      guard let field = cut["field"]?.stringValue, let size = length(cut["newSize"]) else {
        continue
      }
      change(&document, field[...]) { value in
        guard case .array(let list) = value else { return value }
        return .array(Array(list.prefix(size)))
      }
    }
    for member in update["updatedFields"]?.objectValue ?? [] {
      change(&document, member.key[...]) { _ in member.value }
    }
    for field in update["removedFields"]?.arrayValue ?? [] {
      guard let path = field.stringValue else { continue }
      change(&document, path[...]) { _ in nil }
    }
    return document
  }

  /// Plain, or as Extended JSON has numbers.
  private static func length(_ value: JSONValue?) -> Int? {
    value?.integer(Int.self) ?? value?["$numberInt"]?.stringValue.flatMap { Int($0) }
  }

  private static func change(
    _ value: inout JSONValue, _ path: Substring, _ body: (JSONValue?) -> JSONValue?
  ) {
    switch value {
    case .object(var members):
      var split = path.firstIndex(of: ".")
      if split == nil || members.contains(where: { $0.key == path }) {
        set(&members, String(path), body)
      } else {
        // The shortest key that is there; else the first part, which is made.
        while let at = split, !members.contains(where: { $0.key == path[..<at] }) {
          split = path[path.index(after: at)...].firstIndex(of: ".")
        }
        guard let at = split ?? path.firstIndex(of: ".") else { return }
        let rest = path[path.index(after: at)...]
        set(&members, String(path[..<at])) { inner in
          var changed = inner ?? .object([])
          change(&changed, rest, body)
          // Nothing comes of removing what isn't there.
          return inner == nil && changed == .object([]) ? nil : changed
        }
      }
      value = .object(members)
    case .array(var list):
      let head = path.prefix { $0 != "." }
      guard let index = Int(head), index >= 0, index < 1 << 24 else { return }
      let rest = path.dropFirst(head.count)
      while list.count <= index { list.append(.null) }
      if rest.isEmpty {
        // A removed element leaves null.
        list[index] = body(list[index]) ?? .null
      } else {
        change(&list[index], rest.dropFirst(), body)
      }
      value = .array(list)
    default:
      // Something else stood there: the path makes a document of it.
      var made = JSONValue.object([])
      change(&made, path, body)
      value = made
    }
  }

  private static func set(
    _ members: inout [JSONValue.Member], _ key: String, _ body: (JSONValue?) -> JSONValue?
  ) {
    let index = members.firstIndex { $0.key == key }
    let changed = body(index.map { members[$0].value })
    switch (index, changed) {
    case (let index?, let changed?): members[index].value = changed
    case (let index?, nil): members.remove(at: index)
    case (nil, let changed?): members.append(JSONValue.Member(key, changed))
    case (nil, nil): break
    }
  }

  /// The same members in an order that does not depend on how they came to be.
  public static func sorted(_ value: JSONValue) -> JSONValue {
    switch value {
    case .object(let members):
      .object(
        members.map { JSONValue.Member($0.key, sorted($0.value)) }.sorted { $0.key < $1.key })
    case .array(let list): .array(list.map(sorted))
    default: value
    }
  }
}
