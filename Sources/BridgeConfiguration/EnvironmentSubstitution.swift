import Mapping

/// `${NAME}` and `${NAME:-default}` in a scalar; `$${` is a literal `${`.
///
/// As in shells, the default also replaces a variable that is set but empty.
struct EnvironmentSubstitution {
  let environment: [String: String]

  struct Failure {
    var message: String
    var remedy: String
    /// Unicode scalars from the start of the text.
    var offset: Int
  }

  /// The text with its variables replaced, and whether there were any. Variables that can't be
  /// replaced are reported and left out.
  func replace(in text: String, failures: inout [Failure]) -> (text: String, replaced: Bool) {
    guard text.contains("${") else { return (text, false) }
    let source = Array(text.unicodeScalars)
    var result = String.UnicodeScalarView()
    var at = 0
    while at < source.count {
      if source[at] == "$", at + 2 < source.count, source[at + 1] == "$", source[at + 2] == "{" {
        result.append(contentsOf: ["$", "{"])
        at += 3
        continue
      }
      guard source[at] == "$", at + 1 < source.count, source[at + 1] == "{" else {
        result.append(source[at])
        at += 1
        continue
      }
      guard let close = source[at...].firstIndex(of: "}") else {
        failures.append(
          Failure(
            message: "a ${ without its }", remedy: "write ${NAME} or ${NAME:-default}", offset: at))
        // It counts as left out: a URI without its end would show a password as its host.
        return ("", true)
      }
      let inside = String(String.UnicodeScalarView(source[(at + 2)..<close]))
      let isWhole = at == 0 && close == source.count - 1
      if let value = value(of: inside, isWhole: isWhole, at: at, failures: &failures) {
        result.append(contentsOf: value.unicodeScalars)
      }
      at = close + 1
    }
    return (String(result), true)
  }

  /// The text in the braces may be a piece of a password that happens to hold them: it is repeated only
  /// where it is named like a variable, or is all there is.
  private func value(
    of inside: String, isWhole: Bool, at: Int, failures: inout [Failure]
  ) -> String? {
    let name = inside.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }
    let rest = inside.dropFirst(name.count)
    let roots = EventField.allCases.map(\.name)
    if roots.contains(inside.split(separator: ".").first.map(String.init) ?? "") {
      failures.append(
        Failure(
          message: "\(inside) is no variable", remedy: "write {\(inside)} for a path of the event",
          offset: at))
      return nil
    }
    guard !name.isEmpty, name.first?.isNumber == false, rest.isEmpty || rest.hasPrefix(":-") else {
      failures.append(
        Failure(
          message: "the braces of this ${…} hold no variable's name",
          remedy: "write ${NAME} or ${NAME:-default}, and $${ for a literal ${", offset: at))
      return nil
    }
    let value = environment[String(name)]
    if rest.isEmpty {
      if value == nil {
        let isNamed = isWhole || !name.contains(where: \.isLowercase)
        failures.append(
          isNamed
            ? Failure(
              message: "the environment variable \(name) is not set",
              remedy: "set it, or give a default: ${\(name):-…}", offset: at)
            : Failure(
              message: "the environment variable of this ${…} is not set",
              remedy: "set it, give a default: ${NAME:-…}, or write $${ for a literal ${",
              offset: at))
      }
      return value
    }
    if let value, !value.isEmpty { return value }
    return String(rest.dropFirst(2))
  }
}
