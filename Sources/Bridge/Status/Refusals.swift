package import Oplog

/// What the NATS side refuses at present, in the servers' words: kept from its first occurrence until
/// the bridge has come past it, also while there is no connection. Pure.
package struct Refusals: Sendable {
  /// Whom it concerns.
  package enum Scope: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// Connecting, and staying connected.
    case nats
    /// What has to be done before anything can be published, and the acks' way back.
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
    /// Where the oldest unsettled event was.
    var frontier: EventPosition?
    /// So that its end is logged if its beginning was.
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
  /// … or if it was over for once, after this.
  static let flapping = Duration.seconds(10)

  private var present: [Scope: Refusal] = [:]
  /// Causes that were logged: when, and how often they were met since.
  private var logged: [Cause: (at: ContinuousClock.Instant, times: Int)] = [:]

  private struct Cause: Hashable {
    var scope: Scope
    var gist: String
  }

  package init() {}

  package var all: [Refusal] { present.values.sorted { $0.scope < $1.scope } }

  package subscript(scope: Scope) -> Refusal? { present[scope] }

  /// Takes a refusal down. Returns how often it was met since it was last logged, if it has to be
  /// logged now: a cause that repeats is logged once a minute.
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

  /// Forgets what is over, and returns what of it was logged: an event that was refused is settled, or
  /// nothing is unsettled and the streams have been open for a while.
  ///
  /// `publishing`: for how many seconds the present epoch has; nil: it doesn't.
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

  /// Without its numbers, which differ each time, and without what is quoted.
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
