import Bridge
public import BridgeConfiguration
import Foundation
import JSON
import JetStream
import Logging
import Mapping
import MongoSource
import NATS
public import Oplog
import Parity
import Synchronization

/// What is to be compared.
public struct VerifyOptions: Sendable {
  public enum From: Sendable, Equatable {
    /// Where the bridge began.
    case first
    /// As far back as oplog and streams reach.
    case oldest
    case at(OplogPosition)
    /// Behind everything at this position.
    case after(OplogPosition)
  }
  public enum To: Sendable, Equatable {
    /// Up to where the bridge has acknowledged everything by now.
    case settled
    /// Before the entry that the bridge is at: nothing of it can be on its way.
    case acknowledged
    /// What a majority has by now.
    case now
    case at(OplogPosition)
  }

  public var from = From.first
  public var to = To.settled
  /// What derives the expected changes; nil: what the configuration reads by.
  public var reader: SourceSettings.Reader?
  /// How long to wait for what is not settled yet.
  public var timeout = Duration.seconds(30)
  /// Progress is kept here, and gone on from.
  public var progressFile: String?
  /// Messages that are compared at a time, about.
  public var stretch = 2_000_000
  /// Keep what is missing, so that it can be published.
  public var keepsMissing = false

  public init() {}
}

/// One stream of a verification.
struct VerifyStream: Sendable {
  var name: String
  var info: StreamInfo
  /// Reading begins here.
  var first: UInt64
  /// What is expected before this, the stream's limits have removed.
  var floor: EventPosition?
  var isDeadLetter: Bool
  var isShared: Bool

  /// Messages of the range may have left by age, number or size.
  var mayBeCut = false

  /// - Parameters:
  ///   - lower: where the range begins.
  ///   - now: seconds since 1970.
  func mayBeCut(since lower: EventPosition, now: Int64) -> Bool {
    if info.config.streamLimit("max_msgs") != nil || info.maximumBytes != nil { return true }
    guard let age = info.config.streamLimit("max_age") else { return false }
    // A message is no older than its change, as far as the servers' clocks agree.
    return now - Int64(lower.entry.seconds) >= Int64(age) / 1_000_000_000 - Self.clockSkew
  }

  private static let clockSkew: Int64 = 60

  /// How large its messages may be now.
  ///
  /// - Parameter maximumPayload: the server's `max_payload`.
  func limits(maximumPayload: Int) -> MessageLimits {
    MessageLimits(
      maximumPayload: maximumPayload, maximumMessage: info.maximumMessageSize,
      maximumBytes: info.maximumBytes)
  }

  /// Messages leave when consumers have them.
  var givesAway: Bool { retention != "limits" }
  var retention: String { info.config["retention"]?.stringValue ?? "limits" }
  /// Servers let nobody but its consumers read it.
  var isQueue: Bool { retention == "workqueue" }

  var perSubject: Int { info.config.streamLimit("max_msgs_per_subject") ?? 0 }
}

/// A range, and the streams that should hold what happened in it.
struct VerifyPlan: Sendable {
  var range: ClosedRange<EventPosition>
  var streams: [VerifyStream]
  var sourceName: String
  var configurationHash: String
  /// Ranges before this one have been judged from there on.
  var earliest: EventPosition?
  /// Reading of a stream ends so many messages behind the range; nil: with the stream.
  var margin: UInt64?
  /// By stream: what was read before, although it is behind where reading begins.
  var taken: [Set<UInt64>] = []
  /// Ids that were told to be missing.
  var toldMissing: Set<String> = []
  /// Why the outcome can't be PASS, whatever is found.
  var reasons: [String] = []
  /// What streams do to messages by themselves.
  var notes: [String] = []
  /// Where differences may be of another configuration.
  var unproven: UnprovenRange?
  /// The configuration is not the one that was published with: differences say nothing.
  var isOtherConfiguration = false
}

