import BSON
import Bridge
import BridgeConfiguration
import JSON
import JetStream
import Mapping
import NATS
import NIOCore
import Oplog
import Parity
import Synchronization

/// Something that is not as it should be, with what is needed to tell of it.
struct Finding: Sendable {
  var mismatch: Mismatch
  var digests: PartDigests
  /// The expected message, as long as there was room to keep it.
  var expected: ExpectedBytes?
  /// Whose message it is; nil: the dead letter of an event that no rule takes.
  var rule: Int?
  /// The event's documents can't be read any more as they were.
  var doubt: ImageDoubt?
  /// Of such an event: what it is compared with instead.
  var open: OpenExpectation?
  /// What is missing is a dead letter.
  var isLetter = false
  /// A dead letter for a reason of the server, and what it should be.
  var isServerLetter = false
  /// It is the letter of an event whose message is larger than messages may be now.
  var isTooLarge = false
  /// Something is derived for its place.
  var isExpectedThere = true
}

struct ExpectedBytes: Sendable {
  var subject: String
  var headers: String
  var body: [UInt8]
}

/// The second pass: looks into suspects of one stream, message by message.
struct RunInspection: Sendable {
  let configuration: BridgeConfiguration
  let plan: VerifyPlan
  let stream: Int
  let jetStream: JetStreamClient
  let changes: any ChangeSource
  let eventLoop: any EventLoop
  let makeDeriver: @Sendable () -> ExpectedMessages
  let keepsMissing: Bool
  /// Of the first pass.
  let holes: [StreamLedger.Hole]

  private var name: String { plan.streams[stream].name }

  /// Bytes of expected messages that are kept for one run.
  private static let mostBytes = 32 << 20

  struct Outcome: Sendable {
    var missing: [Finding] = []
    /// Messages whose parts differ.
    var differing: [Finding] = []
    var surplus: [RunJoin.Surplus] = []
    var reordered: [Finding] = []
    /// Of those that are in place of what is expected, with what they are compared with; by sequence.
    var alternatives: [UInt64: Finding] = [:]
    var otherLimits = OtherLimits.Outcome()
    /// Messages that could not be compared, since there was no room for what they are compared with.
    var notCompared = 0
    /// Of events whose documents can't be read any more as they were, those with surplus messages.
    var doubts: [EventPosition: ImageDoubt] = [:]
    /// Messages that were there in the first pass.
    var vanished: [StreamLedger.Hole] = []
  }

  /// One run of neighbouring suspects.
  ///
  /// - Parameter areSingle: its messages stand anywhere, and only their order among themselves counts.
  func inspect(_ run: StreamLedger.Run, areSingle: Bool = false) async throws -> Outcome {
    guard let first = run.suspects.first, let last = run.suspects.last else { return Outcome() }
    // The first suspect's positions begin with the range's, of which what comes before is judged; one that
    // is looked at for a message of an earlier range names its place.
    let floor = plan.range.lowerBound
    let lower = first.range.after.map { max($0, plan.earliest ?? floor) } ?? floor
    guard lower <= last.range.last else { return Outcome() }
    let (stored, vanished) = try await stored(run.suspects)
    let observed = stored.filter { message in
      switch message.kind {
      // Neighbours that are in order are none of this run's.
      case .own: message.position.map { $0 >= lower && run.contains($0) } ?? false
      // No oplog entry tells of these.
      case .snapshot, .serverLetter: false
      // Runs may overlap.
      case .replayed: message.position.map { run.contains($0) } ?? true
      case .foreign: true
      }
    }
    let join = JoinRun(
      observed, run, apart: areSingle ? [] : run.apart, stream: stream, name: name,
      configuration: configuration,
      deriver: makeDeriver(), keepsMissing: keepsMissing, mostBytes: Self.mostBytes,
      isShared: plan.streams[stream].isShared)
    try await changes.walk(
      lower...last.range.last, on: eventLoop, mayContinue: { true }, { join.expect($0) })
    var outcome = try await eventLoop.submit { join.finish() }.get()
    outcome.vanished = vanished
    return outcome
  }

