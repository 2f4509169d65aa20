import BridgeConfiguration
import Logging
import Mapping
import MongoSource
import NIOCore
import Oplog

/// Why a range can't be gone through.
struct RangeFailure: Error, CustomStringConvertible {
  var description: String
}

/// Ends a wait in which nothing moves.
struct Patience {
  private let limit: Duration
  private var mark: UInt64?
  private var since = ContinuousClock.now

  init(_ limit: Duration) { self.limit = limit }

  /// Throws when `mark` has been the same for too long. `excuse`: others are waited for.
  mutating func check(_ mark: UInt64, excuse: Bool = false, _ why: () -> String) throws {
    if mark != self.mark || excuse {
      self.mark = mark
      since = .now
    } else if ContinuousClock.now - since > limit {
      throw RangeFailure(
        description: "MongoDB sent nothing for \(limit.components.seconds) s: \(why())")
    }
  }
}

/// Where the changes of a range come from: MongoDB, or a recording.
protocol ChangeSource: Sendable {
  /// Hands out every change within the range, in order, on `eventLoop`. While `mayGoOn` is false it
  /// waits.
  func walk(
    _ range: ClosedRange<EventPosition>, on eventLoop: any EventLoop,
    mayGoOn: @escaping @Sendable () -> Bool, _ body: @escaping @Sendable (ChangeEvent) -> Void
  ) async throws
}

/// The oplog, or a change stream. One walk at a time.
final class LiveChanges: ChangeSource {
  private let options: MongoSourceOptions
  private let configuration: BridgeConfiguration
  private let reader: EventReader
  private let changes: AsyncStream<Void>
  private let signal: AsyncStream<Void>.Continuation
  private let logger: Logger
  /// How long MongoDB may be out of reach on the way.
  private let patience: Duration

  init(
    _ configuration: BridgeConfiguration, reader kind: SourceSettings.Reader, logger: Logger,
    patience: Duration
  ) {
    self.patience = max(patience, .seconds(15))
    let (changes, signal) = AsyncStream.makeStream(
      of: Void.self, bufferingPolicy: .bufferingNewest(1))
    let options = configuration.mongoSourceOptions
    self.options = options
    self.configuration = configuration
    self.changes = changes
    self.signal = signal
    self.logger = logger
    reader =
      switch kind {
      case .oplog: .oplog(OplogReader(options: options, logger: logger) { signal.yield() })
      case .changeStream:
        .changeStream(ChangeStreamReader(options: options, logger: logger) { signal.yield() })
      }
  }

  func stop() { reader.stop() }

  func walk(
    _ range: ClosedRange<EventPosition>, on eventLoop: any EventLoop,
    mayGoOn: @escaping @Sendable () -> Bool, _ body: @escaping @Sendable (ChangeEvent) -> Void
  ) async throws {
    guard var start = try await firstEntry(of: range), start <= range.upperBound.entry else {
      return
    }
    while true {
      let walk = ChangeWalk(
        reader, range, configuration, eventLoop, logger, mayGoOn: mayGoOn,
        onImages: { [signal] in signal.yield() }, body)
      let place = start
      try await eventLoop.submit { walk.begin(at: place) }.get()
      switch try await follow(walk, eventLoop) {
      case .done: return
      case .needsEarlier(let previous):
        let first = try await MongoAdmin.transactionStart(options, from: previous)
        guard let first, first < start else {
          throw RangeFailure(
            description:
              "a transaction in the range began before \(previous), and its first entries are no longer in the oplog"
          )
        }
        start = first
      }
    }
  }

  /// Where to begin reading; nil: nothing is there.
  private func firstEntry(of range: ClosedRange<EventPosition>) async throws -> OplogPosition? {
    let wanted = range.lowerBound.entry
    // Change streams begin at any time, know themselves what is gone, and need no right to read the oplog.
    if case .changeStream = reader { return wanted }
    let oldest = try await MongoAdmin.oldestPosition(options).position
    guard oldest <= wanted else {
      throw RangeFailure(
        description: "the oplog no longer holds \(wanted): it begins with \(oldest)")
    }
    return try await MongoAdmin.entry(options, atOrAfter: wanted)?.position
  }

  private enum End {
    case done
    case needsEarlier(OplogPosition)
  }