/// The range has nothing in it.
struct NothingToCompare: Error, CustomStringConvertible {
  var from: OplogPosition
  var to: OplogPosition
  var description: String { "there is nothing to compare between \(from) and \(to)" }
}

struct VerifyPlanner {
  let configuration: BridgeConfiguration
  var options: VerifyOptions
  let jetStream: JetStreamClient

  private var source: MongoSourceOptions { configuration.mongoSourceOptions }

  /// Else there may be no right to.
  private var readsOplog: Bool { (options.reader ?? configuration.source.reader) == .oplog }

  func plan() async throws -> VerifyPlan {
    let checkpoint = try await checkpoint()
    let identity = try await MongoAdmin.identify(source)
    let name = configuration.source.name ?? identity.setName
    if configuration.source.reader == .oplog, options.reader == .changeStream,
      let major = Int(identity.version.prefix { $0 != "." }), major < 6
    {
      throw RangeFailure(
        description:
          "change streams of MongoDB \(identity.version) tell no wallTime and no collectionUUID, which messages made by the oplog hold: compare by the oplog"
      )
    }
    if configuration.source.reader == .oplog, options.reader == .changeStream,
      configuration.rules.disambiguatePaths,
      identity.version.compare("6.1", options: .numeric) == .orderedAscending
    {
      throw RangeFailure(
        description:
          "change streams of MongoDB \(identity.version) tell no disambiguatedPaths, which messages made by the oplog hold: compare by the oplog"
      )
    }
    var reasons: [String] = []
    let lower = try await lowerBound(checkpoint)
    let upper = min(try await upperBound(checkpoint), try await undecided() ?? .beyondAll)
    guard lower <= upper else { throw NothingToCompare(from: lower.entry, to: upper.entry) }
    var plan = VerifyPlan(
      range: lower...upper, streams: [], sourceName: name,
      configurationHash: configuration.hash(sourceName: name))
    if let checkpoint, checkpoint.configurationHash != plan.configurationHash {
      plan.isOtherConfiguration = true
      reasons.append(
        "the bridge publishes with another configuration (config_hash \(checkpoint.configurationHash), this one is \(plan.configurationHash))"
      )
    } else if let since = checkpoint?.configurationSince,
      lower < EventPosition(entry: since, index: .max)
    {
      // The entry it went over at may have messages of both.
      let next = OplogPosition(seconds: since.seconds, increment: since.increment &+ 1)
      reasons.append(
        "up to \(since) the bridge published with another configuration: compare with --from \(next)"
      )
      plan.isOtherConfiguration = true
    }
    for stream in try await streams(lower) {
      if stream.givesAway {
        let what = stream.isQueue ? "it is not read" : "what is gone may have been consumed"
        reasons.append(
          "stream \(stream.name) loses messages when they are consumed (retention: \(stream.retention)): \(what)"
        )
      } else if stream.floor != nil, case .at = options.from {
        reasons.append(
          "stream \(stream.name) no longer holds all of the range: it begins with \(stream.floor.map { $0.index == .max ? "nothing" : "\($0)" } ?? "nothing") (sequence \(stream.info.firstSequence))"
        )
      }
      plan.notes += configuration.fitness(
        of: stream.name, stream.info.config, isExclusive: configuration.isExclusive(stream.name)
      ).notesForVerification.map { "stream \(stream.name): \($0)" }
      plan.streams.append(stream)
    }
    plan.reasons = reasons
    if options.from == .first, let checkpoint, let note = try await shortened(checkpoint) {
      plan.notes.append(note)
    }
    if !plan.isOtherConfiguration, let found = checkpoint?.foundAgainAt {
      plan.unproven = UnprovenRange(
        through: EventPosition(entry: found, index: .max), at: found, plan.streams)
    }
    return plan
  }

  /// That the bridge published before its checkpoint's origin; nil where no stream says so.
  func shortened(_ checkpoint: Checkpoint) async throws -> String? {
    guard let first = try await StreamMarks.origin(of: configuration, jetStream),
      first.position < checkpoint.origin.position
    else { return nil }
    return
      "the bridge published since \(first.position), and began again at \(checkpoint.origin.position) (a start with --force, or a snapshot): what came before is not compared, --from \(first.position) does"
  }

