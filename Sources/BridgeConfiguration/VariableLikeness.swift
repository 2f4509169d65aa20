/// Text that looks like a variable in another language's spelling: `$NAME`, `$(NAME)`, `%NAME%`.
enum VariableLikeness {
  /// Keys whose values are secrets, which may look like anything.
  private static let secrets: Set = ["token", "password", "key"]
  /// Keys of patterns and prose, where `$` has other uses.
  private static let others: Set = ["$regex", "regex", "regexp", "pattern", "description"]

  /// Its offset in the text, in Unicode scalars.
  static func find(in text: String, key: String) -> Int? {
    let scalars = Array(text.unicodeScalars)
    guard scalars.contains(where: { "$%<{".unicodeScalars.contains($0) }), !others.contains(key)
    else { return nil }
    if isVariable(scalars[...], whole: true) { return 0 }
    if secrets.contains(key) { return nil }
    var first = 0
    if let scheme = text.range(of: "://") {
      // User and password may contain any such text; a host can't.
      first = text.unicodeScalars.distance(from: text.startIndex, to: scheme.upperBound)
      let at = scalars[first...].lastIndex(of: "@")
      if let at {
        var start = first
        for end in first...at where end == at || scalars[end] == ":" {
          if isVariable(scalars[start..<end], whole: true) { return start }
          start = end + 1
        }
        first = at + 1
      }
      let hostsEnd = scalars[first...].firstIndex { $0 == "/" || $0 == "?" } ?? scalars.count
      let odd = scalars[first..<hostsEnd].indices.first { index in
        let next = index + 1 < scalars.count ? scalars[index + 1] : " "
        switch scalars[index] {
        // `${NAME}` and `$${` are known.
        case "$": return next != "{" && next != "$"
        case "{": return next == "{"
        default: return "<>()".unicodeScalars.contains(scalars[index])
        }
      }
      if let odd { return odd }
    }
    for index in scalars[first...].indices where scalars[index] == "$" {
      let before = index > 0 ? scalars[index - 1] : " "
      guard !isWord(before), before != "$", isVariable(scalars[index...], whole: false) else {
        continue
      }
      return index
    }
    return nil
  }

  /// `$NAME` in capitals, `$(name)`, or, as a whole, `%NAME%`.
  private static func isVariable(_ text: ArraySlice<Unicode.Scalar>, whole: Bool) -> Bool {
    let rest = text.dropFirst()
    if text.first == "%", whole, text.last == "%", text.count > 4 {
      return isName(rest.dropLast())
    }
    guard text.first == "$" else { return false }
    if rest.first == "(" {
      guard let close = rest.firstIndex(of: ")"), !whole || close == text.endIndex - 1 else {
        return false
      }
      let name = rest[(rest.startIndex + 1)..<close]
      return !name.isEmpty && name.allSatisfy(isWord)
        && !("0"..."9").contains(name[name.startIndex])
    }
    let name = rest.prefix(while: isWord)
    return isName(name) && (!whole || name.endIndex == text.endIndex)
  }

  private static func isName(_ text: ArraySlice<Unicode.Scalar>) -> Bool {
    guard text.count > 1, let first = text.first, first == "_" || isUpper(first) else {
      return false
    }
    return text.allSatisfy { $0 == "_" || isUpper($0) || ("0"..."9").contains($0) }
  }

  private static func isUpper(_ c: Unicode.Scalar) -> Bool { ("A"..."Z").contains(c) }

  private static func isWord(_ c: Unicode.Scalar) -> Bool {
    c == "_" || isUpper(c) || ("a"..."z").contains(c) || ("0"..."9").contains(c)
  }
}

extension String {
  fileprivate func range(of part: String) -> Range<Index>? { firstRange(of: part) }
}
