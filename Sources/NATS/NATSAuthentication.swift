/// The client's credentials. Descriptions contain only the kind.
public enum NATSAuthentication: Sendable, CustomStringConvertible, CustomDebugStringConvertible,
  CustomReflectable
{
  /// None, except user and password (or a token) in the server address.
  case none
  case token(String)
  case userPassword(user: String, password: String)
  /// An Ed25519 seed (`SU…`); the server has the public key.
  case nkey(seed: String)
  /// A user JWT and its seed, as in a `.creds` file.
  case credentials(jwt: String, seed: String)

  /// Reads JWT and seed from the text of a `.creds` file.
  ///
  /// - Throws: `badCredentials`, naming the part that is missing or invalid.
  public static func credentialsFile(contents: String) throws(NATSError) -> NATSAuthentication {
    let blocks = armouredBlocks(in: contents)
    guard let jwt = blocks.first(where: { $0.label.hasSuffix("JWT") })?.body else {
      throw NATSError(
        .badCredentials,
        "the credentials have no block '-----BEGIN NATS USER JWT-----'; expected a .creds file")
    }
    guard jwt.split(separator: ".", omittingEmptySubsequences: false).count == 3 else {
      throw NATSError(
        .badCredentials, "the JWT in the credentials does not have three parts separated by dots")
    }
    guard let seed = blocks.first(where: { $0.label.hasSuffix("SEED") })?.body else {
      throw NATSError(
        .badCredentials,
        "the credentials have no block '-----BEGIN USER NKEY SEED-----'; expected a .creds file")
    }
    _ = try NKey(seed: seed)
    return .credentials(jwt: jwt, seed: seed)
  }

  public var description: String {
    switch self {
    case .none: "none"
    case .token: "token"
    case .userPassword: "user and password"
    case .nkey: "nkey"
    case .credentials: "credentials"
    }
  }
  public var debugDescription: String { description }
  public var customMirror: Mirror { Mirror(self, children: ["kind": description]) }
}

/// The blocks between `-----BEGIN label-----` and `-----END label-----` (three dashes or more), without
/// white space and line ends.
private func armouredBlocks(in text: String) -> [(label: String, body: String)] {
  var blocks: [(label: String, body: String)] = []
  var open: (label: String, body: String)?
  // "\r\n" is one Character.
  for raw in text.split(whereSeparator: { $0 == "\n" || $0 == "\r\n" || $0 == "\r" }) {
    let line = raw.filter { !$0.isWhitespace || $0 == " " }
    if line.hasPrefix("---") {
      let label = line.drop { $0 == "-" }.reversed().drop { $0 == "-" }.reversed()
      if String(label).hasPrefix("BEGIN ") {
        open = (String(String(label).dropFirst(6)), "")
      } else if let block = open {
        blocks.append(block)
        open = nil
      }
    } else {
      open?.body += line.filter { $0 != " " }
    }
  }
  return blocks
}
