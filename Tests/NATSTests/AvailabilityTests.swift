import TestServers
import Testing

/// Skipped tests that show which servers are not available.
@Suite("Servers to test against")
struct AvailabilityTests {
  private func version(_ version: String) throws -> String {
    try run(#require(ServerBinary.path(version)), ["--version"]).output
  }

  @Test(.enabled(if: ServerBinary.path("2.9.10") != nil, "nats-server 2.9.10 cannot be had here"))
  func server2_9() throws { #expect(try version("2.9.10").contains("2.9.10")) }

  @Test(.enabled(if: ServerBinary.path("2.10.26") != nil, "nats-server 2.10.26 cannot be had here"))
  func server2_10() throws { #expect(try version("2.10.26").contains("2.10.26")) }

  @Test(.enabled(if: ServerBinary.path("2.12.8") != nil, "nats-server 2.12.8 cannot be had here"))
  func server2_12() throws { #expect(try version("2.12.8").contains("2.12.8")) }

  @Test(.enabled(if: ServerBinary.path("2.15.1") != nil, "nats-server 2.15.1 cannot be had here"))
  func server2_15() throws { #expect(try version("2.15.1").contains("2.15.1")) }
}

extension Trait where Self == ConditionTrait {
  /// For tests with only the newest server.
  static var newestServer: Self {
    .enabled(
      if: ServerBinary.path(ServerBinary.newest) != nil,
      "nats-server \(ServerBinary.newest) is not available")
  }
}
