import Synchronization

/// A page that is made ten times in a tenth of a second at most, which is how often the pipeline's numbers change:
/// who asks in a crowd gets the one that was made last. Thread-safe.
package final class RecentPage: Sendable {
  package static let window = Duration.milliseconds(100)
  package static let mostInWindow = 10

  private struct State {
    var began: ContinuousClock.Instant?
    var made = 0
    var last: HTTPPage?
  }
  private let state = Mutex(State())
  private let make: @Sendable () -> HTTPPage

  package init(_ make: @escaping @Sendable () -> HTTPPage) { self.make = make }

  package func page(at now: ContinuousClock.Instant = .now) -> HTTPPage {
    let known = state.withLock { state -> HTTPPage? in
      if state.began.map({ now - $0 >= Self.window }) ?? true {
        state.began = now
        state.made = 0
        state.last = nil
      }
      guard state.made < Self.mostInWindow else { return state.last }
      state.made += 1
      return nil
    }
    if let known { return known }
    let page = make()
    state.withLock { $0.last = page }
    return page
  }
}
