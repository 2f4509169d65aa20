import Bridge
import BridgeConfiguration
import JetStream
import Oplog
import Parity

/// What documents are compared at: everything up to `position` is in the streams, and nothing behind it
/// is compared.
struct StateMoment: Sendable {
  let position: EventPosition
  /// What the collections are read at. It need not be an entry's.
  let time: OplogPosition

  /// - Parameter majority: nothing behind it is read.
  init?(_ checkpoint: Checkpoint, majority: OplogPosition?) {
    // Before the entry that the bridge is at, nothing can be on its way …
    var position = EventPosition(entry: checkpoint.resume, index: 0).previous
    // … and of that entry only if all of it is settled, as it is when a snapshot at it is over.
    if let settled = checkpoint.settled {
      let end =
        settled.index == .max ? settled : EventPosition(entry: settled.entry, index: 0).previous
      position = max(position ?? settled, end ?? settled)
    }
    if let snapshot = checkpoint.snapshot, snapshot.isOver {
      let end = EventPosition(entry: snapshot.position, index: .max)
      position = max(position ?? end, end)
    }
    if let snapshot = checkpoint.snapshot, !snapshot.isOver {
      // Its messages are on their way; those of the tail before it are all there.
      position = EventPosition(entry: snapshot.position, index: 0).previous
    }
    if let majority, let found = position, found.entry > majority {
      position = EventPosition(entry: majority, index: .max)
    }
    guard let position else { return nil }
    self.position = position
    time = position.entry
  }
}

extension VerifyPlanner {
  /// A moment that the bridge has come to since, if one comes before the time is up. None does while the
  /// bridge is stopped; then what was read as it was at the moment is as it is.
  func moment(
    after before: StateMoment, isExact: Bool, until deadline: ContinuousClock.Instant
  ) async throws -> StateMoment? {
    while ContinuousClock.now < deadline {
      if let checkpoint = try await checkpoint() {
        if let later = StateMoment(checkpoint, majority: nil), later.position > before.position {
          return later
        }
        if isExact, checkpoint.isFinal { return nil }
      }
      try await Task.sleep(for: .milliseconds(200))
    }
    return nil
  }
}

/// Of which streams documents can be made.
struct StateFitness: Sendable {
  /// By the stream's index: why not.
  private(set) var unfit: [Int: String] = [:]
  /// By the stream's name: messages that are gone although no limit removes any.
  private(set) var removed: [String: UInt64] = [:]
  /// Streams that don't have what was acknowledged, though no limit removed it: nothing they lack is excused.
  private(set) var lost: [String] = []

  init(_ configuration: BridgeConfiguration, _ events: VerifyPlan, _ checkpoint: Checkpoint) {
    for (index, spec) in configuration.streams.enumerated() {
      guard let stream = events.streams.first(where: { $0.name == spec.name }) else { continue }
      let info = stream.info
      if let acked = checkpoint.streams[spec.name], acked.sequence > info.lastSequence {
        let what = acked.created != info.created ? "was made again" : "was cut"
        lost.append(
          "stream \(spec.name) \(what) since sequence \(acked.sequence) was acknowledged (it ends at \(info.lastSequence)): documents that its messages don't tell of can't be judged. Start the bridge, which fills it again"
        )
      }
      let base = min(checkpoint.states[spec.name]?.base ?? 0, info.lastSequence)
      let lacking = Self.lacking(info.firstSequence, info.lastSequence, info.messages, behind: base)
      if checkpoint.states[spec.name]?.refillTo != nil {
        unfit[index] = "stream \(spec.name) is being filled again"
      } else if checkpoint.states[spec.name]?.halted != nil {
        unfit[index] = "stream \(spec.name) is halted, so that it lacks the newest messages"
      } else if spec.bucket != nil {
        // What is gone, newer entries, purges or age have removed: see `BucketPlan`.
        continue
      } else if stream.perSubject > 0, lacking > 0 {
        unfit[index] =
          "stream \(spec.name) does not hold all its messages any more (max_msgs_per_subject \(stream.perSubject)), so that documents can't be made of them"
      } else if stream.mayBeCut, info.firstSequence > base + 1 {
        if !Self.holdsSnapshot(checkpoint, configuration, from: stream.floor) {
          unfit[index] =
            "stream \(spec.name) does not hold all its messages any more (its limits have removed those before sequence \(info.firstSequence)), so that documents can't be made of them"
        }
      } else if !stream.isShared, lacking > 0 {
        removed[spec.name] = lacking
      }
    }
  }

  /// Messages that were there and are not.
  private static func lacking(
    _ first: UInt64, _ last: UInt64, _ messages: UInt64, behind base: UInt64
  ) -> UInt64 {
    // What was there before the bridge, at its end at least, may be there or not.
    let begin = max(first, 1)
    guard last >= begin else { return last > base ? last - base : 0 }
    let holes = (last - begin + 1) - min(messages, last - begin + 1)
    return begin > base + 1 ? holes + (begin - base - 1) : holes
  }

