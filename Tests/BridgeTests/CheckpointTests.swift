import Bridge
import JSON
import MongoSource
import Oplog
import Testing

@Suite struct CheckpointTests {
  private var sample: Checkpoint {
    Checkpoint(
      bridge: "chat", source: "rs0", instance: "abc", version: 42,
      resume: OplogPosition(seconds: 1_700_000_000, increment: 7), term: 12,
      origin: Checkpoint.Origin(
        position: OplogPosition(seconds: 1_600_000_000, increment: 1), inclusive: true),
      streams: [
        "CHAT": Checkpoint.Stream(
          sequence: 9, id: "rs0:1.2.3",
          position: EventPosition(entry: OplogPosition(seconds: 1, increment: 2), index: 3),
          rule: "message", created: "2026-01-01T00:00:00Z")
      ], configurationHash: "00ff")
  }

  @Test func `what is written is read back`() throws {
    #expect(try Checkpoint(parsing: sample.json.utf8) == sample)
    var other = sample
    other.term = nil
    other.streams = [:]
    other.configurationSince = OplogPosition(seconds: 1_650_000_000, increment: 2)
    #expect(try Checkpoint(parsing: other.json.utf8) == other)
    other.settled = EventPosition(
      entry: OplogPosition(seconds: 1_700_000_000, increment: 7), index: .max)
    var state = Checkpoint.StreamState(created: "2026-01-01T00:00:00Z")
    (state.base, state.searched) = (0, .max)
    state.refillTo = other.settled
    state.halted = other.resume
    state.mayLeaveGaps = true
    (state.hadTo, state.hadThrough) = (other.settled, 12)
    state.inherited = InheritedMessages(
      through: 20, until: other.resume, since: ServerTime(seconds: 1_700_000_000), byIDs: true)
    other.states["CHAT"] = state
    #expect(try Checkpoint(parsing: other.json.utf8) == other)
    for member in [
      "base", "searched", "refill_to", "halted_at", "had_to", "had_through", "inherited",
      "created",
    ] {
      var broken = other.json
      broken["states"]?["CHAT"]?[member] = .bool(true)
      #expect(throws: CheckpointError.self) { try Checkpoint(parsing: broken.utf8) }
    }
    for member in ["through", "until", "since", "by_ids"] {
      var broken = other.json
      broken["states"]?["CHAT"]?["inherited"]?[member] = ["x"]
      #expect(throws: CheckpointError.self) { try Checkpoint(parsing: broken.utf8) }
    }
    other.states["CHAT"]?.inherited?.since = nil
    #expect(try Checkpoint(parsing: other.json.utf8) == other)
  }

  @Test func `a snapshot that continues, and one that is over`() throws {
    let place = ResumePoint(position: OplogPosition(seconds: 1_700_000_000, increment: 7), term: 3)
    var going = sample
    going.snapshot = Checkpoint.Snapshot(at: place)
    #expect(try Checkpoint(parsing: going.json.utf8) == going)
    var over = going
    over.snapshot?.marker = nil
    let read = try Checkpoint(parsing: over.json.utf8)
    #expect(read.snapshot?.isOver == true)
    #expect(read.snapshot?.point == place)
    // One whose marker can't be read must not pass for one that is over.
    for member in ["marker", "floor"] {
      var broken = going.json
      broken["snapshot"]?[member] = nil
      #expect(throws: CheckpointError.self) { try Checkpoint(parsing: broken.utf8) }
    }
  }

  @Test func `every missing or broken member is an error, never a fresh start`() throws {
    let whole = sample.json
    for member in whole.objectValue ?? [] where member.key != "term" && member.key != "streams" {
      var broken = whole
      broken[member.key] = nil
      #expect(throws: CheckpointError.self) { try Checkpoint(parsing: broken.utf8) }
      broken[member.key] = .bool(true)
      #expect(throws: CheckpointError.self) { try Checkpoint(parsing: broken.utf8) }
    }
    for text in ["", "{}", "null", "{\"format\":2}"] {
      #expect(throws: CheckpointError.self) { try Checkpoint(parsing: Array(text.utf8)) }
    }
  }
}
