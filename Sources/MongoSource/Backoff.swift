/// How long to wait before the next attempt: doubling, with jitter, so that many clients don't
/// come back to a restarted server all at once. Short, since a refused connection costs little and
/// reading must go on soon after the server's return.
package struct Backoff: Sendable {
  package static let shortest = Duration.milliseconds(20)
  package static let longest = Duration.seconds(1)

  /// Attempts that failed in a row.
  package private(set) var failures = 0

  package init() {}

  /// The pause after one more failure: between half and all of 20 ms, 40 ms, … 1 s.
  package mutating func next(
    using random: inout some RandomNumberGenerator
  ) -> Duration {
    let doubled = Self.shortest * (1 << min(failures, 10))
    failures += 1
    let ceiling = min(doubled, Self.longest)
    return ceiling * Double.random(in: 0.5...1, using: &random)
  }

  package mutating func next() -> Duration {
    var random = SystemRandomNumberGenerator()
    return next(using: &random)
  }

  package mutating func reset() { failures = 0 }
}
