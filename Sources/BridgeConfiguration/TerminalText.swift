/// Text that others have written, made fit for a terminal.
public enum TerminalText {
  /// Control characters, and those that turn the direction of writing, as `\u{1B}`.
  public static func printable(_ text: String, keepingLines: Bool = false) -> String {
    escape(text, keepingLines: keepingLines) {
      "\\u{\(String($0.value, radix: 16, uppercase: true))}"
    }
  }

  /// The same for a JSON text on one line, which stays the same JSON: such characters are only in its strings.
  public static func printableJSON(_ text: String) -> String {
    escape(text, keepingLines: false) { scalar in
      // Those beyond 16 bits are neither controls nor turn the direction.
      let digits = String(scalar.value, radix: 16)
      return "\\u" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }
  }

  private static func escape(
    _ text: String, keepingLines: Bool, _ written: (Unicode.Scalar) -> String
  ) -> String {
    // Nearly all texts.
    if text.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) { return text }
    var result = ""
    for scalar in text.unicodeScalars {
      if isUnfit(scalar), !(keepingLines && scalar == "\n") {
        result += written(scalar)
      } else {
        result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  private static func isUnfit(_ scalar: Unicode.Scalar) -> Bool {
    if scalar.isASCII { return scalar.value < 0x20 || scalar.value == 0x7F }
    return scalar.properties.generalCategory == .control || scalar.properties.isBidiControl
  }
}
