/// Exponential backoff with jitter. Short: a refused connection costs little, and work must resume soon
/// after the server is back.
package struct Backoff: Sendable {
  package static let shortest = Duration.milliseconds(20)
  private let longest: Duration

  /// Consecutive failed attempts.
  package private(set) var failures = 0

  package init(longest: Duration = .seconds(1)) { self.longest = longest }

  /// The pause after another failure: between 50 and 100 % of 20 ms, 40 ms, … `longest`.
  package mutating func next(
    using random: inout some RandomNumberGenerator
  ) -> Duration {
    let doubled = Self.shortest * (1 << min(failures, 10))
    failures += 1
    let ceiling = min(doubled, longest)
    return ceiling * Double.random(in: 0.5...1, using: &random)
  }

  package mutating func next() -> Duration {
    var random = SystemRandomNumberGenerator()
    return next(using: &random)
  }

  package mutating func reset() { failures = 0 }
}
