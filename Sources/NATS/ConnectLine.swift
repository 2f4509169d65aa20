import JSON
internal import NIOCore

/// The client's credentials, validated before the first connection attempt.
enum NATSIdentity: Sendable {
  case none
  case token(String)
  case userPassword(user: String, password: String)
  case nkey(NKey)
  case credentials(jwt: String, NKey)

  /// - Throws: `badCredentials`.
  init(_ authentication: NATSAuthentication) throws(NATSError) {
    switch authentication {
    case .none: self = .none
    case .token(let token): self = .token(token)
    case .userPassword(let user, let password):
      self = .userPassword(user: user, password: password)
    case .nkey(let seed): self = .nkey(try NKey(seed: seed))
    case .credentials(let jwt, let seed):
      self = .credentials(jwt: jwt, try NKey(seed: seed))
    }
  }

  /// Uses the address's credentials if the options have none.
  func filled(from address: NATSServerAddress) -> NATSIdentity {
    guard case .none = self, let user = address.user, !user.isEmpty else { return self }
    guard let password = address.password else { return .token(user) }
    return .userPassword(user: user, password: password)
  }
}

extension NATSIdentity {
  /// When a user JWT expires, in seconds since 1970; nil if it doesn't, or there is none.
  var expiry: Int? {
    guard case .credentials(let jwt, _) = self else { return nil }
    let parts = jwt.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 3, let claims = Base64URL.decode(parts[1]),
      let expiry = (try? JSONValue(parsing: claims))?["exp"]?.integer(Int.self), expiry > 0
    else { return nil }
    return expiry
  }
}

/// The protocol's CONNECT line.
enum ConnectLine {
  static let clientVersion = "0.1.0"

  /// `CONNECT {…}` with its line end.
  ///
  /// - Throws: `authenticationFailed` if the server has no nkey users, `badCredentials`.
  static func encode(
    options: NATSOptions, identity: NATSIdentity, info: NATSServerInfo, tls: Bool
  ) throws(NATSError) -> ByteBuffer {
    var json: JSONValue = [
      "verbose": .bool(options.verbose), "pedantic": .bool(options.pedantic),
      "tls_required": .bool(tls), "name": .string(options.name), "lang": "swift",
      "version": .string(clientVersion), "protocol": 1, "echo": .bool(options.echo),
      "headers": .bool(info.headers), "no_responders": .bool(info.headers),
    ]
    switch identity {
    case .none: break
    case .token(let token): json["auth_token"] = .string(token)
    case .userPassword(let user, let password):
      json["user"] = .string(user)
      json["pass"] = .string(password)
    case .nkey(let key):
      guard let nonce = info.nonce else {
        throw NATSError(
          .authenticationFailed,
          "an nkey is configured, but the server has no nkey users; add the public key "
            + "\(key.publicKey) there, or configure another authentication")
      }
      json["nkey"] = .string(key.publicKey)
      json["sig"] = .string(Base64URL.encode(try key.sign(nonce.utf8)))
    case .credentials(let jwt, let key):
      json["jwt"] = .string(jwt)
      json["sig"] = .string(Base64URL.encode(try key.sign((info.nonce ?? "").utf8)))
    }
    var line = ByteBuffer()
    line.writeStaticString("CONNECT ")
    line.writeBytes(json.utf8)
    line.writeStaticString("\r\n")
    return line
  }
}
