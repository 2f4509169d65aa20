/// What a request to a read-only server gets, as a pure value.
package enum ReadOnlyRoute: Sendable, Equatable {
  /// The page at this path; for HEAD without its body.
  case page(String, withBody: Bool)
  /// 404
  case unknown
  /// 405: everything is read-only.
  case notAllowed
  /// 401: the token is missing or wrong.
  case unauthorized
  /// 503: a token is required, but its file can't be read.
  case noToken

  /// What a request for a protected page must present.
  package enum Token: Sendable, Equatable {
    case none
    case required(String)
    case unreadable
  }

  /// For orchestrators, which have no token.
  package static let open: Set<String> = ["/livez", "/readyz", "/healthz"]

  /// - Parameters:
  ///   - target: the request's target; its query is ignored.
  ///   - authorization: the header's value.
  ///   - token: read only where it is needed.
  package static func decide(
    method: String, target: String, authorization: String?, pages: Set<String>,
    token: () -> Token
  ) -> ReadOnlyRoute {
    let path = path(target)
    guard pages.contains(path) else { return .unknown }
    guard method == "GET" || method == "HEAD" else { return .notAllowed }
    if !open.contains(path) {
      switch token() {
      case .none: break
      case .unreadable: return .noToken
      case .required(let wanted):
        guard let given = authorization.flatMap(bearer), matches(given, wanted) else {
          return .unauthorized
        }
      }
    }
    return .page(path, withBody: method == "GET")
  }

  /// Without query, and without a slash at the end.
  private static func path(_ target: String) -> String {
    let path = target.prefix { $0 != "?" && $0 != "#" }
    return path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : String(path)
  }

  /// Behind the question mark; empty without one.
  package static func query(_ target: String) -> Substring {
    let target = target.prefix { $0 != "#" }
    return target.firstIndex(of: "?").map { target[target.index(after: $0)...] } ?? ""
  }

  private static func bearer(_ header: String) -> Substring? {
    guard let blank = header.firstIndex(of: " "), header[..<blank].lowercased() == "bearer" else {
      return nil
    }
    return header[blank...].drop { $0 == " " }
  }

  /// Takes the same time for any text of the same length.
  private static func matches(_ given: Substring, _ wanted: String) -> Bool {
    let given = Array(given.utf8)
    let wanted = Array(wanted.utf8)
    guard given.count == wanted.count else { return false }
    return zip(given, wanted).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
  }
}
