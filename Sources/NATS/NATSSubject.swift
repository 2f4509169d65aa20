/// Validates subjects: non-empty tokens separated by dots, without white space and control characters.
public enum NATSSubject {
  /// A subject to publish to: without wildcard tokens.
  public static func isValidLiteral(_ subject: some Collection<UInt8>) -> Bool {
    check(subject, wildcards: false)
  }

  /// A subject to subscribe to: `*` matches one token, a final `>` one or more.
  public static func isValidFilter(_ subject: some Collection<UInt8>) -> Bool {
    check(subject, wildcards: true)
  }

  /// Whether a subscription to `filter` receives messages to `subject`.
  public static func matches(_ subject: String, filter: String) -> Bool {
    let tokens = subject.split(separator: ".", omittingEmptySubsequences: false)
    let filters = filter.split(separator: ".", omittingEmptySubsequences: false)
    for (index, wanted) in filters.enumerated() {
      if wanted == ">" { return tokens.count > index }
      guard index < tokens.count, wanted == "*" || wanted == tokens[index] else { return false }
    }
    return filters.count == tokens.count
  }

  private static func check(_ subject: some Collection<UInt8>, wildcards: Bool) -> Bool {
    var length = 0  // of the current token
    var wildcard: UInt8?  // set while the token is only a wildcard
    var ended = false  // a `>` must be the last token
    for c in subject {
      guard c > 0x20, c != 0x7F else { return false }
      if c == UInt8(ascii: ".") {
        guard length > 0, wildcard == nil || wildcards else { return false }
        ended = wildcard == UInt8(ascii: ">")
        length = 0
        wildcard = nil
      } else {
        guard !ended else { return false }
        let special = c == UInt8(ascii: "*") || c == UInt8(ascii: ">")
        wildcard = length == 0 && special ? c : nil
        length += 1
      }
    }
    return length > 0 && (wildcard == nil || wildcards)
  }

  static func requireLiteral(_ subject: String) throws(NATSError) {
    guard isValidLiteral(subject.utf8) else {
      throw NATSError(
        .invalidSubject,
        "cannot publish to '\(subject)': tokens must not be empty, blank or wildcards")
    }
    try requireLength(subject)
  }

  static func requireFilter(_ subject: String) throws(NATSError) {
    guard isValidFilter(subject.utf8) else {
      throw NATSError(
        .invalidSubject,
        "cannot subscribe to '\(subject)': tokens must not be empty or blank, > only at the end")
    }
    try requireLength(subject)
  }

  /// A server closes the connection if a protocol line exceeds `max_control_line`, 4096 by default. Two
  /// subjects and the numbers must fit.
  private static func requireLength(_ subject: String) throws(NATSError) {
    guard subject.utf8.count <= 2000 else {
      throw NATSError(
        .invalidSubject, "the subject '\(subject.prefix(60))…' is longer than 2000 bytes")
    }
  }
}
