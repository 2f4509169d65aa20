import Mapping

/// How messages name an unknown key.
///
/// A space left out behind a colon, or a comma in a value without quotes, makes a secret a part of a key:
/// `password:hunter2`, `{ password: hun,ter2 }`. So a key is repeated only if it is one word, and in
/// sections that hold secrets only if no part of a secret can be that word.
enum KeyText {
  /// Settings whose values are secret, or may hold a secret, in any section.
  private static let secrets = ["uri", "token", "password", "key", "nkey_seed", "credentials"]

  /// A letter or `_`, then letters, digits, `_` and `-`.
  static func isWord(_ text: String) -> Bool {
    guard let first = text.unicodeScalars.first, first == "_" || isLetter(first) else {
      return false
    }
    return text.unicodeScalars.allSatisfy {
      $0 == "_" || $0 == "-" || isLetter($0) || ("0"..."9").contains($0)
    }
  }

  /// The text for an unknown key.
  /// - Parameter known: the section's own keys.
  static func report(
    _ key: ConfigScalar, value: ConfigNode, in section: String, known: [String]
  ) -> (message: String, remedy: String) {
    let text = key.text
    let place = section.isEmpty ? "" : " in \(section)"
    let near = nearest(to: text, among: known)
    let holdsSecrets = known.contains(where: secrets.contains)
    let words = isWord(text) ? (holdsSecrets ? secrets : []) : secrets + known
    // The longest setting that the key begins with, short of a letter: `password:…`, `token_…`.
    let start = words.filter { word in
      text.lowercased().hasPrefix(word)
        && text.unicodeScalars.dropFirst(word.unicodeScalars.count).first.map { !isLetter($0) }
          ?? false
    }.max { $0.count < $1.count }
    let isFileKey = near.map { $0.hasSuffix("_file") } ?? false
    if let start, !(isWord(text) && isFileKey) {
      let rest = text.dropFirst(start.count)
      return (
        "unknown key \(start)…\(place)",
        rest.hasPrefix(":")
          ? "a space is missing after the colon"
          : "write \(start): value; quote a value that holds , : # { } [ ]"
      )
    }
    let isHidden = !isWord(text) || (holdsSecrets && value.isNull && near == nil)
    guard isHidden else {
      return (
        "unknown key \(text)\(place)",
        near.map { "did you mean \($0)?" } ?? "known here: \(known.joined(separator: ", "))"
      )
    }
    return (
      "an unknown key\(place), which may be part of a secret and is not repeated",
      "write key: value with a space after the colon, and quote a value that holds , : # { } [ ]"
    )
  }

  private static func isLetter(_ scalar: Unicode.Scalar) -> Bool {
    ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar)
  }
}
