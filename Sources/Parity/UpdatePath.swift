import JSON

/// A path of an update, `a.0.b`, and its possible readings: a dot separates two names or is part of one.
struct UpdatePath {
  /// The target of a path.
  enum Goal {
    /// A value to set; the last name may be new.
    case set
    /// An existing field.
    case removed
    /// An array.
    case truncated
  }

  private let parts: [String]
  /// The names, if known.
  private let names: [String]?

  /// - Parameter known: the update's `disambiguatedPaths`. They list every ambiguous path, so in all others
  ///   each dot is a separator.
  init(_ text: String, _ known: JSONValue?) {
    parts = text.dotSeparated
    guard let known, known.objectValue != nil else {
      names = nil
      return
    }
    let listed = known[text]?.arrayValue?.compactMap(Self.name)
    names = listed ?? parts
  }

  /// The path is ambiguous.
  var isOpen: Bool { names == nil && parts.count > 1 }

  /// A name, or an array's index.
  private static func name(_ value: JSONValue) -> String? {
    if let text = value.stringValue ?? value["$numberInt"]?.stringValue { return text }
    guard case .number(let digits) = value else { return nil }
    return digits
  }

  /// The possible readings in a document, most likely first: existing fields before new ones, and of new
  /// ones those nested deeper first.
  ///
  /// - Parameter isThorough: include less likely readings; there are few unless the document has field
  ///   names with dots.
  func readings(in document: JSONValue, _ goal: Goal, isThorough: Bool) -> [[String]] {
    if let names { return [names] }
    if parts.count == 1 { return [parts] }
    var search = Search(goal: goal)
    search.walk(parts[...], in: document, [])
    guard goal == .set else { return search.present }
    if !isThorough, !search.present.isEmpty { return search.present }
    // `$v: 1` updates create the documents along the path.
    if !isThorough { return [parts] }
    var others = search.new.sorted { $0.count > $1.count }
    if !(search.present + others).contains(parts) { others.insert(parts, at: 0) }
    return search.present + others
  }

  private struct Search {
    let goal: Goal
    var present: [[String]] = []
    var new: [[String]] = []

    mutating func walk(_ parts: ArraySlice<String>, in value: JSONValue, _ before: [String]) {
      switch value {
      case .object(let members):
        for end in (parts.startIndex + 1)...parts.endIndex {
          let name = parts[..<end].joined(separator: ".")
          let inner = members.first { $0.key.isSame(as: name) }?.value
          guard end < parts.endIndex else {
            note(before + [name], inner)
            break
          }
          guard let inner, inner.isContainer else { continue }
          walk(parts[end...], in: inner, before + [name])
        }
      case .array(let list):
        guard let first = parts.first, let index = Int(first), index >= 0 else { return }
        let inner = list.indices.contains(index) ? list[index] : nil
        if parts.count == 1 {
          note(before + [first], inner)
        } else if let inner, inner.isContainer {
          walk(parts.dropFirst(), in: inner, before + [first])
        }
      default: break
      }
    }

    private mutating func note(_ reading: [String], _ value: JSONValue?) {
      if goal == .truncated, value?.arrayValue == nil { return }
      if value != nil { present.append(reading) } else { new.append(reading) }
    }
  }
}

extension String {
  /// The parts between dots. Splits bytes, since a dot with a combining mark is another `Character`.
  package var dotSeparated: [String] {
    utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
      .map { String(decoding: $0, as: UTF8.self) }
  }

  /// Only decimal digits, at least one.
  package var isDigits: Bool { !isEmpty && utf8.allSatisfy { (48...57).contains($0) } }
}

extension JSONValue {
  /// A document or an array.
  var isContainer: Bool {
    switch self {
    case .object, .array: true
    default: false
    }
  }

  /// Whether any field name in it contains a dot.
  public var hasDottedNames: Bool {
    switch self {
    case .object(let members):
      members.contains { $0.key.utf8.contains(UInt8(ascii: ".")) || $0.value.hasDottedNames }
    case .array(let list): list.contains { $0.hasDottedNames }
    default: false
    }
  }
}
