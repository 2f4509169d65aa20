import JSON
import JSONSchema

/// MongoDB's patterns are Perl's (PCRE), those of JSON Schema are JavaScript's (ECMA-262): what is written alike may
/// mean something else. Only what is understood here is translated, exactly: `$` is before a line break at the end,
/// too; `.` is any character but a line feed; `\s` has no spaces beyond ASCII.
enum PatternTranslation {
  static let obstacle = "it is no pattern of ECMA-262, or may mean something else there"

  /// What is found in the same texts; nil if that isn't certain.
  static func pattern(_ text: String) -> String? {
    var reader = Reader(Array(text.unicodeScalars))
    guard let pattern = reader.translated(),
      (try? CompiledSchema(["pattern": .string(pattern)])) != nil
    else { return nil }
    return pattern
  }

  private struct Reader {
    private let text: [Unicode.Scalar]
    private var at = 0
    private var depth = 0

    init(_ text: [Unicode.Scalar]) { self.text = text }

    private var next: Unicode.Scalar? { at < text.count ? text[at] : nil }
    private func ahead(_ offset: Int) -> Unicode.Scalar? {
      at + offset < text.count ? text[at + offset] : nil
    }

    mutating func translated() -> String? {
      var out = ""
      while let scalar = next {
        at += 1
        switch scalar {
        case "$":
          // Only at an end: what comes after it could be the line break.
          guard depth == 0, next == nil || next == "|" else { return nil }
          out += "\\n?$"
        case ".": out += "[^\\n]"
        case "^", "|", "*", "+", "?":
          // Possessive.
          if scalar != "^", scalar != "|", next == "+" { return nil }
          out.unicodeScalars.append(scalar)
        case "(":
          // Without verbs, flags, names and what looks around.
          if next == "*" || next == "?" && ahead(1) != ":" { return nil }
          depth += 1
          out += "("
          if next == "?" {
            out += "?:"
            at += 2
          }
        case ")":
          depth -= 1
          out += ")"
        case "{":
          guard let count = count() else { return nil }
          out += count
        case "[":
          guard let some = characters() else { return nil }
          out += some
        case "]", "}": return nil
        case "\\":
          guard let escaped = escape(inClass: false) else { return nil }
          out += escaped
        default: out.unicodeScalars.append(scalar)
        }
      }
      return depth == 0 ? out : nil
    }

    /// `{2}`, `{2,}`, `{2,3}`.
    private mutating func count() -> String? {
      var inner = ""
      while let scalar = next, scalar != "}" {
        guard ("0"..."9").contains(scalar) || scalar == "," else { return nil }
        inner.unicodeScalars.append(scalar)
        at += 1
      }
      guard next == "}", inner.first?.isNumber == true else { return nil }
      at += 1
      return next == "+" ? nil : "{\(inner)}"
    }

    /// `[a-z\d]`.
    private mutating func characters() -> String? {
      var out = "["
      if next == "^" {
        out += "^"
        at += 1
      }
      // There, it is a character.
      if next == "]" { return nil }
      while let scalar = next {
        at += 1
        switch scalar {
        case "]": return out + "]"
        case "[": return nil
        case "\\":
          guard let escaped = escape(inClass: true) else { return nil }
          out += escaped
        default: out.unicodeScalars.append(scalar)
        }
      }
      return nil
    }

    /// What is behind a backslash.
    private mutating func escape(inClass: Bool) -> String? {
      guard let scalar = next else { return nil }
      at += 1
      let space = " \\t\\n\\v\\f\\r"
      switch scalar {
      case "d", "D", "w", "W", "n", "r", "t", "f": return "\\\(scalar)"
      case "s": return inClass ? space : "[\(space)]"
      case "S": return inClass ? nil : "[^\(space)]"
      case "b", "B": return inClass ? nil : "\\\(scalar)"
      case "^", "$", "\\", ".", "*", "+", "?", "(", ")", "[", "]", "{", "}", "|", "/":
        return "\\\(scalar)"
      case "-": return inClass ? "\\-" : "-"
      default:
        // Other punctuation matches itself.
        let isPunctuation =
          scalar.isASCII && scalar.value > 0x20 && !scalar.properties.isAlphabetic
          && !("0"..."9").contains(scalar) && scalar.value != 0x7F
        return isPunctuation ? String(Character(scalar)) : nil
      }
    }
  }
}