  /// Single messages, for what explains them. Nothing is reported of what is expected beside them.
  func lookAt(_ sequences: [UInt64]) async throws -> Outcome {
    let found = try await messages(at: sequences.map { $0...$0 }).found
    let positions = found.filter { $0.kind == .own }.compactMap(\.position)
      .filter { plan.range.contains($0) }
    var outcome = Outcome()
    if let first = positions.min(), let last = positions.max() {
      let suspect = StreamLedger.Suspect(
        range: .init(after: first.previous, last: last), expected: 0, sequences: nil,
        strays: sequences.sorted())
      outcome = try await inspect(StreamLedger.Run(suspects: [suspect]), areSingle: true)
      outcome.missing = []
    }
    // Those whose positions can't be read, or are none of the range.
    outcome.surplus += found.filter { message in
      message.kind != .own || !(message.position.map { plan.range.contains($0) } ?? false)
    }.map { RunJoin.Surplus(observed: $0, repeats: nil) }
    return outcome
  }

  /// The messages of the suspects, wherever they stand.
  private func stored(_ suspects: ArraySlice<StreamLedger.Suspect>) async throws
    -> (found: [RunJoin.Observed], vanished: [StreamLedger.Hole])
  {
    var wanted: [ClosedRange<UInt64>] = []
    for suspect in suspects {
      if let sequences = suspect.sequences { wanted.append(sequences) }
      wanted += suspect.strays.map { $0...$0 }
    }
    return try await messages(at: wanted)
  }

  /// What is there, and where something was that the first pass has seen.
  func messages(
    at sequences: [ClosedRange<UInt64>]
  ) async throws -> (found: [RunJoin.Observed], vanished: [StreamLedger.Hole]) {
    let sorted = VanishedMessages.joined(sequences)
    var merged: [ClosedRange<UInt64>] = []
    for range in sorted {
      if let last = merged.last, range.lowerBound <= last.upperBound &+ 64 {
        merged[merged.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
      } else {
        merged.append(range)
      }
    }
    let collector = DetailCollector(
      sorted, MessageOwnership(configuration).of(name),
      readsLetters: plan.streams[stream].isDeadLetter)
    for range in merged {
      try await StreamScan(
        jetStream, stream: name, from: range.lowerBound, through: range.upperBound,
        take: { view, sequence in collector.take(view, sequence) }
      ).run()
    }
    return (
      collector.taken,
      VanishedMessages.holes(looked: sorted, found: collector.places, known: holes)
    )
  }
}

/// Details of messages, collected on a connection's event loop.
private final class DetailCollector: Sendable {
  private struct State {
    /// In order, as the messages come.
    var wanted: ArraySlice<ClosedRange<UInt64>>
    var found: [RunJoin.Observed] = []
    var places: [(sequence: UInt64, position: EventPosition?)] = []
  }
  private let ownership: MessageOwnership.InStream
  private let readsLetters: Bool
  private let state: Mutex<State>

  init(_ wanted: [ClosedRange<UInt64>], _ ownership: MessageOwnership.InStream, readsLetters: Bool)
  {
    state = Mutex(State(wanted: wanted[...]))
    self.ownership = ownership
    self.readsLetters = readsLetters
  }

  func take(_ view: borrowing NATSMessageView, _ sequence: UInt64) {
    var parser = StoredMessageParser(ownership, readsLetters: readsLetters)
    let detail = parser.detail(view, sequence: sequence)
    state.withLock { state in
      state.places.append((sequence, detail.kind == .own ? detail.position : nil))
      while let first = state.wanted.first, first.upperBound < sequence {
        state.wanted.removeFirst()
      }
      guard state.wanted.first?.contains(sequence) ?? false else { return }
      state.found.append(detail)
    }
  }

  var taken: [RunJoin.Observed] { state.withLock { $0.found } }
  /// Of everything that was read.
  var places: [(sequence: UInt64, position: EventPosition?)] { state.withLock { $0.places } }
}
