/// A published version of a schema, as `schema_version` names it: `chat.message.2`. Names are those of
/// `tailrace schema publish`.
public struct SchemaVersion: Sendable, Equatable, CustomStringConvertible {
  public let name: String
  /// From 1.
  public let number: Int

  /// Nil for what is no name with a version.
  init?(_ text: String) {
    let tokens = text.split(separator: ".", omittingEmptySubsequences: false)
    let isFine = tokens.allSatisfy { token in
      !token.isEmpty
        && token.unicodeScalars.allSatisfy { scalar in
          scalar.isASCII
            && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar) || scalar == "-"
              || scalar == "_")
        }
    }
    guard isFine, tokens.count >= 2, let last = tokens.last, let number = Int(last), number >= 1,
      String(number) == last, Int(tokens[tokens.count - 2]) == nil, text.utf8.count <= 200
    else { return nil }
    name = tokens.dropLast().joined(separator: ".")
    self.number = number
  }

  /// Its key in the catalogue.
  public var description: String { "\(name).\(number)" }

  /// The value of `ce-dataschema`.
  public var uri: String { "urn:tailrace:schema:\(description)" }
}
