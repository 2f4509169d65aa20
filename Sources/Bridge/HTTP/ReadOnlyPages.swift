import NIOHTTP1

/// The answer to a request, whatever connection it came by.
struct ReadOnlyPages: Sendable {
  var pages: [String: @Sendable () -> HTTPPage]
  var token: @Sendable () -> ReadOnlyRoute.Token

  struct Answer {
    var page: HTTPPage
    var headers = HTTPHeaders()
    /// False for HEAD: only its length is said.
    var withBody = true
  }

  func answer(_ request: HTTPRequestHead) -> Answer {
    let route = ReadOnlyRoute.decide(
      method: request.method.rawValue, target: request.uri,
      authorization: request.headers.first(name: "Authorization"), pages: Set(pages.keys),
      token: token)
    switch route {
    case .page(let path, let withBody):
      return Answer(page: pages[path]?() ?? .text(.notFound, "not found\n"), withBody: withBody)
    case .unknown:
      let here = pages.keys.sorted().joined(separator: " ")
      return Answer(
        page: .text(.notFound, "not found; here are: \(here)\n"), withBody: request.method != .HEAD)
    case .notAllowed:
      return Answer(
        page: .text(.methodNotAllowed, "read-only: GET or HEAD\n"),
        headers: ["Allow": "GET, HEAD"])
    case .unauthorized:
      return Answer(
        page: .text(.unauthorized, "the token is missing or wrong\n"),
        headers: ["WWW-Authenticate": "Bearer"], withBody: request.method != .HEAD)
    case .noToken:
      return Answer(
        page: .text(.serviceUnavailable, "the token's file can't be read\n"),
        withBody: request.method != .HEAD)
    }
  }
}
