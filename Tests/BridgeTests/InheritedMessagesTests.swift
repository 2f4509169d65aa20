import Bridge
import BridgeConfiguration
import JSON
import MongoSource
import Oplog
import Testing

/// A leader is killed with messages stored and consumed that its checkpoint lacks. The next one writes the
/// checkpoint again, is killed as well, and so on: each has to know how old those messages are.
@Suite struct InheritedMessagesTests {
  /// A work queue that has stored up to 13 and is empty; 10 is in the checkpoint.
  private func emptied(_ window: Int?, last: UInt64 = 13) -> StreamObservation {
    var stream = streamFound(last: last, tail: nil)
    stream.firstSequence = last + 1
    stream.messages = 0
    stream.idsProveFor = window.map { .seconds($0) }
    return stream
  }

  /// What a leader decides that finds `checkpoint`, written `age` seconds ago, and what its own first
  /// checkpoint then says of the stream.
  private func lead(
    _ checkpoint: Checkpoint, age: Int?, window: Int? = 120, _ bridge: EpochMachine = machine(),
    last: UInt64 = 13, hasMarkers: Bool = false
  ) throws -> (plan: ResumePlan, checkpoint: Checkpoint) {
    var stream = emptied(window, last: last)
    stream.hasDeleteMarkers = hasMarkers
    let situation = EpochSituation(checkpoint: checkpoint, streams: [stream])
    let result = try decide(bridge, situation, EpochAnswers(checkpointAge: age))
    let plan = try #require(result.tail)
    var next = checkpoint
    next.isFinal = false
    var state = Checkpoint.StreamState(created: "c1")
    state.uncounted = plan.uncounted["A"] ?? checkpoint.states["A"]?.uncounted
    state.inherited = plan.inherited["A"]
    next.states["A"] = state
    return (plan, try Checkpoint(parsing: next.json.utf8))
  }

  @Test func `a rewritten checkpoint is as old as what it lacks`() throws {
    // The first found a checkpoint older than the ids, and counted; its own is young.
    let first = try lead(checkpointFound(), age: 200)
    #expect(first.plan.unseen["A"]?.count == 3)
    #expect(first.plan.inherited["A"]?.since == moment(-200))
    for age in [1, 60, 500] {
      let second = try lead(first.checkpoint, age: age)
      #expect(second.plan.unseen["A"]?.count == 3, "\(age)")
      #expect(second.plan.toldByIDs.isEmpty && second.plan.remarks.isEmpty)
      #expect(second.plan.inherited["A"]?.since == moment(-200))
      let third = try lead(second.checkpoint, age: 1)
      #expect(third.plan.unseen["A"]?.count == 3 && third.plan.toldByIDs.isEmpty)
    }
  }

  @Test func `what was to be looked up by ids is counted when the ids are forgotten`() throws {
    let first = try lead(checkpointFound(), age: 20)
    #expect(first.plan.unseen.isEmpty && first.plan.toldByIDs == ["A"])
    #expect(first.checkpoint.states["A"]?.inherited?.byIDs == true)
    #expect(first.checkpoint.states["A"]?.uncounted == nil)
    // In time: ids once more. A moment in the past is what counts, not the checkpoint's age.
    let soon = try lead(first.checkpoint, age: 1)
    #expect(soon.plan.unseen.isEmpty && soon.plan.inherited["A"]?.since == moment(-20))
    var late = first.checkpoint
    late.states["A"]?.inherited?.since = moment(-100)
    let second = try lead(late, age: 1)
    #expect(second.plan.unseen["A"]?.count == 3 && second.plan.inherited["A"]?.byIDs == false)
    // Nobody knows since when.
    late.states["A"]?.inherited?.since = nil
    #expect(try lead(late, age: 1).plan.unseen["A"]?.count == 3)
  }

  @Test func `of another stream of the name nothing is inherited`() throws {
    var checkpoint = try lead(checkpointFound(), age: 200).checkpoint
    checkpoint.states["A"]?.created = "before"
    #expect(try lead(checkpoint, age: 1).plan.toldByIDs == ["A"])
  }

