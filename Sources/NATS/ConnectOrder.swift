/// The order and interval of connection attempts. A pure value.
///
/// Configured servers come first: addresses that a cluster announces are often not reachable from here.
/// No attempt waits for another's timeout: the next one starts after a failure or a short interval.
package struct ConnectOrder: Sendable {
  /// Maximum number of announced servers per `connect`, selected at random.
  package static let maximumDiscovered = 32
  /// Maximum number of concurrent attempts.
  static let maximumConcurrent = 64

  /// The pause before a failed server is retried while other attempts are running.
  package static let rest = Duration.milliseconds(250)

  /// Each address once.
  package let candidates: [NATSServerAddress]
  /// The interval between the starts of two attempts.
  package let stagger: Duration

  /// - Parameter timeout: of one attempt. All attempts start within it, so all end within twice this time.
  package init(
    configured: [NATSServerAddress], discovered: [NATSServerAddress], shuffle: Bool,
    stagger: Duration, timeout: Duration, using random: inout some RandomNumberGenerator
  ) {
    // A copy: the thread sanitizer of Swift 6.3 crashes on the address of a generator without properties.
    var generator = random
    defer { random = generator }
    var seen: Set<NATSServerAddress> = []
    var candidates: [NATSServerAddress] = []
    let first = shuffle ? configured.shuffled(using: &generator) : configured
    for address in first where seen.insert(address).inserted { candidates.append(address) }
    let endpoints = Set(candidates.map(\.endpoint))
    let others = discovered.filter { !endpoints.contains($0.endpoint) }.shuffled(using: &generator)
    for address in others.prefix(Self.maximumDiscovered) where seen.insert(address).inserted {
      candidates.append(address)
    }
    self.candidates = candidates
    self.stagger = min(stagger, timeout / max(candidates.count, 1))
  }
}
