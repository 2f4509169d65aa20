import NIOHTTP1

/// The answer to a request, whatever connection it came by.
struct ReadOnlyPages: Sendable {
  var pages: [String: @Sendable () -> HTTPPage]
  /// Those that take time; they are given the request's query.
  var slowPages: [String: SlowPage] = [:]
  var token: @Sendable () -> ReadOnlyRoute.Token

  struct Answer {
    var page: HTTPPage
    var headers = HTTPHeaders()
    /// False for HEAD: only its length is said.
    var withBody = true
  }

  enum Reply {
    case now(Answer)
    /// Not on the server's event loop. Cancelled, it ends soon.
    case later(@Sendable () async -> HTTPPage, withBody: Bool)
  }

  func reply(_ request: HTTPRequestHead) -> Reply {
    let route = route(request)
    guard case .page(let path, let withBody) = route, let page = slowPages[path] else {
      return .now(answer(request, route))
    }
    let query = ReadOnlyRoute.query(request.uri)
    return .later({ await page(query) }, withBody: withBody)
  }

  private func route(_ request: HTTPRequestHead) -> ReadOnlyRoute {
    ReadOnlyRoute.decide(
      method: request.method.rawValue, target: request.uri,
      authorization: request.headers.first(name: "Authorization"),
      pages: Set(pages.keys).union(slowPages.keys), token: token)
  }

  private func answer(_ request: HTTPRequestHead, _ route: ReadOnlyRoute) -> Answer {
    switch route {
    case .page(let path, let withBody):
      return Answer(page: pages[path]?() ?? .text(.notFound, "not found\n"), withBody: withBody)
    case .unknown:
      let here = Set(pages.keys).union(slowPages.keys).sorted().joined(separator: " ")
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
