import SimulatedJetStream
import Testing

/// Pipelines on three replicas, where real servers' answers depend on what happens to be under way: the model
/// behaves as was measured on 2.15.1.
@Suite struct ReplicatedStreamTests {
  private let server: SimulatedServer
  private let stream: SimulatedStream

  init() throws {
    server = SimulatedServer(ServerVersion(2, 15, 1), isClustered: true)
    server.commitsAtOnce = false
    var settings = StreamConfiguration(name: "T", subjects: ["t.>"])
    settings.replicas = 3
    settings.allowAtomic = true
    settings.allowBatched = true
    settings.allowDirect = true
    _ = try server.createStream(settings)
    stream = try server.stream(named: "T")
  }

  private func publish(_ number: Int, _ headers: String..., reply: String? = nil) {
    let block =
      headers.isEmpty ? "" : "NATS/1.0\r\n" + headers.joined(separator: "\r\n") + "\r\n\r\n"
    server.receive(
      Publication(
        "t.a", reply: ReplyTo(subject: reply ?? "\(number)"), headers: Array(block.utf8),
        payload: Array("\(number)".utf8)))
  }

  private var stored: [String] {
    stream.store.messages.map { String(decoding: $0.payload, as: UTF8.self) }
  }

  private func refusals() -> [Int] {
    server.outputs.compactMap { output in
      if case .refused(_, let refusal) = output.answer { return refusal.code }
      return nil
    }
  }

  @Test func `a message is acknowledged when it is committed`() {
    for number in 1...3 { publish(number) }
    #expect(server.outputs.isEmpty)
    #expect(stream.store.count == 0)
    stream.commit(2)
    #expect(
      server.outputs.map(\.answer) == [1, 2].map { .stored(stream: "T", sequence: $0, batch: nil) })
    #expect(stream.proposalCount == 1)
  }

  @Test func `a chain is taken as a pipeline`() {
    for number in 0..<1000 { publish(number, "Nats-Expected-Last-Sequence: \(number)") }
    stream.commit()
    #expect(stream.store.count == 1000)
    #expect(refusals().isEmpty)
  }

  @Test func `a subject's sequence can't be asserted while another message of it is under way`() {
    for number in 0..<5 { publish(number, "Nats-Expected-Last-Subject-Sequence: \(number)") }
    stream.commit()
    #expect(stored == ["0"])
    #expect(refusals() == [10164, 10164, 10164, 10164])
  }

  @Test func `an id under way is neither a duplicate nor stored twice`() {
    publish(1, "Nats-Msg-Id: a")
    publish(2, "Nats-Msg-Id: a")
    #expect(refusals() == [10158])
    stream.commit()
    publish(3, "Nats-Msg-Id: a")
    #expect(server.outputs.last?.answer == .duplicate(stream: "T", sequence: 1, batch: nil))
  }

  @Test func `a leader change in a plain pipeline leaves a hole, in a chain none`() {
    for number in 1...6 { publish(number) }
    stream.commit(2)
    stream.changeLeader(keeping: 1)
    publish(7)
    stream.commit()
    #expect(stored == ["1", "2", "3", "7"])

    for number in 4...8 { publish(number, "Nats-Expected-Last-Sequence: \(number)") }
    stream.changeLeader(keeping: 2)
    for number in 9...10 { publish(number, "Nats-Expected-Last-Sequence: \(number)") }
    stream.commit()
    #expect(stored == ["1", "2", "3", "7", "4", "5"])
    #expect(refusals() == [10071, 10071])
  }

  @Test func `what survives a leader change may be acknowledged or not`() {
    publish(1)
    publish(2)
    stream.changeLeader(keeping: 1)
    #expect(server.outputs.isEmpty)
    #expect(stored == ["1"])
    publish(3)
    stream.changeLeader(keeping: 1, answering: true)
    #expect(server.outputs.map(\.answer) == [.stored(stream: "T", sequence: 2, batch: nil)])
  }

  @Test func `an atomic batch survives whole or not at all`() {
    func batch(_ id: String) {
      publish(1, "Nats-Batch-Id: \(id)", "Nats-Batch-Sequence: 1")
      publish(2, "Nats-Batch-Id: \(id)", "Nats-Batch-Sequence: 2", "Nats-Batch-Commit: 1")
    }
    batch("x")
    #expect(stream.proposalCount == 1)
    stream.changeLeader()
    #expect(stream.store.count == 0)
    batch("y")
    stream.changeLeader(keeping: 1)
    #expect(stored == ["1", "2"])
  }

  @Test func `a fast batch continues behind what a new leader has stored`() {
    func fast(_ sequence: Int, _ operation: Int) {
      publish(sequence, reply: "in.f.1.fail.\(sequence).\(operation).$FI")
    }
    for sequence in 1...5 { fast(sequence, sequence == 1 ? 0 : 1) }
    stream.commit(2)
    server.outputs = []
    stream.changeLeader(keeping: 1)
    #expect(server.outputs.map(\.answer) == [.flow(sequence: 3, every: 1)])
    fast(6, 1)
    #expect(
      server.outputs.last?.answer
        == .stored(stream: "T", sequence: 3, batch: .init(id: "f", count: 3)))
    #expect(server.outputs.dropLast().last?.answer == .gap(expected: 4, current: 6))
    #expect(stored == ["1", "2", "3"])
  }

  @Test func `a purge goes up to what was stored when it was asked for`() {
    publish(1)
    stream.commit()
    publish(2)
    server.receive(Publication("$JS.API.STREAM.PURGE.T", reply: ReplyTo(subject: "p")))
    publish(3)
    stream.commit()
    #expect(stored == ["2", "3"])
    #expect(server.outputs.contains { $0.answer == .purged(1) })
  }

  @Test func `a follower that lags answers direct gets from what it has`() {
    stream.replicas?.setLag(0, true)
    for number in 1...3 { publish(number) }
    stream.commit()
    func last(_ replica: Int) -> Answer? {
      server.directGet(
        Publication("$JS.API.DIRECT.GET.T.t.a", reply: ReplyTo(subject: "g")), stream: "T",
        subject: "t.a",
        replica: replica)
      return server.outputs.last?.answer
    }
    guard case .direct(_, let newest)? = last(0) else {
      return #expect(Bool(false), "the leader has it")
    }
    #expect(newest.sequence == 3)
    #expect(last(1) == .directFailed(status: 404, "Message Not Found"))
    stream.replicas?.catchUp(0, 2)
    guard case .direct(_, let older)? = last(1) else { return #expect(Bool(false), "it has two") }
    #expect(older.sequence == 2)
  }

  @Test func `an unsynced crash loses acknowledged messages and their ids`() {
    for number in 1...4 { publish(number, "Nats-Msg-Id: \(number)") }
    stream.commit()
    stream.crash(losing: 2)
    #expect(stored == ["1", "2"])
    #expect(stream.lastSequence == 2)
    server.outputs = []
    publish(2, "Nats-Msg-Id: 2")
    publish(3, "Nats-Msg-Id: 3")
    stream.commit()
    #expect(
      server.outputs.map(\.answer) == [
        .duplicate(stream: "T", sequence: 2, batch: nil),
        .stored(stream: "T", sequence: 3, batch: nil),
      ])
  }
}
