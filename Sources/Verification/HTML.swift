/// A piece of HTML, written as a string literal. What is interpolated is text, and is escaped for elements and
/// quoted attributes; only other pieces are inserted as they are. So nothing unescaped gets into a page by
/// forgetting a call.
///
/// A template library would add a dependency to every build, and look members up by name at run time; the
/// compiler checks these literals. The bridge's own page is a constant (`StatusPage`).
package struct HTML: ExpressibleByStringInterpolation {
  package let text: String

  package init(stringLiteral value: String) { text = value }
  package init(stringInterpolation: StringInterpolation) { text = stringInterpolation.text }

  package struct StringInterpolation: StringInterpolationProtocol {
    fileprivate var text = ""

    package init(literalCapacity: Int, interpolationCount: Int) {
      text.reserveCapacity(literalCapacity)
    }

    package mutating func appendLiteral(_ literal: String) { text += literal }

    // No overload for any value: it would take arrays of pieces, too.
    package mutating func appendInterpolation(_ number: some BinaryInteger) { text += "\(number)" }

    package mutating func appendInterpolation(_ words: String) {
      for character in words.unicodeScalars {
        switch character {
        case "&": text += "&amp;"
        case "<": text += "&lt;"
        case ">": text += "&gt;"
        case "\"": text += "&quot;"
        case "'": text += "&#39;"
        default: text.unicodeScalars.append(character)
        }
      }
    }

    package mutating func appendInterpolation(_ piece: HTML) { text += piece.text }

    package mutating func appendInterpolation(_ pieces: [HTML], separator: String = "") {
      text += pieces.map(\.text).joined(separator: separator)
    }
  }
}