  @Test func `servers that report no times leave nothing to ids`() throws {
    let first = try lead(checkpointFound(), age: nil)
    #expect(first.plan.unseen["A"]?.count == 3 && first.plan.inherited["A"]?.since == nil)
    // Upgraded meanwhile.
    #expect(try lead(first.checkpoint, age: 1).plan.unseen["A"]?.count == 3)
  }

  /// A later epoch of the process knows how many it sent, but not how many it found.
  @Test func `within a process what is looked up by ids is no other publisher's`() throws {
    var bridge = machine()
    var young = try lead(checkpointFound(), age: 20).checkpoint
    bridge.began(young)
    bridge.memory.unanswered = ["A": 2]
    let next = try lead(young, age: 1, bridge)
    #expect(next.plan.unseen.isEmpty && next.plan.doubts.isEmpty)
    #expect(next.plan.inherited["A"]?.through == 13 && next.plan.inherited["A"]?.byIDs == true)
    // The ids are forgotten meanwhile: what was found, and nothing behind it.
    young.states["A"]?.inherited?.since = moment(-100)
    let old = try lead(young, age: 1, bridge)
    #expect(old.plan.unseen["A"]?.count == 3 && old.plan.doubts.isEmpty)
  }

  /// A server that restarts forgets the ids of what is gone, and stores the same events once more
  /// (`simulate --seed 5018 --instances 3`): five messages of four events.
  @Test func `what may be there twice is not counted`() throws {
    let first = try lead(checkpointFound(), age: 20).checkpoint
    var late = first
    late.states["A"]?.inherited?.since = moment(-100)
    var bridge = machine()
    bridge.began(late)
    bridge.memory.unanswered = ["A": 2]
    for bridge in [machine(), bridge] {
      // Stored behind those whose ids were asked for.
      let old = try lead(late, age: 1, bridge, last: 15)
      #expect(old.plan.unseen.isEmpty && old.plan.toldByIDs.isEmpty && old.plan.inherited.isEmpty)
      #expect(old.plan.uncounted["A"] == 15 && old.plan.doubts.count == 1)
      // Nor later, by whoever is next.
      let next = try lead(old.checkpoint, age: 1, last: 15)
      #expect(next.plan.unseen.isEmpty && next.plan.doubts.isEmpty)
      // While the server may know ids it is asked once more, and nobody counts them afterwards.
      let soon = try lead(first, age: 1, bridge, last: 15)
      #expect(soon.plan.unseen.isEmpty && soon.plan.doubts.isEmpty)
      #expect(soon.plan.uncounted["A"] == 15 && soon.plan.inherited["A"]?.isInDoubt == true)
      try expectDoubt(behind: soon.checkpoint, last: 15)
      // Those that were found have been met, by their ids: what is behind them is new.
      var met = late
      met.settled = event(530)
      met.states["A"]?.hadTo = event(520)
      met.states["A"]?.hadThrough = 13
      let rest = try lead(met, age: 1, bridge, last: 15)
      #expect(rest.plan.unseen["A"]?.after == 13 && rest.plan.unseen["A"]?.count == 2)
    }
  }

  /// Ids were to tell what nobody can count, and the process ended before it had asked for all of them
  /// (`simulate --seed 5010 --buckets`): whoever comes when the server has forgotten them says what is in doubt.
  private func expectDoubt(behind checkpoint: Checkpoint, last: UInt64) throws {
    var bridge = machine()
    bridge.began(checkpoint)
    bridge.memory.unanswered = ["A": 2]
    for bridge in [machine(), bridge] {
      // Others may have been stored meanwhile.
      for last in [last, last + 2] {
        let soon = try lead(checkpoint, age: 1, bridge, last: last)
        #expect(soon.plan.unseen.isEmpty && soon.plan.doubts.isEmpty)
        #expect(soon.plan.inherited["A"]?.isInDoubt == true)
        #expect(soon.plan.inherited["A"]?.since == checkpoint.states["A"]?.inherited?.since)
        #expect(soon.plan.uncounted["A"] == last)
        var late = checkpoint
        late.states["A"]?.inherited?.since = moment(-100)
        let forgotten = try lead(late, age: 1, bridge, last: last)
        #expect(forgotten.plan.unseen.isEmpty && forgotten.plan.toldByIDs.isEmpty)
        #expect(forgotten.plan.uncounted["A"] == last && forgotten.plan.doubts.count == 1)
      }
    }
    // A message behind them may be of an earlier event whose id the server had forgotten: they are over when all of
    // their events are settled.
    var over = checkpoint
    over.states["A"]?.inherited?.since = moment(-100)
    over.streams["A"]?.sequence = last
    #expect(try lead(over, age: 1, last: last).plan.doubts.count == 1)
    let until = try #require(checkpoint.states["A"]?.inherited?.until)
    over.settled = EventPosition(entry: until, index: .max)
    #expect(try lead(over, age: 1, last: last).plan.doubts.isEmpty)
  }

