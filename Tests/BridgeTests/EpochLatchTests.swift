import Bridge
import Synchronization
import Testing

/// Work that must not outlast its epoch: a checkpoint whose answer is missing for the reason that ended it.
@Suite struct EpochLatchTests {
  @Test func resultAndError() async throws {
    struct Refused: Error {}
    let latch = EpochLatch()
    #expect(try await latch.unlessOver { 7 } == 7)
    await #expect(throws: Refused.self) { try await latch.unlessOver { throw Refused() } }
    // Work that is over leaves nothing behind that the end could meet.
    latch.end()
  }

  @Test func endReleasesWhoWaits() async throws {
    let latch = EpochLatch()
    let cancelled = Mutex(false)
    async let waiting = latch.unlessOver {
      do {
        try await Task.sleep(for: .seconds(600))
      } catch {
        cancelled.withLock { $0 = true }
      }
      return 7
    }
    try await Task.sleep(for: .milliseconds(20))
    latch.end()
    #expect(try await waiting == nil)
    while !cancelled.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(1)) }
  }

  @Test func overBeforehand() async throws {
    let latch = EpochLatch()
    latch.end()
    latch.end()
    let began = ContinuousClock.now
    let answer: Int? = try await latch.unlessOver {
      try await Task.sleep(for: .seconds(600))
      return 7
    }
    #expect(answer == nil)
    #expect(ContinuousClock.now - began < .seconds(300))
  }
}
