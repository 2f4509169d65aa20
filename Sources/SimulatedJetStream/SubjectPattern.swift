/// Subjects and their wildcards, as the server compares them.
public enum SubjectPattern {
  private static let dot = UInt8(ascii: ".")
  private static let one = UInt8(ascii: "*")
  private static let rest = UInt8(ascii: ">")

  /// Whether `pattern` matches every subject that `subject` does.
  static func matches(_ pattern: String, _ subject: String) -> Bool {
    bytes(pattern) { pattern in bytes(subject) { matches(pattern, $0) } }
  }

  public static func matches(
    _ pattern: UnsafeBufferPointer<UInt8>, _ subject: UnsafeBufferPointer<UInt8>
  )
    -> Bool
  {
    var p = 0
    var s = 0
    while true {
      let pEnd = tokenEnd(pattern, p)
      if pEnd - p == 1, pattern[p] == rest { return s < subject.count }
      let sEnd = tokenEnd(subject, s)
      if pEnd - p == 1, pattern[p] == one {
        if sEnd == s || (sEnd - s == 1 && subject[s] == rest) { return false }
      } else {
        guard pEnd - p == sEnd - s else { return false }
        for offset in 0..<(pEnd - p) where pattern[p + offset] != subject[s + offset] {
          return false
        }
      }
      let pOver = pEnd >= pattern.count
      let sOver = sEnd >= subject.count
      if pOver || sOver { return pOver && sOver }
      p = pEnd + 1
      s = sEnd + 1
    }
  }

  /// Whether some subject is both.
  static func collide(_ first: String, _ second: String) -> Bool {
    bytes(first) { first in bytes(second) { collide(first, $0) } }
  }

  private static func collide(_ a: UnsafeBufferPointer<UInt8>, _ b: UnsafeBufferPointer<UInt8>)
    -> Bool
  {
    var i = 0
    var j = 0
    while true {
      let iEnd = tokenEnd(a, i)
      let jEnd = tokenEnd(b, j)
      let aWild = iEnd - i == 1 && (a[i] == one || a[i] == rest)
      let bWild = jEnd - j == 1 && (b[j] == one || b[j] == rest)
      if aWild, a[i] == rest { return true }
      if bWild, b[j] == rest { return true }
      if !aWild, !bWild {
        guard iEnd - i == jEnd - j else { return false }
        for offset in 0..<(iEnd - i) where a[i + offset] != b[j + offset] { return false }
      }
      let aOver = iEnd >= a.count
      let bOver = jEnd >= b.count
      if aOver || bOver { return aOver && bOver }
      i = iEnd + 1
      j = jEnd + 1
    }
  }

  static func isLiteral(_ subject: String) -> Bool {
    !subject.split(separator: ".", omittingEmptySubsequences: false).contains {
      $0 == "*" || $0 == ">"
    }
  }

  /// Tokens are not empty, and `>` is only at the end.
  public static func isValid(_ subject: String) -> Bool {
    guard !subject.isEmpty,
      !subject.utf8.contains(where: { $0 == 32 || $0 == 9 || $0 == 10 || $0 == 13 })
    else { return false }
    let tokens = subject.split(separator: ".", omittingEmptySubsequences: false)
    return !tokens.contains("") && !tokens.dropLast().contains(">")
  }

  private static func tokenEnd(_ text: UnsafeBufferPointer<UInt8>, _ from: Int) -> Int {
    var at = from
    while at < text.count, text[at] != dot { at += 1 }
    return at
  }

  private static func bytes<T>(_ text: String, _ body: (UnsafeBufferPointer<UInt8>) -> T) -> T {
    if let result = text.utf8.withContiguousStorageIfAvailable(body) { return result }
    return Array(text.utf8).withUnsafeBufferPointer(body)
  }
}