  private func follow(_ walk: ChangeWalk, _ eventLoop: any EventLoop) async throws -> End {
    let ticker = Task { [signal] in
      while !Task.isCancelled {
        try? await Task.sleep(for: .milliseconds(50))
        signal.yield()
      }
    }
    defer { ticker.cancel() }
    var patience = Patience(patience)
    while true {
      switch try await eventLoop.submit({ walk.pump() }).get() {
      case .waiting(let mark, let isHeld, let images):
        let read = reader.status.lastRead?.position.value ?? 0
        let fetched = images?.roundTrips ?? 0
        try patience.check(mark ^ read ^ fetched << 40, excuse: isHeld) {
          images?.silence ?? reader.status.silence
        }
      case .done:
        try await eventLoop.submit { walk.end() }.get()
        return .done
      case .needsEarlier(let previous):
        try await eventLoop.submit { walk.end() }.get()
        return .needsEarlier(previous)
      case .failed(let why):
        try await eventLoop.submit { walk.end() }.get()
        throw RangeFailure(description: why)
      }
      var signals = changes.makeAsyncIterator()
      _ = await signals.next()
      try Task.checkCancellation()
    }
  }
}

/// One walk's part on the event loop.
///
/// Sendable invariant: every stored property is touched on the event loop only.
private final class ChangeWalk: @unchecked Sendable {
  enum State: Sendable {
    /// `mark`: how many entries were read; `isHeld`: by others; `images`: where documents are awaited.
    case waiting(mark: UInt64, isHeld: Bool, images: ImageStatus?)
    case done
    case needsEarlier(OplogPosition)
    case failed(String)
  }

  private let feed: EventFeed
  private let reader: EventReader
  private let range: ClosedRange<EventPosition>
  private let mayGoOn: @Sendable () -> Bool
  private let body: @Sendable (ChangeEvent) -> Void
  private var emitted = false

  init(
    _ reader: EventReader, _ range: ClosedRange<EventPosition>,
    _ configuration: BridgeConfiguration, _ eventLoop: any EventLoop, _ logger: Logger,
    mayGoOn: @escaping @Sendable () -> Bool, onImages: @escaping @Sendable () -> Void,
    _ body: @escaping @Sendable (ChangeEvent) -> Void
  ) {
    self.reader = reader
    self.range = range
    self.mayGoOn = mayGoOn
    self.body = body
    feed = EventFeed(
      reader: reader,
      images: FullDocumentPrefetcher(
        configuration, eventLoop: eventLoop, logger: logger, onAnswer: onImages),
      disambiguatesPaths: configuration.rules.disambiguatePaths, tellsPlaces: false)
  }

  func begin(at position: OplogPosition) {
    let generation = reader.restart(at: ResumePoint(position: position, term: nil), after: nil)
    feed.begin(.tail(reader), generation: generation, firstIndex: SnapshotDecoder.firstIndex)
  }

  func end() { feed.end() }

  func pump() -> State {
    var taken = 0
    do {
      while true {
        // Others want the loop, too.
        if taken & 255 == 0, !mayGoOn() {
          return .waiting(mark: feed.count, isHeld: true, images: nil)
        }
        taken += 1
        do {
          let input = try feed.next(mayOpen: { !isPast })
          guard case .event(let event) = input else {
            if isPast { return .done }
            if case .nothing = input, let lost = reader.failure { return .failed("\(lost)") }
            let images = feed.isWaiting ? feed.facts.images : nil
            return .waiting(mark: feed.count, isHeld: false, images: images)
          }
          if range.contains(event.position) {
            emitted = true
            body(event)
          }
        } catch let missing as MissingEntries {
          let isInside = missing.entry.position >= range.lowerBound.entry
          if isInside, missing.entry.position <= range.upperBound.entry {
            // Nothing was handed out yet where it comes first; else the reader would have had it.
            return emitted
              ? .failed(
                "the transaction at \(missing.entry.position) has entries that were not read")
              : .needsEarlier(missing.previous)
          }
          feed.passOver(missing)
        }
      }
    } catch {
      return .failed("\(error)")
    }
  }

  private var isPast: Bool {
    guard let last = feed.lastEntry else { return false }
    return last.position >= range.upperBound.entry
  }
}
