import Bridge
import BridgeConfiguration
import JetStream
import MongoSource
import Oplog

// What the tests of the epoch machine share: a server's answers, checkpoints, streams.

func entry(_ seconds: UInt32) -> OplogPosition {
  OplogPosition(seconds: seconds, increment: 1)
}

func event(_ seconds: UInt32) -> EventPosition {
  EventPosition(entry: entry(seconds), index: 0)
}

/// A checkpoint's age, as `age` rounds it.
func written(ago seconds: Int) -> CheckpointTime {
  CheckpointTime(written: moment(-seconds), now: moment(-1))
}

/// Seconds from now, by the servers' clock.
func moment(_ seconds: Int) -> ServerTime { ServerTime(seconds: 1_800_000_000 + seconds) }

/// A server that holds entries 100 to 900, and answers everything.
struct EpochAnswers {
  var oldest: UInt32 = 100
  var newest: UInt32 = 900
  var trace: String?
  var isGone = false
  var transactionStart: UInt32?
  /// Seconds.
  var checkpointAge: Int? = 5
  /// All of the bridge's messages, by stream; nil: too many.
  var stored: [String: [StreamObservation.Own]]? = [:]

  func answer(_ question: EpochQuestion) -> EpochAnswer {
    switch question {
    case .newestEntry: .entry(ResumePoint(position: entry(newest), term: 1))
    case .oldestEntry: .entry(ResumePoint(position: entry(oldest), term: 1))
    case .markedEntry(let mark):
      mark < entry(oldest)
        ? .mark(.lost(oldest: ResumePoint(position: entry(oldest))))
        : mark > entry(newest)
          ? .mark(.ahead(newest: ResumePoint(position: entry(newest))))
          : .mark(.entry(ResumePoint(position: mark, term: 1)))
    case .firstEntry(let position): .entry(ResumePoint(position: position, term: 1))
    case .transactionStart:
      .entry(transactionStart.map { ResumePoint(position: entry($0)) })
    case .checkpointTime: .time(checkpointAge.map { written(ago: $0) })
    case .unnamedTrace: .reason(trace)
    case .loss: .reason(isGone ? "gone" : nil)
    case .messages(let stream, let since, _, _, let through):
      .messages(
        stored.map { all in
          (all[stream] ?? []).filter { $0.position > since && $0.sequence <= through }
        })
    case .snapshotIDs: .ids([Array("x".utf8)])
    }
  }
}

enum EpochResult {
  case decided(EpochDecision)
  case refused(BridgeError)

  var tail: ResumePlan? {
    guard case .decided(let decision) = self, case .tail(let plan) = decision.mode else {
      return nil
    }
    return plan
  }

  var snapshot: SnapshotPlan? {
    guard case .decided(let decision) = self, case .snapshot(let plan) = decision.mode else {
      return nil
    }
    return plan
  }

  var catchUp: ResumePoint? {
    guard case .decided(let decision) = self else { return nil }
    return decision.catchUp
  }

  var error: BridgeError? {
    guard case .refused(let error) = self else { return nil }
    return error
  }
}

struct EndlessQuestion: Error { var question: EpochQuestion }

/// Decides, with every question answered once.
func decide(
  _ machine: EpochMachine, _ situation: EpochSituation, _ answers: EpochAnswers = EpochAnswers(),
  asked: inout [EpochQuestion]
) throws -> EpochResult {
  var facts = EpochFacts()
  while true {
    do {
      return .decided(try machine.decide(situation, facts))
    } catch {
      switch error {
      case .refused(let why): return .refused(why)
      case .asks(let question):
        guard facts[question] == nil else { throw EndlessQuestion(question: question) }
        asked.append(question)
        facts[question] = answers.answer(question)
      }
    }
  }
}

func decide(
  _ machine: EpochMachine, _ situation: EpochSituation, _ answers: EpochAnswers = EpochAnswers()
) throws -> EpochResult {
  var asked: [EpochQuestion] = []
  return try decide(machine, situation, answers, asked: &asked)
}

func next(
  _ machine: inout EpochMachine, after end: EpochEnd, isStopping: Bool = false,
  _ answers: EpochAnswers = EpochAnswers()
) throws -> EpochOutcome {
  var facts = EpochFacts()
  while true {
    do {
      return try machine.next(after: end, isStopping: isStopping, facts)
    } catch {
      switch error {
      case .refused(let why): throw why
      case .asks(let question):
        guard facts[question] == nil else { throw EndlessQuestion(question: question) }
        facts[question] = answers.answer(question)
      }
    }
  }
}

func checkpointFound(
  at seconds: UInt32 = 500, _ streams: [String: (UInt64, UInt32)] = ["A": (10, 500)]
) -> Checkpoint {
  var checkpoint = Checkpoint(
    bridge: "b", source: "rs0", instance: "i", version: 7, resume: entry(seconds), term: 3,
    origin: Checkpoint.Origin(position: entry(200), inclusive: false),
    streams: streams.mapValues {
      Checkpoint.Stream(
        sequence: $0.0, id: "id", position: event($0.1), rule: "r", created: "c1")
    }, configurationHash: "h")
  checkpoint.settled = EventPosition(entry: entry(seconds), index: .max)
  return checkpoint
}

func streamFound(
  _ name: String = "A", last: UInt64 = 10, tail: UInt32? = 500, created: String = "c1",
  deadLetter: Bool = false
) -> StreamObservation {
  StreamObservation(
    name: name, created: created, firstSequence: last > 0 ? 1 : 0, lastSequence: last,
    exclusive: !deadLetter, isDeadLetter: deadLetter,
    tail: tail.map {
      StreamObservation.Own(sequence: last, position: event($0), rule: "r", id: "id")
    })
}

func machine(
  from: RunOptions.Start? = nil, force: Bool = false, snapshot: Bool = false,
  start: RunOptions.Start = .now, closesGaps: Bool = false, oplog: Bool = true
) -> EpochMachine {
  var options = RunOptions()
  options.from = from
  options.force = force
  options.snapshot = snapshot
  var settings = EpochMachine.Settings(options: options, start: start)
  settings.snapshotsOnLoss = closesGaps
  settings.readsOplog = oplog
  return EpochMachine(settings)
}

let checkpointOfBoth = checkpointFound(at: 500, ["A": (10, 500), "Q": (10, 500)])

func found(_ name: String, _ last: UInt64, _ tail: UInt32?) -> StreamObservation {
  streamFound(name, last: last, tail: tail, deadLetter: name == "Q")
}

let quiet = EpochSituation(checkpoint: checkpointFound(), streams: [streamFound()])
let nothing = EpochSituation(checkpoint: nil, streams: [streamFound(last: 0, tail: nil)])
