public import JSON

/// Applies a message's update to a document, both in the messages' JSON style.
public enum DocumentFold {
  /// The maximum nesting of published JSON: of a document, the message around it, and Extended JSON wrappers.
  public static let maximumDepth = 256 + 16

  /// Whether the update uses an index or length of an array that may be shown without some of its elements.
  static func goesByIndex(_ update: JSONValue, _ shape: FoldStep.Shape) -> Bool {
    guard !shape.isDisjoint(with: [.shortensArrays, .shortensNumbered]) else { return false }
    func isShortened(_ path: [String]) -> Bool {
      shape.contains(.shortensArrays) || path.first?.isDigits ?? false
    }
    let cuts = (update["truncatedArrays"]?.arrayValue ?? []).compactMap { $0["field"]?.stringValue }
    return cuts.contains { isShortened($0.dotSeparated) }
      || named(update).contains { path in
        let parts = path.dotSeparated
        return isShortened(parts) && parts.dropFirst().contains(where: \.isDigits)
      }
  }

  /// The paths that the update sets or removes.
  private static func named(_ update: JSONValue) -> [String] {
    (update["updatedFields"]?.objectValue ?? []).map(\.key)
      + (update["removedFields"]?.arrayValue ?? []).compactMap(\.stringValue)
  }

  /// Applies an `updateDescription` as in change streams: truncates arrays, then sets and removes fields.
  /// Uses the most likely reading of each path; see `outcomes`.
  public static func apply(_ update: JSONValue, to document: JSONValue) -> JSONValue {
    outcomes(of: update, on: document, isThorough: false, atMost: 1).first ?? document
  }

  /// The possible results of the update, most likely first. There are several if a path is ambiguous and
  /// the update has no `disambiguatedPaths`.
  ///
  /// - Parameter isThorough: include less likely readings.
  /// - Parameter hidesFields: a removed field may be one that was never published.
  /// - Returns: at most `limit` results.
  public static func outcomes(
    of update: JSONValue, on document: JSONValue, isThorough: Bool, hidesFields: Bool = false,
    atMost limit: Int
  ) -> [JSONValue] {
    var outcomes = [document]
    let known = update["disambiguatedPaths"]
    let twice = repeated(update)
    func step(
      _ text: String, _ goal: UpdatePath.Goal, _ body: (JSONValue?) -> JSONValue?
    ) {
      // `disambiguatedPaths` doesn't distinguish two fields with the same path.
      let path = UpdatePath(text, twice.contains(Array(text.utf8)) ? nil : known)
      var next: [JSONValue] = []
      for outcome in outcomes {
        let readings = path.readings(in: outcome, goal, isThorough: isThorough)
        let mayBeAnother = hidesFields && isThorough && goal == .removed && path.isOpen
        if readings.isEmpty { next.append(outcome) }
        for reading in readings {
          var changed = outcome
          change(&changed, reading[...], body)
          if next.count < limit, outcomes.count == 1 || !next.contains(changed) {
            next.append(changed)
          }
        }
        if mayBeAnother, next.count < limit, !next.contains(outcome) { next.append(outcome) }
      }
      outcomes = next
    }
    for cut in update["truncatedArrays"]?.arrayValue ?? [] {
      guard let field = cut["field"]?.stringValue, let size = length(cut["newSize"]) else {
        continue
      }
      step(field, .truncated) { value in
        guard case .array(let list) = value else { return value }
        return .array(Array(list.prefix(size)))
      }
    }
    for member in update["updatedFields"]?.objectValue ?? [] {
      step(member.key, .set) { _ in member.value }
    }
    for field in update["removedFields"]?.arrayValue ?? [] {
      guard let path = field.stringValue else { continue }
      step(path, .removed) { _ in nil }
    }
    return outcomes
  }

  /// Paths that occur more than once in the update.
  private static func repeated(_ update: JSONValue) -> Set<[UInt8]> {
    let names = named(update)
    guard names.count > 1 else { return [] }
    var seen: Set<[UInt8]> = []
    return Set(names.map { Array($0.utf8) }.filter { !seen.insert($0).inserted })
  }

  /// Whether a path goes into a value that is published as a hash: the value has changed, but its new hash
  /// is not in the update.
  static func entersValues(_ update: JSONValue, of document: JSONValue) -> Bool {
    func enters(_ path: String) -> Bool {
      var value = document
      for part in path.dotSeparated {
        switch value {
        case .object:
          guard let inner = value[part] else { return false }
          value = inner
        case .array(let list):
          guard let index = Int(part), list.indices.contains(index) else { return false }
          value = list[index]
        case .string(let text): return !text.isSame(as: "***")
        default: return false
        }
      }
      return false
    }
    return named(update).contains(where: enters)
      || update["truncatedArrays"]?.arrayValue?.contains {
        ($0["field"]?.stringValue).map { enters("\($0).0") } ?? false
      } ?? false
  }

