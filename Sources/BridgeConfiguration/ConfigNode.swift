/// A scalar of the configuration's YAML, with variables replaced, and its position.
struct ConfigScalar: Sendable {
  var text: String
  /// Neither quoted nor a block: `5`, `true` and an empty text mean more than their letters.
  var isPlain: Bool
  /// A variable was replaced in it.
  var isSubstituted: Bool
  var position: TextPosition
  /// The column of the text's first character, if text and source are identical.
  var textColumn: Int?

  /// Counts as absent: nothing, `null`, or only empty variables.
  var isNull: Bool {
    if text.isEmpty { return isPlain || isSubstituted }
    return isPlain && ["~", "null", "Null", "NULL"].contains(text)
  }

  /// The place of a character of the text, or of the scalar if that is unknown.
  func position(at offset: Int) -> TextPosition {
    guard let textColumn else { return position }
    return TextPosition(line: position.line, column: textColumn + offset)
  }
}

/// The configuration's YAML as a tree with positions.
enum ConfigNode: Sendable {
  case scalar(ConfigScalar)
  case sequence([ConfigNode], TextPosition)
  case mapping([(key: ConfigScalar, value: ConfigNode)], TextPosition)

  var position: TextPosition {
    switch self {
    case .scalar(let scalar): scalar.position
    case .sequence(_, let at), .mapping(_, let at): at
    }
  }

  var scalar: ConfigScalar? {
    if case .scalar(let scalar) = self { scalar } else { nil }
  }

  var isNull: Bool { scalar?.isNull ?? false }

  /// Its kind, for messages.
  var kind: String {
    switch self {
    case .scalar(let scalar): scalar.isNull ? "empty" : "a single value"
    case .sequence: "a list"
    case .mapping: "a mapping"
    }
  }

  /// The position of a mapping's key, at any depth.
  func position(of name: String) -> TextPosition? {
    switch self {
    case .scalar: return nil
    case .sequence(let items, _):
      for item in items {
        if let found = item.position(of: name) { return found }
      }
    case .mapping(let entries, _):
      for (key, value) in entries {
        if key.text == name { return key.position }
        if let found = value.position(of: name) { return found }
      }
    }
    return nil
  }

  /// The position of a value, at any depth.
  func position(ofValue text: String) -> TextPosition? {
    switch self {
    case .scalar(let scalar): return scalar.text == text ? scalar.position : nil
    case .sequence(let items, _):
      return items.lazy.compactMap { $0.position(ofValue: text) }.first
    case .mapping(let entries, _):
      return entries.lazy.compactMap { $0.value.position(ofValue: text) }.first
    }
  }
}