  func checkpoint() async throws -> Checkpoint? {
    let store = CheckpointStore(
      jetStream, bucket: configuration.bridge.stateBucket, bridge: configuration.bridge.name)
    guard try await store.bucket.exists else { return nil }
    return try await store.load().checkpoint
  }

  private func lowerBound(_ checkpoint: Checkpoint?) async throws -> EventPosition {
    switch options.from {
    case .after(let position): return EventPosition(entry: position, index: .max)
    case .at(let position):
      guard readsOplog else { return EventPosition(entry: position, index: 0) }
      let oldest = try await MongoAdmin.oldestPosition(source).position
      guard oldest <= position else {
        throw RangeFailure(
          description: "the oplog no longer holds \(position): it begins with \(oldest)")
      }
      return EventPosition(entry: position, index: 0)
    case .oldest:
      return EventPosition(
        entry: try await MongoAdmin.oldestPosition(source).position, index: 0)
    case .first: break
    }
    let position: EventPosition
    if let checkpoint {
      let origin = checkpoint.origin
      position = EventPosition(entry: origin.position, index: origin.inclusive ? 0 : .max)
    } else {
      var first: EventPosition?
      for name in streamNames {
        guard let info = try await jetStream.stream(name), info.messages > 0 else { continue }
        // Servers let nobody but its consumers read it.
        if info.config["retention"]?.stringValue == "workqueue" { continue }
        if let own = try await firstOwn(
          in: name, from: info.firstSequence, through: info.lastSequence)
        {
          first = min(first ?? own, own)
        }
      }
      guard let first else {
        throw RangeFailure(
          description:
            "there is no checkpoint, and no stream holds a message of the bridge to begin with: give --from"
        )
      }
      position = first
    }
    guard readsOplog else { return position }
    let oldest = try await MongoAdmin.oldestPosition(source).position
    guard oldest <= position.entry else {
      throw RangeFailure(
        description:
          "the oplog no longer holds \(position.entry), where the bridge began: it begins with \(oldest). Compare what is left with --from oldest"
      )
    }
    return position
  }

  private func upperBound(_ checkpoint: Checkpoint?) async throws -> EventPosition {
    let majority = try await MongoAdmin.majorityPosition(source).position
    let position: OplogPosition
    switch options.to {
    case .now: position = majority
    case .at(let wanted):
      try await MajorityWait(source, atMost: options.timeout).reach(wanted, from: majority)
      position = wanted
    case .acknowledged:
      guard let resume = checkpoint?.resume,
        let end = EventPosition(entry: min(resume, majority), index: 0).previous
      else { throw RangeFailure(description: "the bridge has no checkpoint yet") }
      return end
    case .settled: position = checkpoint.map { min($0.resume, majority) } ?? majority
    }
    return EventPosition(entry: position, index: .max)
  }

  /// Events behind it may not be decided yet, where groups are on their way to their producers.
  private func undecided() async throws -> EventPosition? {
    if case .at = options.to { return nil }
    let store = CutoverStore(
      jetStream, bucket: configuration.bridge.stateBucket, bridge: configuration.bridge.name)
    let known = try await store.groups()
    var first: EventPosition?
    for group in configuration.groups where known.contains(group) {
      let record = try await store.load(group).record
      guard record.hasRanges, record.phase != .finalized,
        let position = try await store.progress(group).0?.position
      else { continue }
      if record.phase == .bridge, let end = record.end, position.entry >= end { continue }
      first = min(first ?? position, position)
    }
    return first
  }

  // MARK: Streams

  private var streamNames: [String] {
    let names = configuration.streams.map(\.name)
    let deadLetters = configuration.deadLetter.stream
    return names.contains(deadLetters) ? names : names + [deadLetters]
  }

