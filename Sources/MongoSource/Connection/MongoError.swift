internal import CMongoC

/// An error of MongoDB or its client library.
public struct MongoError: Error, Sendable, CustomStringConvertible {
  public enum Domain: String, Sendable {
    /// The connection string or an option is wrong.
    case configuration
    /// No suitable server was found in time.
    case selection
    /// A connection broke or timed out.
    case network
    /// The credentials were rejected.
    case authentication
    /// The server answered with an error; `code` is its code.
    case server
    /// A malformed or unexpected reply.
    case reply
    /// Anything else the client library reports.
    case client
  }

  public var domain: Domain
  /// The server's error code in the domain `server`, otherwise libmongoc's; 0 if there is none.
  public var code: UInt32
  /// The text of the server, the library or this module. Never contains a password.
  public var message: String
  /// The operation that failed, e.g. "getMore on local.oplog.rs".
  public var place: String
  /// Whether a retry may succeed without any change of the configuration.
  public var isTransient: Bool

  public init(
    domain: Domain, code: UInt32 = 0, message: String, place: String, isTransient: Bool
  ) {
    self.domain = domain
    self.code = code
    self.message = message
    self.place = place
    self.isTransient = isTransient
  }

  public var description: String {
    let kind = code == 0 ? domain.rawValue : "\(domain.rawValue) error \(code)"
    return "MongoDB: \(place): \(message) (\(kind))"
  }
}

/// Server error codes that this module handles (src/mongo/base/error_codes.yml).
enum ServerCode {
  static let badValue: UInt32 = 2
  static let unauthorized: UInt32 = 13
  static let authenticationFailed: UInt32 = 18
  static let commandNotFound: UInt32 = 59
  static let readConcernMajorityNotEnabled: UInt32 = 148
  static let snapshotTooOld: UInt32 = 239
  static let snapshotUnavailable: UInt32 = 246
  static let collectionUUIDMismatch: UInt32 = 361

  static let permanent: Set<UInt32> = [
    unauthorized, authenticationFailed, commandNotFound, readConcernMajorityNotEnabled,
  ]
}

extension MongoError {
  /// What an error of a question to MongoDB says, with MongoDB named once.
  public static func words(of error: any Error) -> String {
    let text = "\(error)"
    return text.hasPrefix("MongoDB: ") ? text : "MongoDB: \(text)"
  }

  /// Maps libmongoc's domains and codes (error API version 2) to ours.
  init(_ error: bson_error_t, place: String, redaction: Redaction) {
    let message = withUnsafePointer(to: error) { String(cString: tailrace_error_message($0)) }
    let domain: Domain =
      switch error.domain {
      case MONGOC_ERROR_SERVER.rawValue:
        error.code == ServerCode.authenticationFailed ? .authentication : .server
      case MONGOC_ERROR_SERVER_SELECTION.rawValue: .selection
      case MONGOC_ERROR_STREAM.rawValue: .network
      case MONGOC_ERROR_SASL.rawValue, MONGOC_ERROR_SCRAM.rawValue: .authentication
      case MONGOC_ERROR_CLIENT.rawValue:
        error.code == MONGOC_ERROR_CLIENT_AUTHENTICATE.rawValue ? .authentication : .client
      case MONGOC_ERROR_PROTOCOL.rawValue, MONGOC_ERROR_BSON.rawValue: .reply
      default: .client
      }
    let isTransient =
      switch domain {
      case .configuration, .authentication: false
      case .server: !ServerCode.permanent.contains(error.code)
      case .selection, .network, .reply, .client: true
      }
    let advice =
      domain == .authentication
      ? MongoAdvice.authentication(message) : MongoAdvice.handshake(message)
    self.init(
      domain: domain, code: error.code,
      message: redaction.clean(message) + (advice.map { "; \($0)" } ?? ""), place: place,
      isTransient: isTransient)
  }
}

/// Removes passwords from messages.
struct Redaction: Sendable {
  /// In every form in which they may appear: plain and percent-encoded.
  private var secrets: [String]

  init(secrets: [String] = []) {
    // Very short ones would mask unrelated letters.
    self.secrets = secrets.filter { $0.utf8.count >= 4 }
  }

  func clean(_ text: String) -> String {
    secrets.reduce(Self.withoutUserInfo(text)) { $0.replacing($1, with: "***") }
  }

  /// `mongodb://user:secret@host` → `mongodb://***@host`. Removes everything up to the last `@` of the
  /// word: malformed strings often have a password with an unescaped `@` or `/`.
  static func withoutUserInfo(_ text: String) -> String {
    var result = ""
    var rest = Substring(text)
    while let scheme = rest.firstRange(of: "://") {
      let start = scheme.upperBound
      let end = rest[start...].firstIndex(where: \.isWhitespace) ?? rest.endIndex
      result += rest[..<start]
      if let at = rest[start..<end].lastIndex(of: "@") {
        result += "***"
        rest = rest[at...]
      } else {
        rest = rest[start...]
      }
    }
    return result + rest
  }
}
