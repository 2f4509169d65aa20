package import BridgeConfiguration
import Foundation
package import JSON
import NIOHTTP1
import Oplog
import Synchronization

/// Explains the event at a position. Implemented by what may ask both servers, over connections of its own.
///
/// - Parameters:
///   - configuration: what runs at the moment.
///   - position: `<seconds>.<increment>` or `<seconds>.<increment>.<index>`, examined already.
///   - showsValues: false: the answer quotes nothing of documents.
package typealias PositionExplainer =
  @Sendable (_ configuration: BridgeConfiguration, _ position: String, _ showsValues: Bool)
  async throws(BridgeError) -> JSONValue

/// `/explain`: one question after the other, few of them waiting, none for long. Thread-safe.
///
/// Nothing of it runs on the pipeline's event loop, nor on the HTTP server's. A question whose time is up, or whose
/// client has gone, is cancelled; the next one begins only when it has really ended.
package final class ExplainDesk: Sendable {
  /// Beside the one that is being answered.
  package static let mostWaiting = 4
  /// From the request on.
  package static let limit = Duration.seconds(20)

  private struct State {
    /// The newest question; it waits for the one before it.
    var last: Task<Void, Never>?
    /// Those that have not ended.
    var open = 0
  }
  private let state = Mutex(State())
  private let limit: Duration

  package init(limit: Duration = ExplainDesk.limit) { self.limit = limit }

  /// The position that a query asks for, as its text; nil with the reason where it asks for none.
  package static func position(in query: Substring) -> Result<String, Refusal> {
    var found: String?
    for part in query.split(separator: "&") {
      let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard pair[0] == "position" else {
        return .failure(Refusal("/explain knows position, and nothing else"))
      }
      guard found == nil else { return .failure(Refusal("position is there twice")) }
      found = pair.count > 1 ? String(pair[1]) : ""
    }
    guard let found, !found.isEmpty else {
      return .failure(
        Refusal(
          "say which: /explain?position=<seconds>.<increment>, or <seconds>.<increment>.<index>"))
    }
    // Digits and dots need no escapes, and mean the same with them.
    let text = found.removingPercentEncoding ?? found
    let isPlain = text.utf8.allSatisfy {
      (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || $0 == UInt8(ascii: ".")
    }
    guard isPlain, EventPosition(text) != nil || OplogPosition(text) != nil else {
      return .failure(
        Refusal(
          "this is no position: write <seconds>.<increment>, as 1700000000.3, or <seconds>.<increment>.<index>, as the header Tailrace-Position has it"
        ))
    }
    return .success(text)
  }

  package struct Refusal: Error, Equatable {
    package var text: String
    init(_ text: String) { self.text = text }
  }

  /// Waits for its turn, and for the answer.
  package func answer(_ work: @escaping @Sendable () async -> HTTPPage) async -> HTTPPage {
    let (answers, answer) = AsyncStream.makeStream(
      of: HTTPPage.self, bufferingPolicy: .bufferingOldest(1))
    let job = state.withLock { state -> Task<Void, Never>? in
      guard state.open <= Self.mostWaiting else { return nil }
      state.open += 1
      let previous = state.last
      let job = Task(priority: .utility) {
        await previous?.value
        if !Task.isCancelled { answer.yield(await work()) }
        self.state.withLock { state in
          state.open -= 1
          if state.open == 0 { state.last = nil }
        }
      }
      state.last = job
      return job
    }
    guard let job else { return Self.busy }
    let timer = Task { [limit] in
      guard (try? await Task.sleep(for: limit)) != nil else { return }
      // First: what is cancelled answers, too, and the first answer counts.
      answer.yield(Self.late)
      job.cancel()
    }
    defer { timer.cancel() }
    for await page in answers { return page }
    // Nobody waits any more.
    job.cancel()
    return Self.ended
  }

  private static var busy: HTTPPage {
    var page = HTTPPage.text(
      .serviceUnavailable, "\(mostWaiting + 1) questions are being answered: ask again later\n")
    page.retryAfter = 5
    return page
  }

  private static var late: HTTPPage {
    .text(
      .gatewayTimeout,
      "no answer within \(limit.components.seconds) s; tailrace explain takes the time that it needs\n"
    )
  }

  private static var ended: HTTPPage { .text(.serviceUnavailable, "the bridge is being stopped\n") }
}

extension ExplainDesk {
  /// The page for the server.
  func page(
    _ query: Substring, of service: BridgeService, _ explain: @escaping PositionExplainer
  ) async -> HTTPPage {
    let position: String
    switch Self.position(in: query) {
    case .failure(let refusal): return .text(.badRequest, refusal.text + "\n")
    case .success(let text): position = text
    }
    return await answer {
      let configuration = service.configuration
      do throws(BridgeError) {
        // Only who has the token reads documents.
        return .json(
          .ok, try await explain(configuration, position, configuration.http.token != nil))
      } catch {
        return .text(.serviceUnavailable, "\(error)\n")
      }
    }
  }
}
