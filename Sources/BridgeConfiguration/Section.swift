import Mapping

/// Reads one mapping of the configuration: typed values by key. Reports each invalid value, and finally every
/// key that was not read.
final class Section {
  /// Its path: `nats.tls`, `rules[0]`; empty for the whole file.
  let name: String
  let position: TextPosition
  let problems: ProblemList
  private let entries: [(key: ConfigScalar, value: ConfigNode)]
  private var known: [String] = []

  /// A node that is no mapping is a problem, and treated as an empty one.
  init(_ node: ConfigNode?, name: String, at fallback: TextPosition, problems: ProblemList) {
    self.name = name
    self.problems = problems
    switch node {
    case .mapping(let entries, let at):
      // Extensions, as in Compose: a place for anchors, which isn't read.
      self.entries = entries.filter { !$0.key.text.hasPrefix("x-") }
      position = at
    case .none:
      entries = []
      position = fallback
    case .some(let other):
      entries = []
      position = other.position
      if !other.isNull {
        problems.add(
          other.position, "\(name.isEmpty ? "the configuration" : name) is \(other.kind)",
          "Write a mapping of keys and values")
      }
    }
  }

  /// The path of a key, for messages.
  func path(_ key: String) -> String { name.isEmpty ? key : "\(name).\(key)" }

  // MARK: Raw values

  /// Nil if the key is absent or its value null.
  func node(_ key: String) -> ConfigNode? {
    if !known.contains(key) {
      known.append(key)
      problems.noteRead(path(key))
    }
    guard let entry = entries.first(where: { $0.key.text == key }) else { return nil }
    guard entry.value.isNull else { return entry.value }
    if lacksValue(entry) {
      problems.add(
        entry.key.position, "\(path(key)) has no value", "write one, or take the key out")
    }
    return nil
  }

  /// Keys of mappings and lists: no value means an empty mapping or list.
  private static let structures: Set = [
    "source", "nats", "tls", "bridge", "cutover", "kv", "core", "redaction", "dead_letter", "http",
    "log",
    "payload",
    "consumers", "include", "exclude", "rename", "redact", "set", "outbox", "streams", "rules",
    "match", "subjects", "servers", "operations",
  ]

  /// A value that is literally null, not because of empty variables.
  private func lacksValue(_ entry: (key: ConfigScalar, value: ConfigNode)) -> Bool {
    guard let scalar = entry.value.scalar, scalar.isNull, !scalar.isSubstituted else {
      return false
    }
    return !scalar.text.isEmpty || !Self.structures.contains(entry.key.text)
  }

  /// The position of a key, or of the section if it is absent.
  func position(of key: String) -> TextPosition {
    entries.first { $0.key.text == key }?.key.position ?? position
  }

  func section(_ key: String) -> Section {
    Section(node(key), name: path(key), at: position(of: key), problems: problems)
  }

  /// The keys that were not read, with their values, and the known ones.
  var rest: [(key: ConfigScalar, value: ConfigNode)] {
    entries.filter { !known.contains($0.key.text) }
  }
  var knownKeys: [String] { known }
  func known(_ key: String) -> Bool { known.contains(key) }

  /// Reports every key that was not read.
  func finish() {
    for entry in rest {
      let (message, remedy) = KeyText.report(entry.key, value: entry.value, in: name, known: known)
      problems.add(entry.key.position, message, remedy)
    }
  }

  /// A key of the interface that this version does not serve; an empty value passes.
  func unavailable(_ key: String, _ remedy: String) {
    guard let value = node(key) else { return }
    switch value {
    case .sequence(let items, _) where items.isEmpty: return
    case .mapping(let entries, _) where entries.isEmpty: return
    default:
      problems.add(
        position(of: key), "\(path(key)) is not available in this version of tailrace", remedy)
    }
  }

  func missing(_ key: String, _ remedy: String) {
    // Already reported.
    if let entry = entries.first(where: { $0.key.text == key }), lacksValue(entry) { return }
    problems.add(position, "\(name.isEmpty ? "the configuration" : name) has no \(key)", remedy)
  }

  // MARK: Typed values

  func scalar(_ key: String, _ remedy: String = "write a single value") -> ConfigScalar? {
    guard let value = node(key) else { return nil }
    guard let scalar = value.scalar else {
      problems.add(value.position, "\(path(key)) is \(value.kind), not a single value", remedy)
      return nil
    }
    return scalar
  }

