/// A glob over namespaces: one pattern for the database (up to the first dot), one for the
/// collection (all the rest). `*` matches any run of characters, even an empty one, within its
/// part; nothing else is special.
public struct NamespacePattern: Sendable, Equatable, CustomStringConvertible {
  /// As it was written.
  public let text: String
  let database: [UInt8]
  let collection: [UInt8]

  public init(parsing text: String) throws(RuleSyntaxError) {
    guard let dot = text.unicodeScalars.firstIndex(of: ".") else {
      throw RuleSyntaxError(
        "the namespace \"\(text)\" has no dot",
        remedy: "write database.collection, such as \(text.isEmpty ? "chat" : text).*", at: 0)
    }
    let database = text.unicodeScalars[..<dot]
    let collection = text.unicodeScalars[text.unicodeScalars.index(after: dot)...]
    let collectionStart = database.count + 1
    guard !database.isEmpty else {
      throw RuleSyntaxError(
        "the namespace has no database", remedy: "write database.collection or *.collection", at: 0)
    }
    guard !collection.isEmpty else {
      throw RuleSyntaxError(
        "the namespace has no collection",
        remedy: "write \(String(database)).* for all of the database", at: collectionStart)
    }
    // Names that servers refuse. A collection's name may contain anything else.
    for (n, scalar) in text.unicodeScalars.enumerated() {
      guard scalar.value != 0 else {
        throw RuleSyntaxError("a namespace can't hold a zero byte", remedy: "take it out", at: n)
      }
      if n < collectionStart, "/\\\" $".unicodeScalars.contains(scalar) {
        throw RuleSyntaxError(
          "a database's name can't hold \(scalar == " " ? "a space" : "\(scalar)")",
          remedy: "only * has a special meaning", at: n)
      }
    }
    self.text = text
    self.database = Array(String(database).utf8)
    self.collection = Array(String(collection).utf8)
  }

  public func matches(database: UnsafeRawBufferPointer, collection: UnsafeRawBufferPointer) -> Bool
  {
    Self.matches(self.database, database) && Self.matches(self.collection, collection)
  }

  /// For cold paths: `database.collection`.
  public func matches(_ namespace: String) -> Bool {
    var namespace = namespace
    return namespace.withUTF8 { bytes in
      let bytes = UnsafeRawBufferPointer(bytes)
      guard let dot = bytes.firstIndex(of: UInt8(ascii: ".")) else {
        return matches(database: bytes, collection: UnsafeRawBufferPointer(start: nil, count: 0))
      }
      return matches(
        database: UnsafeRawBufferPointer(rebasing: bytes[..<dot]),
        collection: UnsafeRawBufferPointer(rebasing: bytes[(dot + 1)...]))
    }
  }

  /// Whether it matches collections of that database.
  public func matches(database name: String) -> Bool {
    var name = name
    return name.withUTF8 { Self.matches(database, UnsafeRawBufferPointer($0)) }
  }

  /// The database's name, if the pattern matches only one.
  public var literalDatabase: String? { Self.literal(database) }
  /// The collection's name, if the pattern matches only one.
  public var literalCollection: String? { Self.literal(collection) }

  private static func literal(_ pattern: [UInt8]) -> String? {
    pattern.contains(UInt8(ascii: "*")) ? nil : String(decoding: pattern, as: UTF8.self)
  }

  /// Greedy with one backtracking point: linear for one star, never exponential.
  private static func matches(_ pattern: [UInt8], _ text: UnsafeRawBufferPointer) -> Bool {
    var p = 0
    var t = 0
    var star = -1
    var resume = 0
    while t < text.count {
      if p < pattern.count, pattern[p] == UInt8(ascii: "*") {
        star = p
        resume = t
        p += 1
      } else if p < pattern.count, pattern[p] == text[t] {
        p += 1
        t += 1
      } else if star >= 0 {
        resume += 1
        t = resume
        p = star + 1
      } else {
        return false
      }
    }
    while p < pattern.count, pattern[p] == UInt8(ascii: "*") { p += 1 }
    return p == pattern.count
  }

  // MARK: Two patterns

  /// Whether there can be a namespace that both match.
  public func mayOverlap(_ other: NamespacePattern) -> Bool {
    Self.mayOverlap(database, other.database) && Self.mayOverlap(collection, other.collection)
  }

  private static func mayOverlap(_ one: [UInt8], _ other: [UInt8]) -> Bool {
    let star = UInt8(ascii: "*")
    // `reached[n]`: some text matches the part of `one` so far, and the first n of `other`.
    var reached = [Bool](repeating: false, count: other.count + 1)
    reached[0] = true
    for n in other.indices where reached[n] && other[n] == star { reached[n + 1] = true }
    for byte in one {
      var next = [Bool](repeating: false, count: other.count + 1)
      for n in 0...other.count {
        if byte == star, reached[n] { next[n] = true }
        if n < other.count, other[n] == star, reached[n] { next[n] = true }
        guard n > 0 else { continue }
        let last = other[n - 1]
        if byte == star || last == star ? next[n - 1] : reached[n - 1] && byte == last {
          next[n] = true
        }
      }
      reached = next
    }
    return reached[other.count]
  }

  public var description: String { text }
}
