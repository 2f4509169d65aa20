import Bridge
import BridgeConfiguration
import Oplog
import Testing

/// A stream of which the checkpoint names no message is deleted and made again, and the bridge publishes on into the new
/// one before it notices: what that holds proves nothing of what was lost with the old one.
@Suite("A stream made again before the checkpoint names a message of it") struct MadeAgainTests {
  /// What is known of the old one.
  private func checkpoint(refillTo: EventPosition?, with halted: OplogPosition? = nil) -> Checkpoint
  {
    var checkpoint = checkpointFound(at: 500, [:])
    var state = Checkpoint.StreamState(created: "c1")
    state.base = 0
    state.refillTo = refillTo
    state.halted = halted
    checkpoint.states["A"] = state
    return checkpoint
  }

  /// The new one, with messages of those events.
  private func stream(_ events: [UInt32], created: String = "c2") -> StreamObservation {
    var stream = streamFound(last: UInt64(events.count), tail: events.last, created: created)
    stream.wasMadeAgain = created != "c1"
    let own = events.enumerated().map { index, seconds in
      StreamObservation.Own(
        sequence: UInt64(index + 1), position: event(seconds), rule: "r", id: "id\(seconds)")
    }
    if stream.wasMadeAgain, !own.isEmpty {
      stream.patchwork = StreamObservation.Patchwork(before: nil, behind: own)
    }
    return stream
  }

  private func plan(_ checkpoint: Checkpoint, _ stream: StreamObservation) throws -> ResumePlan {
    try #require(
      decide(machine(), EpochSituation(checkpoint: checkpoint, streams: [stream])).tail)
  }

  @Test func `what came since the checkpoint is published again, around what the new one has`()
    throws
  {
    let plan = try plan(checkpoint(refillTo: nil), stream([510, 511]))
    #expect(plan.start == entry(500) && plan.watermarks["A"] == nil)
    #expect(plan.held["A"]?.map(\.position) == [event(510), event(511)])
    // So that the next start looks for gaps, too.
    #expect(plan.refilling["A"] == event(511))
    #expect(plan.losses.count == 1 && plan.losses[0].isMadeAgain)
  }

  @Test func `a refill that was under way begins from the origin`() throws {
    for events in [[510, 511], []] as [[UInt32]] {
      let plan = try plan(checkpoint(refillTo: event(505)), stream(events))
      #expect(plan.start == entry(200) && plan.watermarks["A"] == nil)
      #expect(plan.held["A"] ?? [] == stream(events).patchwork?.behind ?? [])
      let to = try #require(plan.refilling["A"])
      #expect(to >= event(505) && to >= event(events.last ?? 0))
      #expect(plan.losses.count == 1)
    }
  }

  @Test func `the same stream, and one that never had anything, lost nothing`() throws {
    let same = try plan(checkpoint(refillTo: event(505)), stream([510], created: "c1"))
    #expect(same.losses.isEmpty && same.start == entry(500))
    #expect(same.watermarks["A"]?.position == event(510))
    let unused = try plan(checkpoint(refillTo: nil), stream([]))
    #expect(unused.losses.isEmpty && unused.start == entry(500) && unused.refilling.isEmpty)
  }

  @Test(arguments: [StreamSpec.OnLoss.halt, .continue])
  func `on_loss decides about it`(_ onLoss: StreamSpec.OnLoss) throws {
    var made = stream([510])
    made.onLoss = onLoss
    let result = try decide(
      machine(), EpochSituation(checkpoint: checkpoint(refillTo: event(505)), streams: [made]))
    if onLoss == .continue {
      #expect(result.tail?.watermarks["A"]?.position == event(510))
    } else {
      // Nothing else is there to be published to.
      #expect(result.tail == nil)
    }
  }
}