  /// The next epoch had nothing more to note of them (`EmptiedStreamTests`: an event was lost).
  @Test func `what was met by ids is not counted when its events are settled either`() throws {
    var checkpoint = checkpointFound()
    checkpoint.states["A"] = Checkpoint.StreamState(created: "c1")
    checkpoint.states["A"]?.hadTo = event(500)
    checkpoint.states["A"]?.hadThrough = 12
    checkpoint.settled = event(510)
    let plan = try lead(checkpoint, age: 200).plan
    #expect(plan.unseen["A"]?.after == 12 && plan.unseen["A"]?.count == 1)
  }

  /// While MongoDB is not read, servers forget ids.
  @Test func `how long ids are relied on`() throws {
    let plan = try lead(checkpointFound(), age: 20).plan
    // 120 s of the window, less the 20 that have passed and the 4 of an ack that did not come.
    #expect(plan.reliance?.stream == "A" && plan.reliance?.left == .seconds(96))
    #expect(plan.reliance?.through == plan.inherited["A"]?.until)
    #expect(try lead(checkpointFound(), age: 200).plan.reliance == nil)
    // What is there may be older than a checkpoint by the time that an ack is waited for.
    #expect(try lead(checkpointFound(), age: 5, window: 10).plan.toldByIDs == ["A"])
    #expect(try lead(checkpointFound(), age: 6, window: 10).plan.toldByIDs.isEmpty)
  }

  /// A stop says of other streams only that nothing of the bridge's is behind what is acknowledged.
  @Test func `what is to be met outlives a stop`() throws {
    var checkpoint = try lead(checkpointFound(), age: 20).checkpoint
    checkpoint.isFinal = true
    #expect(try lead(checkpoint, age: 1).plan.toldByIDs == ["A"])
    checkpoint.states["A"]?.inherited = nil
    #expect(try lead(checkpoint, age: 1).plan.toldByIDs.isEmpty)
    #expect(try lead(checkpoint, age: 1).plan.uncounted["A"] == 13)
  }

  /// An epoch asked for ids, and its connection was lost: what it sent may arrive when the server has forgotten them.
  @Test func `a late question is not counted`() throws {
    var checkpoint = try lead(checkpointFound(), age: 20).checkpoint
    #expect(checkpoint.states["A"]?.inherited?.wereSent == false)
    checkpoint = try lead(checkpoint, age: 1).checkpoint
    #expect(checkpoint.states["A"]?.inherited?.wereSent == true)
    // All of them are met and settled; nothing was stored since.
    checkpoint.states["A"]?.hadTo = event(520)
    checkpoint.states["A"]?.hadThrough = 13
    let until = try #require(checkpoint.states["A"]?.inherited?.until)
    checkpoint.states["A"]?.inherited?.since = moment(-200)
    for settled in [event(530), EventPosition(entry: until, index: .max)] {
      checkpoint.settled = settled
      let late = try lead(checkpoint, age: 200, last: 14).plan
      #expect(late.unseen.isEmpty && late.uncounted["A"] == 14 && late.doubts.count == 1)
    }
    // Reported once.
    checkpoint.states["A"]?.uncounted = 14
    #expect(try lead(checkpoint, age: 200, last: 14).plan.doubts.isEmpty)
    // Not behind what the bridge has stored since.
    checkpoint.streams["A"]?.sequence = 14
    #expect(try lead(checkpoint, age: 200, last: 15).plan.unseen["A"]?.count == 1)
  }

