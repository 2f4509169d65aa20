import Bridge
import Testing

@Suite("Whether an error ends the run")
struct RunDecisionTests {
  @Test("what is wrong at the start ends it; the same later is retried")
  func decisions() {
    let table: [(BridgeError, atStart: RunDecision, later: RunDecision)] = [
      (.configuration("sealed"), .end, .retry), (.unavailable("no server"), .end, .retry),
      (.positionLost("gone"), .end, .end), (.halted("a rule says so"), .end, .end),
      (.displaced("another instance"), .end, .end),
    ]
    for (error, atStart, later) in table {
      #expect(RunDecision.after(error, hasSucceeded: false) == atStart, "\(error)")
      #expect(RunDecision.after(error, hasSucceeded: true) == later, "\(error)")
    }
  }
}

@Suite("Routes of the read-only server")
struct ReadOnlyRouteTests {
  private let pages: Set<String> = ["/", "/livez", "/healthz", "/readyz", "/status", "/metrics"]

  private func decide(
    _ method: String, _ target: String, _ authorization: String? = nil,
    token: ReadOnlyRoute.Token = .none
  ) -> ReadOnlyRoute {
    ReadOnlyRoute.decide(
      method: method, target: target, authorization: authorization, pages: pages, token: { token })
  }

  @Test("GET and HEAD on every path, nothing else on any")
  func methods() {
    for page in pages {
      #expect(decide("GET", page) == .page(page, withBody: true))
      #expect(decide("HEAD", page) == .page(page, withBody: false))
      for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "CONNECT", "X"] {
        #expect(decide(method, page) == .notAllowed, "\(method) \(page)")
      }
    }
    #expect(decide("GET", "/status?pretty=1") == .page("/status", withBody: true))
    #expect(decide("GET", "/status/") == .page("/status", withBody: true))
    for target in ["/nothing", "", "///", "/livez/x", "/LIVEZ", "*", "/../status"] {
      #expect(decide("GET", target) == .unknown, "\(target)")
      #expect(decide("POST", target) == .unknown, "\(target)")
    }
  }

  @Test("a token guards everything but what orchestrators ask")
  func tokens() {
    let token = ReadOnlyRoute.Token.required("s3cret")
    for page in ["/livez", "/readyz", "/healthz"] {
      #expect(decide("GET", page, token: token) == .page(page, withBody: true))
      #expect(decide("GET", page, token: .unreadable) == .page(page, withBody: true))
    }
    for page in ["/", "/status", "/metrics"] {
      #expect(decide("GET", page, token: .unreadable) == .noToken)
      for wrong in [
        nil, "", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3cret1", "Basic s3cret",
        "s3cret", "Bearer S3CRET",
      ] {
        #expect(decide("GET", page, wrong, token: token) == .unauthorized, "\(wrong ?? "-")")
      }
      for right in ["Bearer s3cret", "bearer s3cret", "Bearer  s3cret"] {
        #expect(decide("HEAD", page, right, token: token) == .page(page, withBody: false))
      }
    }
  }
}
