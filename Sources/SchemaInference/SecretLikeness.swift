/// Tells fields that look like secrets, by their names and by their values. It errs towards secrets: a field that is
/// left out can be put back.
package enum SecretLikeness {
  /// Words of a name that mean a secret by themselves.
  private static let words: Set<String> = [
    "password", "passwords", "passwd", "pwd", "pass", "passphrase", "passcode", "secret", "secrets",
    "token", "tokens", "bcrypt", "argon2", "scrypt", "pbkdf2", "apikey", "apikeys", "credential",
    "credentials", "otp", "totp", "pin", "pins", "pincode", "cvv", "cvc", "ssn", "salt",
    "authorization", "cookie", "cookies", "jwt", "privatekey", "secretkey", "accesskey",
    "sessionid", "pw", "pswd", "creds", "cred", "bearer", "oauth", "csrf", "xsrf", "sid", "dsn",
    "mnemonic", "keystore", "privkey", "masterkey", "sshkey", "enckey", "hmac", "mfa", "webhook",
  ]
  /// Two words in a row.
  private static let pairs: Set<[String]> = [
    ["api", "key"], ["private", "key"], ["secret", "key"], ["access", "key"],
    ["encryption", "key"],
    ["session", "id"], ["session", "key"], ["card", "number"], ["recovery", "code"],
    ["recovery", "codes"], ["backup", "codes"], ["two", "factor"], ["auth", "key"],
    ["signing", "key"], ["password", "hash"], ["ssh", "key"], ["master", "key"], ["enc", "key"],
    ["license", "key"], ["seed", "phrase"], ["connection", "string"], ["security", "answer"],
    ["verification", "code"], ["reset", "code"], ["activation", "code"], ["unlock", "code"],
  ]
  /// With one of these as its last word, a name is of something about a secret: how many there are, of which kind, since
  /// when.
  private static let properties: Set<String> = [
    "count", "counts", "length", "size", "limit", "limits", "max", "min", "total", "quota",
    "budget", "usage", "used", "remaining", "cost", "price", "rate", "type", "kind", "status",
    "state", "policy", "strength", "version", "algorithm", "format", "at", "on", "date", "time",
    "expiry", "expires", "expiration", "ttl", "attempts", "enabled", "required", "position",
    "index", "in", "rounds", "iterations", "consent", "name", "symbol", "decimals", "amount",
    "amounts",
    "balance", "supply",
  ]
  /// Of these names there may be a number of things, and a number is not one of them.
  private static let counted: Set<String> = [
    "tokens", "cookies", "secrets", "passwords", "credentials", "apikeys",
  ]
  private static let starts = [
    "$2a$", "$2b$", "$2y$", "$argon2", "$scrypt$", "$pbkdf2", "-----BEGIN ", "ghp_", "gho_", "ghs_",
    "github_pat_", "glpat-", "xoxb-", "xoxp-", "xoxa-", "sk_live_", "rk_live_", "Bearer ", "Basic ",
    "$1$", "$5$", "$6$", "pbkdf2_sha", "{SSHA", "npm_", "whsec_", "AGE-SECRET-KEY-1",
    "https://hooks.slack.com/",
  ]

  /// What kind of value a field has: of some a secret can't be.
  package enum Value {
    case number
    /// A flag, a time, or nothing.
    case mark
    case other
  }

  /// Why a field of this name looks like a secret; nil if it doesn't.
  package static func reason(name: String, _ value: Value = .other) -> String? {
    guard value != .mark else { return nil }
    let parts = Self.parts(of: name).map(Self.withoutNumber)
    if let last = parts.last, properties.contains(last) { return nil }
    for (one, two) in zip(parts, parts.dropFirst()) {
      let single = two.hasSuffix("s") ? String(two.dropLast()) : two
      if pairs.contains([one, two]) || pairs.contains([one, single]) {
        return "its name has \(one) \(two) in it"
      }
    }
    guard let word = parts.first(where: words.contains) else { return nil }
    if value == .number, let first = parts.first,
      counted.contains(word) || properties.contains(first)
    {
      return nil
    }
    return "its name has \(word) in it"
  }

  /// Why a value looks like a secret; nil if it doesn't. The reason doesn't repeat the value.
  package static func reason(value: String) -> String? {
    if let start = starts.first(where: value.hasPrefix) {
      return "a value begins with \(start.trimmed)"
    }
    let parts = value.split(separator: ".", omittingEmptySubsequences: false)
    if value.hasPrefix("eyJ"), parts.count == 5 || (parts.count == 3 && parts[1].hasPrefix("eyJ")) {
      return "a value is a JSON web token"
    }
    if value.hasPrefix("AKIA") || value.hasPrefix("ASIA"), value.utf8.count == 20 {
      return "a value is an access key"
    }
    if value.hasPrefix("AIza"), value.utf8.count == 39 { return "a value is an API key" }
    return addressReason(value)
  }

  // MARK: Addresses

  private static let mostWords = 8

  /// Of an address, or a connection string, with a secret in it.
  private static func addressReason(_ text: String) -> String? {
    var rest = text[...]
    while let start = rest.firstRange(of: "://") {
      rest = rest[start.upperBound...]
      let authority = rest.prefix { !"/?# \t\n\"'<>".contains($0) }
      if let at = authority.lastIndex(of: "@"), let colon = authority[..<at].firstIndex(of: ":"),
        authority.index(after: colon) < at
      {
        return "a value has an address with a password in it"
      }
    }
    // `?access_token=…`, `Password=…;`, not in prose.
    guard text.split(whereSeparator: \.isWhitespace).count <= mostWords else { return nil }
    for part in text.split(whereSeparator: { "?&;# \t\n\"'".contains($0) }) {
      guard let equals = part.firstIndex(of: "="), equals > part.startIndex,
        part.index(after: equals) < part.endIndex, part[..<equals].utf8.count <= 40
      else { continue }
      let name = String(part[..<equals])
      let isPlain = name.allSatisfy { $0.isLetter || $0.isNumber || "_-.".contains($0) }
      if isPlain, reason(name: name) != nil { return "a value has \(name)= in it" }
    }
    return nil
  }

  /// `password2` and `cvv2` are what they are without a number; `argon2` and `pbkdf2` have it in their names.
  private static func withoutNumber(_ word: String) -> String {
    guard !words.contains(word) else { return word }
    let end = word.lastIndex { !$0.isNumber }
    return end.map { String(word[...$0]) } ?? word
  }

  /// The words of a name, in lower case: `hashedLoginToken`, `login_token`, `login-token`.
  package static func parts(of name: String) -> [String] {
    var parts: [String] = []
    var part = ""
    var wasLower = false
    for character in name {
      guard character.isLetter || character.isNumber else {
        if !part.isEmpty { parts.append(part) }
        part = ""
        wasLower = false
        continue
      }
      if character.isUppercase, wasLower {
        parts.append(part)
        part = ""
      }
      wasLower = character.isLowercase || character.isNumber
      part += character.lowercased()
    }
    if !part.isEmpty { parts.append(part) }
    return parts
  }
}

extension String {
  fileprivate var trimmed: String { String(prefix { $0 != " " }) }
}
