import BSON
import Logging
import MongoSource
import Oplog
import TestRandom
import Testing

/// What a reader does in which situation, without a server.
@Suite struct OplogTailMachineTests {
  /// Something that happens, and what the machine then wants. Expectations are in the words of `Shown`.
  struct Situation: CustomTestStringConvertible, Sendable {
    enum Input: Sendable {
      case answer(OplogTailMachine.Answer)
      case passes(Duration)
      case superseded
    }

    var testDescription: String
    var resume = Reply.point(5, 1)
    var errors: OplogTailMachine.DeliberateErrors = []
    var options = MongoSourceOptions(uri: "mongodb://a")
    var course: [(Input, String)] = []

    init(_ name: String, _ course: (Input, String)...) {
      testDescription = name
      self.course = course
    }

    init(_ name: String, from start: [(Input, String)], _ course: (Input, String)...) {
      testDescription = name
      self.course = start + course
    }

    func with(_ change: (inout Situation) -> Void) -> Situation {
      var situation = self
      change(&situation)
      return situation
    }
  }

  @Test(arguments: Self.situations)
  func theMachineWants(_ situation: Situation) {
    var machine = OplogTailMachine(
      from: situation.resume, generation: 3, settings: .init(situation.options),
      random: SeededRandom(seed: 1))
    machine.errors = situation.errors
    var now = ContinuousClock.now
    for (number, (input, expected)) in situation.course.enumerated() {
      switch input {
      case .passes(let duration): now = now.advanced(by: duration)
      case .superseded: machine.supersede()
      case .answer(let answer):
        let step = machine.next(answer, now: now)
        #expect(Shown.step(step) == expected, "step \(number)")
        for case .replied(_, let time) in step.notes { #expect(time == now) }
      }
    }
  }

  static let begin = (Situation.Input.answer(.begin), "connect")
  static let toFind: [(Situation.Input, String)] = [
    begin,
    (.answer(.connected(host: "a:1", isInitiated: true, unsupported: nil)), "host a:1; session"),
    (.answer(.done), "find 5.1 majority 100"),
  ]
  /// The entry at the resume position is queued.
  static let toReading: [(Situation.Input, String)] =
    toFind + [
      (reply([(5, 1)]), "deliver 1 to 5.1, last"),
      (.answer(.done), "getMore 42 1000"),
    ]
  static func reply(
    _ entries: [(UInt32, UInt32)] = [], term: Int64 = 7, cursor: Int64 = 42
  ) -> Situation.Input {
    .answer(.reply(Reply.make(entries, term: term, cursor: cursor)))
  }
  static func error(
    _ domain: MongoError.Domain = .network, code: UInt32 = 0, isTransient: Bool = true
  ) -> Situation.Input {
    .answer(
      .error(
        MongoError(
          domain: domain, code: code, message: "m", place: "p", isTransient: isTransient)))
  }
  static let reopens =
    "disconnect; reopening 1; warning: MongoDB: p: m (network); reopening the oplog at "
    + "5.1 (term 7), with retries; pause 20"
  static let ends =
    "disconnect; reopening 1; warning: MongoDB: getMore on local.oplog.rs at a:1: the server closed "
    + "the cursor (reply); reopening the oplog at"

  static let situations = opening + verifying + reading + interruptions + superseding + deliberate

  /// Batches hold what the server sent, under the reader's generation.
  @Test func batchesHoldTheReply() throws {
    var machine = OplogTailMachine(
      from: Reply.point(5, 1), generation: 3, settings: .init(MongoSourceOptions(uri: "")))
    let now = ContinuousClock.now
    _ = machine.next(.begin, now: now)
    _ = machine.next(.connected(host: "a", isInitiated: true, unsupported: nil), now: now)
    _ = machine.next(.done, now: now)
    let step = machine.next(.reply(Reply.make([(5, 1), (5, 2)])), now: now)
    guard case .deliver(let batch, _) = step.request else {
      Issue.record("\(step)")
      return
    }
    #expect(batch.generation == 3)
    #expect(batch.operationTime == OplogPosition(seconds: 900, increment: 1))
    #expect(batch.last == Reply.point(5, 2))
    #expect(machine.resume == batch.last)
    try withExtendedLifetime(batch) {
      var entries = batch.entries()
      var points: [ResumePoint] = []
      while let element = try entries.next() {
        points.append(try #require(try ResumePoint(BSONView(element.value))))
      }
      #expect(points == [Reply.point(5, 1), Reply.point(5, 2)])
    }
  }

  @Test func pausesGrow() {
    var machine = OplogTailMachine(
      from: Reply.point(5, 1), generation: 1, settings: .init(MongoSourceOptions(uri: "")))
    let error = MongoError(domain: .network, message: "m", place: "p", isTransient: true)
    var pauses: [String] = []
    var step = machine.next(.begin, now: .now)
    for _ in 0..<8 {
      step = machine.next(.error(error), now: .now)
      pauses.append(Shown.request(step.request))
      step = machine.next(.done, now: .now)
    }
    // The longest pauses, a second's, begin at half of that: below the 640 ms of the step before.
    #expect(Array(pauses.prefix(5)) == [20, 40, 80, 160, 320].map { "pause \($0)" })
    #expect(pauses.suffix(3).allSatisfy { $0 == "pause 640" || $0 == "pause 1000" })
  }
}
