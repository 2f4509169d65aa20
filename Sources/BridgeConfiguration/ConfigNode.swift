/// A scalar of the configuration's YAML, with variables replaced, and where it stands.
struct ConfigScalar {
  var text: String
  /// Neither quoted nor a block: `5`, `true` and an empty text mean more than their letters.
  var isPlain: Bool
  /// A variable was replaced in it.
  var isSubstituted: Bool
  var position: TextPosition
  /// The column of the text's first character, where text and source agree letter by letter.
  var textColumn: Int?

  /// Absent for all purposes: nothing, `null`, or variables that came out empty.
  var isNull: Bool {
    if text.isEmpty { return isPlain || isSubstituted }
    return isPlain && ["~", "null", "Null", "NULL"].contains(text)
  }

  /// The place of a character of the text, or of the scalar where that can't be told.
  func position(at offset: Int) -> TextPosition {
    guard let textColumn else { return position }
    return TextPosition(line: position.line, column: textColumn + offset)
  }
}

/// The configuration's YAML as a tree with places.
indirect enum ConfigNode {
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

  /// What it is, for messages.
  var kind: String {
    switch self {
    case .scalar(let scalar): scalar.isNull ? "empty" : "a single value"
    case .sequence: "a list"
    case .mapping: "a mapping"
    }
  }
}
