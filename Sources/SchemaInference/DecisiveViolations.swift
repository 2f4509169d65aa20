import JSONSchema

/// The violations that have to be acted on: without those that follow from others, and without those that only explain
/// why an alternative refuses.
struct DecisiveViolations {
  private struct Entry {
    var violation: SchemaViolation
    var path: [String]
    var instance: [String]

    var keyword: String { path.last ?? "" }

    /// Whether another one is about a part of this keyword's value, and of the same value or a part of it.
    func includes(_ other: Entry) -> Bool {
      other.path.count > path.count && other.path.starts(with: path)
        && other.instance.starts(with: instance)
    }
  }

  static func of(_ violations: [SchemaViolation]) -> [SchemaViolation] {
    var entries = violations.map {
      Entry(
        violation: $0, path: JSONPointer.parts($0.keywordLocation),
        instance: JSONPointer.parts($0.instanceLocation))
    }
    entries = decided(entries)
    return entries.filter { one in !entries.contains { follows(one, from: $0) } }.map(\.violation)
  }

  /// A schema that is not valid evaluates nothing: what is left to `unevaluated…` is known once it is valid.
  private static func follows(_ one: Entry, from other: Entry) -> Bool {
    guard let at = one.path.lastIndex(where: { unevaluated.contains($0) }) else { return false }
    let around = one.path[..<at]
    let object = one.instance.dropLast()
    return other.path.starts(with: around) && other.path.count > around.count
      && !unevaluated.contains(other.path[around.count])
      && other.instance.starts(with: object)
  }

  private static let unevaluated: Set<String> = ["unevaluatedItems", "unevaluatedProperties"]

  // MARK: Alternatives

  /// Either `anyOf` or `oneOf` gets one more alternative, or the one gives way that nearly accepts the value.
  private static func decided(_ entries: [Entry]) -> [Entry] {
    // The outermost first: what is inside is looked at with its alternative.
    let outer = entries.filter { ["anyOf", "oneOf"].contains($0.keyword) }
      .min { $0.path.count < $1.path.count }
    guard let outer else { return entries }
    let inside = entries.filter { outer.includes($0) }
    let others = entries.filter { entry in
      entry.violation != outer.violation && !outer.includes(entry)
    }
    guard let near = nearest(inside, outer) else { return decided(others) + [outer] }
    return decided(others) + near
  }

  /// The violations of the only alternative that refuses the value for the fewest reasons, if these don't show that the
  /// value is of another kind.
  private static func nearest(_ inside: [Entry], _ outer: Entry) -> [Entry]? {
    var alternatives: [String: [Entry]] = [:]
    for entry in inside { alternatives[entry.path[outer.path.count], default: []].append(entry) }
    // A value of the wrong type is of another kind, and so is what an alternative forbids altogether.
    let possible = alternatives.values.map { decided($0) }.filter { alternative in
      !alternative.contains { entry in
        entry.keyword == "type" && entry.instance == outer.instance || entry.keyword == "not"
          || entry.path.count == outer.path.count + 1
      }
    }
    // Of several that are possible, constants tell which one is meant.
    let near =
      possible.count < 2
      ? possible
      : possible.filter { alternative in
        !alternative.contains { ["const", "enum"].contains($0.keyword) }
      }
    guard let least = near.map(\.count).min() else { return nil }
    let nearest = near.filter { $0.count == least }
    return nearest.count == 1 ? nearest[0] : nil
  }
}
