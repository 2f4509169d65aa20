extension String {
  /// Text that others have written, for people: control characters, and those that turn the direction of writing,
  /// as `\u{1B}`, so that none reaches a terminal, and a line break does not look like another message.
  package func printable(keepingLines: Bool = false) -> String {
    var result = ""
    for scalar in unicodeScalars {
      let isLine = scalar == "\n" && keepingLines
      if !isLine, scalar.drivesTerminal {
        result += "\\u{\(String(scalar.value, radix: 16, uppercase: true))}"
      } else {
        result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  /// The same of a JSON text, by JSON's own escapes: what is not ASCII is within its strings.
  package var printableJSON: String {
    var result = ""
    for scalar in unicodeScalars {
      if scalar.value >= 0x7F, scalar.drivesTerminal {
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
      } else {
        result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}

extension Unicode.Scalar {
  fileprivate var drivesTerminal: Bool {
    properties.generalCategory == .control || properties.isBidiControl
  }
}