  /// Whether all of the last snapshot and what came behind it is there, if the stream begins at `floor`.
  private static func holdsSnapshot(
    _ checkpoint: Checkpoint, _ configuration: BridgeConfiguration, from floor: EventPosition?
  ) -> Bool {
    guard let position = checkpoint.wholeSnapshot(by: configuration.rules), let floor else {
      return false
    }
    return floor < EventPosition(entry: position, index: SnapshotDecoder.firstIndex)
  }
}

/// What a comparison of states has learned on its way.
struct StateCourse {
  var moment: StateMoment
  let plan: FoldPlan
  private let begins: EventPosition
  private let snapshot: Checkpoint.Snapshot?
  private let hasAllLetters: Bool
  var letters: [DocumentKey: EventPosition] = [:]
  var facts: CollectionFacts?
  var isThorough = false
  /// The first document's message.
  var first: EventPosition?
  var unreadable: [Mismatch] = []
  var doubled: [Mismatch] = []
  private(set) var isInexact = false
  var tooMany = false
  private(set) var notFoldable: [String: String] = [:]
  /// Documents that have not changed since the bridge began, which published no snapshot.
  var beforeBridge: UInt64 = 0
  private var alike = StateJudge.Tally()
  private var undecided: [StateJudge.Undecided: StateJudge.Tally] = [:]

  init(
    _ moment: StateMoment, _ plan: FoldPlan, _ checkpoint: Checkpoint, _ letters: StateLetters
  ) {
    self.moment = moment
    self.plan = plan
    // Nothing before was ever promised.
    let origin = checkpoint.origin
    begins = EventPosition(entry: origin.position, index: origin.inclusive ? 0 : 1)
    snapshot = checkpoint.snapshot.flatMap { $0.isOver ? $0 : nil }
    hasAllLetters = !letters.isFull
  }

  /// The last snapshot, if it is over.
  var lastSnapshot: Checkpoint.Snapshot? { snapshot }

  var range: ClosedRange<EventPosition> { min(begins, moment.position)...moment.position }

  var knowledge: StateJudge.Knowledge {
    var knowledge = StateJudge.Knowledge(moment: moment.position)
    knowledge.snapshot = snapshot
    knowledge.facts = facts
    knowledge.deadLetters = letters
    return knowledge
  }

  var hasAlike: Bool { alike.count > 0 }

  /// Everything is compared, for the first time or again.
  mutating func beginAll() {
    notFoldable = [:]
    beforeBridge = 0
    doubled = []
    alike = StateJudge.Tally()
    undecided = [:]
  }

  mutating func absorb(_ compared: CollectionState.Compared<StateJudge.Found>, isFirst: Bool) {
    let found = compared.found
    isInexact = !compared.isExact || (isInexact && !isFirst)
    notFoldable.merge(found.notFoldable) { first, _ in first }
    tooMany = tooMany || found.tooMany
    alike.absorb(found.alike)
    for (kind, tally) in found.undecided {
      undecided[kind, default: StateJudge.Tally()].absorb(tally)
    }
  }

  /// Writes down what could not be compared, and why.
  func note(_ report: inout VerifyReport) {
    if let example = alike.example {
      report.addReason(
        "\(alike.count) documents can't be told apart by their messages, such as \(example): simplified JSON leaves types out (payload.json: relaxed or canonical shows them)"
      )
    }
    for (namespace, why) in notFoldable.sorted(by: { $0.key < $1.key }) {
      report.notes.append("\(namespace) is not compared: \(why)")
    }
    for (kind, words) in Self.words {
      guard let tally = undecided[kind] else { continue }
      report.notes.append("\(tally.count) documents, such as \(tally.example ?? ""), \(words)")
    }
    if !hasAllLetters { report.notes.append("there are more dead letters than can be looked at") }
    guard let facts else { return }
    for change in facts.unexplained(plan, range).prefix(20) {
      report.notes.append(
        "\(change.change.words) at \(change.position.entry), which no message tells: that documents are others since is no difference"
      )
    }
  }

  private static let words: [(StateJudge.Undecided, String)] = [
    (
      .paths,
      "have names with dots or were changed by paths that can be read in several ways: one reading is what the collection holds, and messages don't say whether it is the right one (payload.disambiguated_paths does)"
    ),
    (
      .hidden,
      "are not compared: updates name elements of arrays of which include or exclude leave some out, change a part of what is hashed as a whole, or something whose name looks like the inside of a masked value"
    ),
    (.deadLetters, "are not compared: a change of them is a dead letter"),
    (
      .silent,
      "are not compared: they were written without a change event (fromMigrate), as convertToCapped and cloneCollectionAsCapped copy documents (up to 5.0 also renames to another database), and applyOps may. tailrace snapshot publishes them"
    ),
    (
      .unmappable,
      "are not compared: updates have made them such as their rule can't show as a whole (a replacement would be a dead letter)"
    ),
    (
      .names,
      "are not compared: two of their fields may have had one name in messages (rename), and one of them is gone"
    ),
    (
      .snapshots,
      "have no message of the last snapshot, and need not have one: their collection had another name then, a change of them is a dead letter, or their rule drops what is invalid"
    ),
    (
      .collections,
      "are not compared: the oplog does not reach back to their last message, and no rule takes drop and rename of their collection, which may have been dropped or replaced since"
    ),
  ]
}