  /// Whether the update masks (`***`) a value that the document shows as a hash: the value has changed, but
  /// its new hash is not in the update.
  static func masksHashes(_ update: JSONValue, of document: JSONValue) -> Bool {
    update["updatedFields"]?.objectValue?.contains { member in
      guard case .string("***") = member.value else { return false }
      return values(at: member.key.dotSeparated[...], in: document).contains { value in
        value.stringValue.map { !$0.isSame(as: "***") } ?? false
      }
    } ?? false
  }

  /// Whether the update contains a masked value.
  static func masks(_ update: JSONValue) -> Bool {
    update["updatedFields"]?.objectValue?.contains { $0.value.isMask } ?? false
  }

  /// The values that a path may refer to: each dot separates names or is part of one.
  private static func values(at path: ArraySlice<String>, in value: JSONValue) -> [JSONValue] {
    guard let first = path.first else { return [value] }
    switch value {
    case .object:
      return (1...path.count).flatMap { count -> [JSONValue] in
        guard let inner = value[path.prefix(count).joined(separator: ".")] else { return [] }
        return values(at: path.dropFirst(count), in: inner)
      }
    case .array(let list):
      guard let index = Int(first), list.indices.contains(index) else { return [] }
      return values(at: path.dropFirst(), in: list[index])
    default: return []
    }
  }

  /// A number, plain or in Extended JSON.
  private static func length(_ value: JSONValue?) -> Int? {
    let size = value?.integer(Int.self) ?? value?["$numberInt"]?.stringValue.flatMap { Int($0) }
    return size.map { max(0, $0) }
  }

  private static func change(
    _ value: inout JSONValue, _ path: ArraySlice<String>, _ body: (JSONValue?) -> JSONValue?
  ) {
    guard let name = path.first else { return }
    let rest = path.dropFirst()
    switch value {
    case .object(var members):
      set(&members, name) { inner in
        guard !rest.isEmpty else { return body(inner) }
        var changed = inner ?? .object([])
        change(&changed, rest, body)
        // Removing a missing field creates nothing.
        return inner == nil && changed == .object([]) ? nil : changed
      }
      value = .object(members)
    case .array(var list):
      guard let index = Int(name), index >= 0, index < 1 << 24 else { return }
      while list.count <= index { list.append(.null) }
      if rest.isEmpty {
        // A removed element becomes null.
        list[index] = body(list[index]) ?? .null
      } else {
        change(&list[index], rest, body)
      }
      value = .array(list)
    // A masked value stays masked.
    case .string("***"): return
    default:
      // The path replaces any other value with a document.
      var made = JSONValue.object([])
      change(&made, path, body)
      if made != .object([]) { value = made }
    }
  }

  private static func set(
    _ members: inout [JSONValue.Member], _ key: String, _ body: (JSONValue?) -> JSONValue?
  ) {
    let index = members.firstIndex { $0.key.isSame(as: key) }
    let changed = body(index.map { members[$0].value })
    switch (index, changed) {
    case (let index?, let changed?): members[index].value = changed
    case (let index?, nil): members.remove(at: index)
    case (nil, let changed?): members.append(JSONValue.Member(key, changed))
    case (nil, nil): break
    }
  }

  /// The same value with sorted members.
  public static func sorted(_ value: JSONValue) -> JSONValue {
    switch value {
    case .object(let members):
      .object(
        members.enumerated().map { ($0, JSONValue.Member($1.key, sorted($1.value))) }
          .sorted { one, other in
            // Duplicate names keep their order.
            if one.1.key.isSame(as: other.1.key) { return one.0 < other.0 }
            return one.1.key.utf8.lexicographicallyPrecedes(other.1.key.utf8)
          }.map(\.1))
    case .array(let list): .array(list.map(sorted))
    default: value
    }
  }
}

extension JSONValue {
  /// Whether this is the placeholder of a masked value.
  public var isMask: Bool {
    guard case .string("***") = self else { return false }
    return true
  }

  /// The value at a JSON pointer.
  public func value(at pointer: String) -> JSONValue? {
    var value: JSONValue? = self
    for part in pointer.split(separator: "/", omittingEmptySubsequences: false).dropFirst() {
      let name = String(part.replacing("~1", with: "/").replacing("~0", with: "~"))
      switch value {
      case .object: value = value?[name]
      case .array(let list):
        value = Int(name).flatMap { list.indices.contains($0) ? list[$0] : nil }
      default: return nil
      }
    }
    return value
  }
}
