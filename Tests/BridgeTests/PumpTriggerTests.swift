import Bridge
import Synchronization
import Testing

/// The service wakes its pipeline by one trigger for as long as it runs.
@Suite("Waking the pipeline") struct PumpTriggerTests {
  /// How deep the stack is where the action runs.
  private final class Depth: Sendable {
    let address = Atomic<UInt>(0)

    func note() {
      var here = 0
      withUnsafePointer(to: &here) { place in
        address.store(UInt(bitPattern: place), ordering: .relaxed)
      }
    }
  }

  @Test func `every wake-up costs as much as the first`() {
    let trigger = PumpTrigger()
    let depth = Depth()
    trigger.set { depth.note() }
    trigger.fire()
    let first = depth.address.load(ordering: .relaxed)
    for _ in 0..<2_000 { trigger.fire() }
    let last = depth.address.load(ordering: .relaxed)
    #expect(first > 0)
    #expect(max(first, last) - min(first, last) < 4_096)
  }

  @Test func `the newest action is called, and nothing before there is one`() {
    let trigger = PumpTrigger()
    trigger.fire()
    let calls = Mutex<[Int]>([])
    trigger.set { calls.withLock { $0.append(1) } }
    trigger.fire()
    trigger.set { calls.withLock { $0.append(2) } }
    trigger.fire()
    #expect(calls.withLock { $0 } == [1, 2])
  }
}