  /// Nothing is on its way, and yet the stream's end has messages of events that were not read again.
  @Test func `what is to be met is nobody else's`() throws {
    var checkpoint = try lead(checkpointFound(), age: 20).checkpoint
    checkpoint.note(others: ["A": 13])
    #expect(checkpoint.states["A"]?.uncounted == nil)
    checkpoint.states["A"]?.inherited = nil
    checkpoint.note(others: ["A": 13])
    #expect(checkpoint.states["A"]?.uncounted == 13)
    var mark = PipelineMark(resume: entry(500), origin: checkpoint.origin, lanes: [])
    #expect(checkpoint.canBeFinal(mark))
    mark.unanswered = ["A": 1]
    #expect(!checkpoint.canBeFinal(mark))
    mark.unanswered = ["A": 0]
    mark.hasHeldLeft = true
    #expect(!checkpoint.canBeFinal(mark))
  }

  @Test func `what only ids tell is in doubt when they are forgotten`() throws {
    let first = try lead(checkpointFound(), age: 20, hasMarkers: true)
    #expect(first.plan.unseen.isEmpty && first.plan.doubts.isEmpty)
    #expect(first.plan.toldByIDs == ["A"] && first.plan.uncounted["A"] == 13)
    #expect(first.checkpoint.states["A"]?.inherited?.isInDoubt == true)
    try expectDoubt(behind: first.checkpoint, last: 13)
  }

  /// Duplicates move the resume position, not the last acknowledged message: what they were of is not counted again.
  @Test func `what was met by ids is not counted`() throws {
    var late = try lead(checkpointFound(), age: 20).checkpoint
    late.states["A"]?.inherited?.since = moment(-100)
    func met(_ seconds: UInt32, _ sequence: UInt64, settled: EventPosition) throws -> ResumePlan {
      var checkpoint = late
      checkpoint.settled = settled
      checkpoint.states["A"]?.hadTo = event(seconds)
      checkpoint.states["A"]?.hadThrough = sequence
      return try lead(checkpoint, age: 1).plan
    }
    // All of them, some of them, …
    #expect(try met(510, 13, settled: event(520)).unseen.isEmpty)
    let some = try met(510, 12, settled: event(520)).unseen["A"]
    #expect(some?.after == 12 && some?.count == 1 && some?.isPartlyMet == false)
    // … some of an entry that is read again, or nobody knows which.
    for (settled, sequence) in [(event(510), 12), (event(510), 13), (event(520), 0)]
      as [(EventPosition, UInt64)]
    {
      let again = try met(510, sequence, settled: settled)
      #expect(again.unseen.isEmpty && again.uncounted["A"] == 13 && again.doubts.count == 1)
    }
    // In the same process as well.
    var bridge = machine()
    late.states["A"]?.hadTo = event(510)
    late.states["A"]?.hadThrough = 12
    for (settled, count) in [(event(520), 1), (event(510), nil)] as [(EventPosition, UInt64?)] {
      late.settled = settled
      bridge.began(late)
      bridge.memory.unanswered = ["A": 0]
      let next = try lead(late, age: 1, bridge).plan
      #expect(next.unseen["A"]?.count == count && next.doubts.count == (count == nil ? 1 : 0))
    }
    // Its ids are known still: they tell.
    late.settled = event(510)
    late.states["A"]?.inherited?.since = moment(-20)
    #expect(try lead(late, age: 1).plan.toldByIDs == ["A"])
  }

  /// Messages whose acks were lost with the connection, and an outage longer than the window.
  @Test func `an epoch after a long outage says how old its messages are`() throws {
    var bridge = machine()
    bridge.began(checkpointFound())
    bridge.memory.unanswered = ["A": 3]
    let again = try lead(checkpointFound(), age: 600, bridge)
    #expect(again.plan.unseen["A"]?.count == 3)
    #expect(try lead(again.checkpoint, age: 1).plan.unseen["A"]?.count == 3)
  }
}
