/// A published schema's name: tokens of a KV key, so that names form a tree (`chat.message`).
public struct SchemaName: Hashable, Sendable, CustomStringConvertible {
  public let description: String

  /// Nil for what is no name: tokens of letters, digits, `-` and `_`, with dots between them; the last one
  /// not a number, which would be a version.
  public init?(_ text: String) {
    guard Self.fault(of: text) == nil else { return nil }
    description = text
  }

  /// Why a text is no name; nil if it is one.
  public static func fault(of text: String) -> String? {
    let tokens = text.split(separator: ".", omittingEmptySubsequences: false)
    guard !tokens.contains(where: \.isEmpty) else {
      return text.isEmpty ? "it is empty" : "there is nothing before, behind or between its dots"
    }
    if let character = text.unicodeScalars.first(where: { !isPlain($0) }) {
      return
        "'\(character)' can't be in it: only letters a to z, digits, - and _ can, with dots between"
    }
    guard text.utf8.count <= longest else {
      return "it has \(text.utf8.count) characters, and may have \(longest)"
    }
    guard let last = tokens.last else { return "it is empty" }
    guard Int(last) == nil else {
      return "it ends in a number, which would be a version"
    }
    guard !reserved.contains(String(last)) else {
      return "its last part is \(last), under which something else is kept for each name"
    }
    return nil
  }

  private static func isPlain(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar {
    case "a"..."z", "A"..."Z", "0"..."9", "-", "_", ".": true
    default: false
    }
  }

  private static let longest = 200
  static let policyToken = "policy"
  private static let reserved: Set<String> = [policyToken]

  /// The key of a version; the first is 1.
  public func key(version: Int) -> String { "\(description).\(version)" }

  /// The key of its policy.
  public var policyKey: String { "\(description).\(Self.policyToken)" }

  /// The key of the highest number that was ever given to a version of it.
  public var highestKey: String { "\(description).highest" }

  /// Name and version of a key; nil for other keys.
  public static func version(ofKey key: String) -> (name: SchemaName, version: Int)? {
    guard let dot = key.lastIndex(of: "."), let version = Int(key[key.index(after: dot)...]),
      version >= 1, let name = SchemaName(String(key[..<dot])), name.key(version: version) == key
    else { return nil }
    return (name, version)
  }
}
