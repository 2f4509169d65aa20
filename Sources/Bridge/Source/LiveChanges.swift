package import BridgeConfiguration
package import Logging
package import MongoSource
import NATS
package import NIOCore
package import Oplog

/// Changes of MongoDB, from the oplog or a change stream, for everything but the pipeline: dry runs,
/// verification, look-ups. One walk at a time.
package final class LiveChanges: Sendable {
  package let reader: any ChangeReader
  private let options: MongoSourceOptions
  private let configuration: BridgeConfiguration
  private let wantsDocuments: Bool
  private let changes: AsyncStream<Void>
  private let signal: AsyncStream<Void>.Continuation
  private let logger: Logger
  /// How long MongoDB may send nothing on the way.
  private let patience: Duration

  /// How long a walk waits for what does not come.
  package enum WaitLimit {
    /// Until nothing that is new has been read for so long.
    case progress
    /// Until MongoDB has not answered for so long. That there is nothing new is an answer.
    case answers
    case none
  }

  /// - Parameters:
  ///   - wantsDocuments: those that rules want and entries lack are fetched.
  ///   - surroundings: whose reader it is; nil: the system's.
  package init(
    _ configuration: BridgeConfiguration, reader kind: SourceSettings.Reader, logger: Logger,
    patience: Duration, wantsDocuments: Bool = true, on surroundings: (any Surroundings)? = nil
  ) {
    let (changes, signal) = AsyncStream.makeStream(
      of: Void.self, bufferingPolicy: .bufferingNewest(1))
    self.patience = patience
    options = configuration.mongoSourceOptions
    self.configuration = configuration
    self.wantsDocuments = wantsDocuments
    self.changes = changes
    self.signal = signal
    self.logger = logger
    reader =
      surroundings?.reader(kind, options, logger: logger) { signal.yield() }
      ?? makeReader(kind, options, logger: logger) { signal.yield() }
  }

  package func stop() { reader.stop(waiting: .seconds(2)) }

  /// What a walker's feed is to give, on that event loop.
  package func wishes(
    on eventLoop: any EventLoop, isUpdateWanted: (@Sendable (UnsafeRawBufferPointer) -> Bool)? = nil
  ) -> FeedWishes {
    guard wantsDocuments else { return .entriesAlone }
    return FeedWishes(
      configuration, isUpdateWanted: isUpdateWanted, eventLoop: eventLoop, logger: logger,
      onAnswer: { [signal] in signal.yield() })
  }

  /// Hands out every change within the range, in order, on `eventLoop`. While `mayContinue` is false it
  /// waits. A transaction that began before the range is read from its beginning.
  package func walk(
    _ range: ClosedRange<EventPosition>, on eventLoop: any EventLoop,
    mayContinue: @escaping @Sendable () -> Bool,
    _ body: @escaping @Sendable (ChangeEvent) -> Void
  ) async throws {
    guard var start = try await firstEntry(of: range), start <= range.upperBound.entry else {
      return
    }
    while true {
      let walker = ChangeWalker(
        reader, WalkRange(range), wishes(on: eventLoop), mayContinue: mayContinue, body)
      let point = ResumePoint(position: start, term: nil)
      let end = try await follow(walker, from: point, on: eventLoop, .progress) {
        try Task.checkCancellation()
        return true
      }
      guard case .needsEarlier(let previous) = end else { return }
      let first = try await MongoAdmin.transactionStart(options, from: previous)
      guard let first, first < start else {
        throw RangeFailure(
          description:
            "a transaction in the range began before \(previous), and its first entries are no longer in the oplog",
          cause: .lost)
      }
      start = first
    }
  }

  /// Where to begin reading; nil: nothing is there.
  private func firstEntry(of range: ClosedRange<EventPosition>) async throws -> OplogPosition? {
    let wanted = range.lowerBound.entry
    // Change streams begin at any time, know themselves what is gone, and need no right to read the oplog.
    guard reader.readsOplog else { return wanted }
    let oldest = try await MongoAdmin.oldestPosition(options).position
    guard oldest <= wanted else {
      throw RangeFailure(
        description: "the oplog no longer holds \(wanted): it begins with \(oldest)", cause: .lost)
    }
    return try await MongoAdmin.entry(options, atOrAfter: wanted)?.position
  }

  package enum End: Sendable {
    case ended
    case needsEarlier(OplogPosition)
    /// `mayWait` said so.
    case stopped
  }

  /// Drives a walker to its end.
  ///
  /// - Parameter mayWait: asked before each wait, often; false ends it.
  /// - Throws: `RangeFailure`; what `mayWait` throws.
  package func follow(
    _ walker: ChangeWalker, from point: ResumePoint, on eventLoop: any EventLoop,
    _ limit: WaitLimit, mayWait: () async throws -> Bool
  ) async throws -> End {
    try await eventLoop.submit { walker.begin(at: point) }.get()
    let end: Result<End, any Error>
    do {
      end = .success(try await drive(walker, on: eventLoop, limit, mayWait))
    } catch {
      end = .failure(error)
    }
    try await eventLoop.submit { walker.end() }.get()
    return try end.get()
  }

  private func drive(
    _ walker: ChangeWalker, on eventLoop: any EventLoop, _ limit: WaitLimit,
    _ mayWait: () async throws -> Bool
  ) async throws -> End {
    let ticker = Task { [signal] in
      while !Task.isCancelled {
        guard (try? await eventLoop.sleep(for: .milliseconds(50))) != nil else { return }
        signal.yield()
      }
    }
    defer { ticker.cancel() }
    var patience = Patience(patience)
    var signals = changes.makeAsyncIterator()
    while true {
      switch try await eventLoop.submit({ walker.pump() }).get() {
      case .waiting(let wait):
        if limit != .none {
          let mark = limit == .answers ? wait.mark ^ wait.lastReply : wait.mark
          try patience.check(mark, excuse: wait.isHeld) { wait.silence }
        }
      case .ended: return .ended
      case .needsEarlier(let previous): return .needsEarlier(previous)
      case .failed(let failure): throw failure
      }
      guard try await mayWait() else { return .stopped }
      _ = await signals.next()
    }
  }
}
