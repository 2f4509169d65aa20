/// In which order servers are tried, and how far apart: a pure value.
///
/// The configured ones come first; those that a cluster has announced are its guesses of addresses
/// that may be reachable from here, and often are not. No address waits for the timeout of another:
/// the next one begins when the last has failed, or after a short while.
package struct ConnectOrder: Sendable {
  /// Announced servers tried in one `connect`: which ones is random, so all have their turn.
  package static let maximumDiscovered = 32
  /// Attempts that run at the same time.
  package static let maximumConcurrent = 64

  /// Before a server that has failed is tried again beside the others.
  package static let rest = Duration.milliseconds(250)

  /// Each address once.
  package let candidates: [NATSServerAddress]
  /// How long an attempt has before the next one begins beside it.
  package let stagger: Duration

  /// - Parameter timeout: of one attempt. All have begun within it, so that everything has ended
  ///   after two of them.
  package init(
    configured: [NATSServerAddress], discovered: [NATSServerAddress], shuffle: Bool,
    stagger: Duration, timeout: Duration, using random: inout some RandomNumberGenerator
  ) {
    var seen: Set<NATSServerAddress> = []
    var candidates: [NATSServerAddress] = []
    let first = shuffle ? configured.shuffled(using: &random) : configured
    for address in first where seen.insert(address).inserted { candidates.append(address) }
    let endpoints = Set(candidates.map(\.endpoint))
    let others = discovered.filter { !endpoints.contains($0.endpoint) }.shuffled(using: &random)
    for address in others.prefix(Self.maximumDiscovered) where seen.insert(address).inserted {
      candidates.append(address)
    }
    self.candidates = candidates
    self.stagger = min(stagger, timeout / max(candidates.count, 1))
  }
}