  private func streams(_ lower: EventPosition) async throws -> [VerifyStream] {
    var streams: [VerifyStream] = []
    for (index, name) in streamNames.enumerated() {
      guard let info = try await jetStream.stream(name) else {
        throw RangeFailure(description: "stream \(name) does not exist")
      }
      var stream = VerifyStream(
        name: name, info: info, first: max(1, info.firstSequence), floor: nil,
        isDeadLetter: name == configuration.deadLetter.stream,
        isShared: configuration.streams.indices.contains(index)
          && configuration.streams[index].ownership == .shared)
      stream.mayBeCut = stream.mayBeCut(since: lower, now: Int64(Date().timeIntervalSince1970))
      if stream.isQueue {
        stream.floor = .beyondAll
        stream.first = info.lastSequence &+ 1
        streams.append(stream)
        continue
      }
      if info.firstSequence > 1, stream.mayBeCut, !stream.isDeadLetter {
        let first =
          info.messages > 0
          ? try await firstOwn(in: name, from: info.firstSequence, through: info.lastSequence) : nil
        let floor = first ?? .beyondAll
        if floor > lower { stream.floor = floor }
      }
      stream.first = try await place(of: lower, in: stream)
      streams.append(stream)
    }
    return streams
  }

  /// The first of the bridge's messages, however many of others stand before it.
  private func firstOwn(
    in stream: String, from first: UInt64, through last: UInt64
  ) async throws -> EventPosition? {
    let search = OwnSearch(MessageOwnership(configuration).of(stream))
    let scan = StreamScan(
      jetStream, stream: stream, from: first, through: last,
      take: { view, _ in search.look(at: view) })
    search.onFound { scan.stopReading() }
    try await scan.run()
    return search.found
  }

  private func own(
    in stream: String, from sequence: UInt64, tries: Int
  ) async throws -> (position: EventPosition, sequence: UInt64)? {
    var next = sequence
    for _ in 0..<tries {
      guard let message = try await jetStream.nextMessage(in: stream, from: next) else {
        return nil
      }
      next = message.sequence + 1
      guard !message.own.isSnapshot,
        let own = MessageOwnership(configuration).own(message, in: stream)
      else { continue }
      return (own.position, message.sequence)
    }
    return nil
  }

  /// Somewhat before the first message of the range: a search in what grows from message to message.
  private func place(of lower: EventPosition, in stream: VerifyStream) async throws -> UInt64 {
    let margin: UInt64 = 10_000
    var low = max(1, stream.info.firstSequence)
    var high = stream.info.lastSequence
    guard high > low + 4 * margin else { return low }
    while high - low > margin {
      let middle = low + (high - low) / 2
      guard let own = try await own(in: stream.name, from: middle, tries: 100) else { break }
      if own.position < lower { low = middle } else { high = middle }
    }
    return max(1, stream.info.firstSequence, low - min(margin, low))
  }
}

extension EventPosition {
  /// Behind everything that can happen.
  fileprivate static let beyondAll = EventPosition(
    entry: OplogPosition(seconds: .max, increment: .max), index: .max)
}

/// Looks for the bridge's first message, a snapshot's included.
private final class OwnSearch: Sendable {
  private struct State {
    var found: EventPosition?
    var onFound: (@Sendable () -> Void)?
  }
  private let ownership: MessageOwnership.InStream
  private let state = Mutex(State())

  init(_ ownership: MessageOwnership.InStream) { self.ownership = ownership }

  var found: EventPosition? { state.withLock { $0.found } }

  func onFound(_ body: @escaping @Sendable () -> Void) { state.withLock { $0.onFound = body } }

  func look(at view: borrowing NATSMessageView) {
    guard found == nil else { return }
    var parser = StoredMessageParser(ownership, readsLetters: true)
    let parsed = parser.parse(view)
    guard parsed.kind == .own || parsed.kind == .snapshot, let position = parsed.position else {
      return
    }
    let stop = state.withLock { state in
      state.found = position
      return state.onFound
    }
    stop?()
  }
}
