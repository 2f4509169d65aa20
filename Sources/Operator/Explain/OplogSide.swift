import BSON
import Bridge
import BridgeConfiguration
import JetStream
import Logging
import Mapping
import MongoSource
import NIOCore
import NIOPosix
import Oplog
import Synchronization

/// What the oplog says of an event.
struct OplogSide: Sendable {
  let configuration: BridgeConfiguration
  let logger: Logger
  let limit: Int
  let wantsTexts: Bool
  let note: @Sendable (String) -> Void

  init(
    _ configuration: BridgeConfiguration, logger: Logger, limit: Int, wantsTexts: Bool,
    note: @escaping @Sendable (String) -> Void
  ) {
    self.configuration = configuration
    self.logger = logger
    self.limit = limit
    self.wantsTexts = wantsTexts
    self.note = note
  }

  private var options: MongoSourceOptions { configuration.mongoSourceOptions }

  enum Place: Sendable, Equatable {
    case found
    /// An entry that makes no event.
    case noEvents
    /// There are entries before and behind it, and none there.
    case noEntry
    /// It is newer than what a majority has.
    case ahead
    case lost
    case unavailable
  }

  struct Answer: Sendable {
    var place: Place
    var events: [DerivedEvent] = []
    /// Of the range.
    var count = 0
    var note: String?
  }

  /// As it is in ids: without a name in the file, the replica set's.
  func sourceName() async -> String {
    if let name = configuration.source.name { return name }
    if let found = try? await MongoAdmin.identify(options) { return found.setName }
    return configuration.source.uri.replicaSet ?? "rs0"
  }

  func events(
    _ range: ClosedRange<EventPosition>, sourceName: String, _ maximumPayload: Int?
  ) async -> Answer {
    let entry = range.lowerBound.entry
    do {
      if configuration.source.reader == .oplog, let absent = try await absent(entry) {
        return absent
      }
      let changes = LiveChanges(
        configuration, reader: configuration.source.reader, logger: logger,
        patience: Explainer.patience)
      defer { changes.stop() }
      let loop = MultiThreadedEventLoopGroup.singleton.next()
      let collector = Collector(
        EventDeriver(
          configuration, sourceName: sourceName, maximumPayload: maximumPayload ?? 1 << 20,
          writesText: wantsTexts), limit)
      try await changes.walk(range, on: loop, mayContinue: { true }, collector.take)
      var answer = Answer(place: .found)
      (answer.events, answer.count) = try await loop.submit { collector.result }.get()
      if answer.count == 0 {
        answer.place = .noEvents
        answer.note =
          range.lowerBound == range.upperBound
          ? "the entry at \(entry) has no event \(range.lowerBound)"
          : "the entry at \(entry) makes no change event: a noop, or a command that is none"
      }
      return answer
    } catch let failure as RangeFailure {
      switch failure.cause {
      case .lost, .source(.positionLost):
        return Answer(place: .lost, note: failure.description)
      case .source(.refused), .silence, .other, .source(.unsupported), .source(.corruptReply):
        return Answer(place: .unavailable, note: MongoError.words(of: failure))
      }
    } catch {
      return Answer(place: .unavailable, note: MongoError.words(of: error))
    }
  }

  /// Why there is no entry to be read at that position; nil: there is one.
  private func absent(_ entry: OplogPosition) async throws -> Answer? {
    switch try await MongoAdmin.place(options, of: entry) {
    case .entry(let found) where found.position == entry: return nil
    case .entry(let next):
      return Answer(
        place: .noEntry, note: "there is no entry at \(entry): the next one is at \(next.position)")
    case .lost(let oldest):
      return Answer(
        place: .lost,
        note: "the oplog no longer holds \(entry): it begins with \(oldest.position)")
    case .ahead(let newest):
      let last = try await MongoAdmin.newestPosition(options).position
      return Answer(
        place: .ahead,
        note: last >= entry
          ? "no majority has \(entry) yet, only up to \(newest.position): it is published once one has"
          : "\(entry) lies in the future: the newest entry is \(last)")
    }
  }

  struct Search: Sendable {
    var positions: [EventPosition] = []
    var count = 0
    var note: String?
    var isUnavailable = false
  }

  /// The last events of the whole oplog that fit.
  func find(_ wanted: OplogSearch.Wanted, most: Int) async -> Search {
    do {
      let oldest = try await MongoAdmin.oldestPosition(options).position
      let newest = try await MongoAdmin.majorityPosition(options).position
      note(
        "from \(oldest) to \(newest), \(HealthReport.duration(Double(newest.seconds - min(oldest.seconds, newest.seconds)))) of oplog"
      )
      let found = try await OplogSearch(configuration: configuration, logger: logger)
        .search(wanted, from: oldest, through: newest, most: most)
      return Search(
        positions: found.positions, count: found.count,
        note: found.count == 0 ? "the oplog was read from \(oldest) to \(newest)" : nil)
    } catch {
      return Search(note: MongoError.words(of: error), isUnavailable: true)
    }
  }

  /// The event that a dead letter carries; nil where it can't be read, or lacks a document that was too large.
  static func derive(
    _ letter: StoredSearch.Found, at position: EventPosition,
    _ configuration: BridgeConfiguration, _ sourceName: String, _ maximumPayload: Int
  ) -> DerivedEvent? {
    let body = String(decoding: letter.message.payload, as: UTF8.self)
    guard !body.contains("\"omitted\""),
      var recorded = try? RecordedEvent(body, index: position.index)
    else { return nil }
    recorded.isSnapshot = letter.own.isSnapshot
    recorded.image = letter.own.image.flatMap { name in
      ImageKind.allCases.first { "\($0.name)" == name }
    }
    var deriver = EventDeriver(
      configuration, sourceName: sourceName, maximumPayload: maximumPayload)
    return try? recorded.withEvent { deriver.derive($0) }
  }

  /// Sendable invariant: touched on the walk's event loop only.
  private final class Collector: @unchecked Sendable {
    private var deriver: EventDeriver
    private let limit: Int
    private var events: [DerivedEvent] = []
    private var count = 0

    init(_ deriver: consuming EventDeriver, _ limit: Int) {
      self.deriver = deriver
      self.limit = limit
    }

    var result: ([DerivedEvent], Int) { (events, count) }

    @Sendable func take(_ event: ChangeEvent) {
      count += 1
      if events.count < limit { events.append(deriver.derive(event)) }
    }
  }
}
