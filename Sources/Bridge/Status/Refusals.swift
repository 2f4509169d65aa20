package import Oplog

/// The present refusals of the NATS side, as the servers word them: kept from the first occurrence until the
/// bridge is past them, even without a connection. Pure.
package struct Refusals: Sendable {
  /// The part that it concerns.
  package enum Scope: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// Connecting, and staying connected.
    case nats
    /// Preparations before publishing, and the acks.
    case jetStream
    case stream(String)
    case checkpoint

    package var description: String {
      switch self {
      case .nats: "NATS"
      case .jetStream: "JetStream"
      case .stream(let name): "stream \(name)"
      case .checkpoint: "checkpoint"
      }
    }
  }

  package struct Refusal: Sendable, Equatable {
    package var scope: Scope
    /// The latest, as the server put it.
    package var reason: String
    /// JetStream's `err_code`, or 0.
    package var code: Int
    package var since: ContinuousClock.Instant
    package var count: Int
    /// The position of the oldest unsettled event.
    var frontier: EventPosition?
    /// Whether its beginning was logged, so that its end is, too.
    var wasLogged = false

    package init(
      scope: Scope, reason: String, code: Int = 0, since: ContinuousClock.Instant, count: Int = 1
    ) {
      self.scope = scope
      self.reason = reason
      self.code = code
      self.since = since
      self.count = count
    }
  }

  /// The same cause is logged again after this long.
  static let logEvery = Duration.seconds(60)
  /// … or, if it was over in between, after this.
  static let flapping = Duration.seconds(10)

  private var present: [Scope: Refusal] = [:]
  /// Logged causes: when, and how often they occurred since.
  private var logged: [Cause: (at: ContinuousClock.Instant, times: Int)] = [:]

  private struct Cause: Hashable {
    var scope: Scope
    var gist: String
  }

  package init() {}

  package var all: [Refusal] { present.values.sorted { $0.scope < $1.scope } }

  package subscript(scope: Scope) -> Refusal? { present[scope] }

  /// Records a refusal. Returns how often it occurred since it was last logged, if it has to be logged now: a
  /// repeated cause is logged once a minute.
  package mutating func note(
    _ scope: Scope, _ reason: String, code: Int = 0, frontier: EventPosition?,
    at now: ContinuousClock.Instant
  ) -> Int? {
    var refusal = present[scope] ?? Refusal(scope: scope, reason: "", since: now, count: 0)
    refusal.reason = reason
    refusal.code = code
    refusal.count += 1
    refusal.frontier = frontier
    present[scope] = refusal
    let cause = Cause(scope: scope, gist: Self.gist(reason))
    let times = (logged[cause]?.times ?? 0) + 1
    if let before = logged[cause], now - before.at < Self.logEvery {
      logged[cause] = (before.at, times)
      return nil
    }
    if logged.count >= 64 { logged = logged.filter { now - $0.value.at < Self.logEvery } }
    if logged.count < 64 { logged[cause] = (now, 0) }
    present[scope]?.wasLogged = true
    return times
  }

  /// Removes refusals that are over, and returns those that were logged: the refused event is settled, or
  /// nothing is unsettled and the streams have been open for a while.
  ///
  /// `publishing`: for how many seconds the present epoch has been publishing; nil: it isn't.
  package mutating func clear(
    frontier: EventPosition?, isUnsettled: Bool, publishing seconds: Double?,
    at now: ContinuousClock.Instant
  ) -> [Refusal] {
    guard !present.isEmpty else { return [] }
    let settledIn = (seconds ?? 0) >= 1
    let over = present.values.filter { refusal in
      if let frontier, refusal.frontier.map({ frontier > $0 }) ?? true, seconds != nil {
        return true
      }
      switch refusal.scope {
      case .nats, .jetStream: return settledIn
      case .stream, .checkpoint: return settledIn && !isUnsettled
      }
    }
    for refusal in over {
      present[refusal.scope] = nil
      logged = logged.filter { $0.key.scope != refusal.scope || now - $0.value.at < Self.flapping }
    }
    return over.filter(\.wasLogged).sorted { $0.scope < $1.scope }
  }

  /// Without numbers, which differ each time, and quoted parts.
  static func gist(_ reason: String) -> String {
    var text = ""
    var quoted = false
    for character in reason {
      if character == "\"" {
        quoted.toggle()
      } else if !quoted, !character.isNumber {
        text.append(character)
      }
    }
    return text
  }
}
