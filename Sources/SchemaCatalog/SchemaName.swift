/// A published schema's name: tokens of a KV key, so that names form a tree (`chat.message`).
public struct SchemaName: Hashable, Sendable, CustomStringConvertible {
  public let description: String

  /// Nil for what is no name: tokens of letters, digits, `-` and `_`, with dots between them; the last one
  /// not a number, which would be a version.
  public init?(_ text: String) {
    let tokens = text.split(separator: ".", omittingEmptySubsequences: false)
    let isFine = tokens.allSatisfy { token in
      !token.isEmpty
        && token.utf8.allSatisfy { byte in
          switch byte {
          case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
            true
          default: false
          }
        }
    }
    guard isFine, text.utf8.count <= 200, let last = tokens.last, Int(last) == nil,
      last != Self.policyToken
    else { return nil }
    description = text
  }

  static let policyToken = "policy"

  /// The key of a version; the first is 1.
  public func key(version: Int) -> String { "\(description).\(version)" }

  /// The key of its policy.
  public var policyKey: String { "\(description).\(Self.policyToken)" }

  /// Name and version of a key; nil for other keys.
  public static func version(ofKey key: String) -> (name: SchemaName, version: Int)? {
    guard let dot = key.lastIndex(of: "."), let version = Int(key[key.index(after: dot)...]),
      version >= 1, let name = SchemaName(String(key[..<dot])), name.key(version: version) == key
    else { return nil }
    return (name, version)
  }
}