  func string(_ key: String) -> String? { scalar(key)?.text }

  func bool(_ key: String, default fallback: Bool) -> Bool {
    guard let scalar = scalar(key, "write true or false") else { return fallback }
    switch scalar.text.lowercased() {
    case "true", "yes", "on": return true
    case "false", "no", "off": return false
    default:
      problems.add(
        scalar.position, "\(path(key)) is \"\(scalar.text)\", not true or false",
        "write true or false")
      return fallback
    }
  }

  func duration(
    _ key: String, default fallback: Duration, in range: ClosedRange<Duration>
  ) -> Duration {
    guard let scalar = scalar(key, Units.durationRemedy) else { return fallback }
    guard let duration = Units.duration(scalar.text) else {
      problems.add(
        scalar.position, "\(path(key)) is \"\(scalar.text)\", not a duration", Units.durationRemedy)
      return fallback
    }
    guard range.contains(duration) else {
      problems.add(
        scalar.position, "\(path(key)) is \(scalar.text), out of range",
        "use \(Units.describe(range.lowerBound)) to \(Units.describe(range.upperBound))")
      return fallback
    }
    return duration
  }

  /// One of a set of words. `unavailable` are words of the interface that this version lacks.
  func choice<Value: RawRepresentable & CaseIterable>(
    _ key: String, default fallback: Value, unavailable: [String] = []
  ) -> Value where Value.RawValue == String {
    let words = Value.allCases.map(\.rawValue)
    guard let scalar = scalar(key, "write one of \(words.joined(separator: ", "))") else {
      return fallback
    }
    if let value = Value(rawValue: scalar.text) { return value }
    report(scalar, key: key, words: words, unavailable: unavailable)
    return fallback
  }

  func report(_ scalar: ConfigScalar, key: String, words: [String], unavailable: [String]) {
    let available = "use \(list(words))"
    if unavailable.contains(scalar.text) {
      problems.add(
        scalar.position,
        "\(path(key)): \(scalar.text) is not available in this version of tailrace", available)
      return
    }
    let near = nearest(to: scalar.text, among: words + unavailable)
    problems.add(
      scalar.position, "\(path(key)) can't be \"\(scalar.text)\"",
      near.map { "did you mean \($0)?" } ?? available)
  }

  /// A list of single values; with `splitting`, one value is a list of one, and commas
  /// separate values within each.
  func scalars(_ key: String, splitting: Bool = false) -> [ConfigScalar]? {
    guard let value = node(key) else {
      let isEmpty = entries.contains {
        $0.key.text == key && $0.value.scalar?.isSubstituted == false
      }
      return isEmpty ? [] : nil
    }
    var items: [ConfigNode]
    switch value {
    case .sequence(let list, _): items = list
    case .scalar where splitting: items = [value]
    default:
      problems.add(value.position, "\(path(key)) is \(value.kind), not a list", "write [a, b]")
      return nil
    }
    for (index, item) in items.enumerated()
    where item.isNull && item.scalar?.isSubstituted != true {
      problems.add(
        item.position, "\(path(key))[\(index)] has no value", "write one, or take the item out")
    }
    items.removeAll { $0.isNull }
    return items.enumerated().flatMap { index, item -> [ConfigScalar] in
      guard let scalar = item.scalar else {
        problems.add(
          item.position, "\(path(key))[\(index)] is \(item.kind), not a single value",
          "write [a, b]")
        return []
      }
      return splitting ? split(scalar) : [scalar]
    }
  }

  private func split(_ scalar: ConfigScalar) -> [ConfigScalar] {
    var offset = 0
    let parts: [Substring] = scalar.text.split(separator: ",", omittingEmptySubsequences: false)
    return parts.compactMap { part in
      defer { offset += part.unicodeScalars.count + 1 }
      let leading = part.prefix { $0 == " " }.count
      var text = part.dropFirst(leading)
      while text.last == " " { text.removeLast() }
      guard !text.isEmpty else { return nil }
      var piece = scalar
      piece.text = String(text)
      piece.position = scalar.position(at: offset + leading)
      piece.textColumn = scalar.textColumn.map { $0 + offset + leading }
      return piece
    }
  }

}

/// `a, b or c`
func list(_ words: [String]) -> String {
  guard words.count > 1, let last = words.last else { return words.first ?? "" }
  return words.dropLast().joined(separator: ", ") + " or " + last
}
