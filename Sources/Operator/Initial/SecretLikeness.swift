import BSON

/// Tells fields that look like secrets, by their names and by their values. It errs towards secrets: a field that is
/// left out can be put back.
enum SecretLikeness {
  /// Words of a name that mean a secret by themselves.
  private static let words: Set<String> = [
    "password", "passwords", "passwd", "pwd", "passphrase", "passcode", "secret", "secrets",
    "token", "tokens", "bcrypt", "argon2", "scrypt", "pbkdf2", "apikey", "apikeys", "credential",
    "credentials", "otp", "totp", "cvv", "cvc", "ssn", "salt", "authorization", "cookie", "cookies",
    "jwt", "privatekey", "secretkey", "accesskey", "sessionid",
  ]
  /// Two words in a row.
  private static let pairs: Set<[String]> = [
    ["api", "key"], ["private", "key"], ["secret", "key"], ["access", "key"],
    ["encryption", "key"],
    ["session", "id"], ["session", "key"], ["card", "number"], ["recovery", "code"],
    ["recovery", "codes"], ["backup", "codes"], ["two", "factor"], ["auth", "key"],
    ["signing", "key"], ["password", "hash"],
  ]
  private static let starts = [
    "$2a$", "$2b$", "$2y$", "$argon2", "$scrypt$", "$pbkdf2", "-----BEGIN ", "ghp_", "github_pat_",
    "xoxb-", "xoxp-", "sk_live_",
  ]

  /// Why a field of this name looks like a secret; nil if it doesn't.
  static func reason(name: String) -> String? {
    let parts = Self.parts(of: name)
    if let word = parts.first(where: words.contains) { return "its name has \(word) in it" }
    for (one, two) in zip(parts, parts.dropFirst()) where pairs.contains([one, two]) {
      return "its name has \(one) \(two) in it"
    }
    return nil
  }

  /// Why a value looks like a secret; nil if it doesn't. The reason doesn't repeat the value.
  static func reason(value: String) -> String? {
    if let start = starts.first(where: value.hasPrefix) {
      return "a value begins with \(start.trimmed)"
    }
    let parts = value.split(separator: ".", omittingEmptySubsequences: false)
    if value.hasPrefix("eyJ"), parts.count == 3, parts[1].hasPrefix("eyJ") {
      return "a value is a JSON web token"
    }
    if value.hasPrefix("AKIA"), value.utf8.count == 20 { return "a value is an access key" }
    return nil
  }

  /// The words of a name, in lower case: `hashedLoginToken`, `login_token`, `login-token`.
  static func parts(of name: String) -> [String] {
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
