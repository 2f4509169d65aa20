public import Bridge
public import BridgeConfiguration
import JetStream
public import Logging
import NATS
public import Oplog
import Synchronization

/// Where `tailrace tap` begins in streams that are there.
public enum TapStart: Sendable, Equatable {
  /// What comes from now on.
  case now
  case first
  /// The first message of this position, or behind it, that was published in order.
  case position(EventPosition)
}

/// Shows the bridge's messages as its streams get them: `tailrace tap`.
///
/// Each stream is read in its order, by a consumer that asks for no acks and that the server forgets by itself. What
/// others have published is left out: other producers' messages, other bridges', and fences.
public final class Tap: Sendable {
  private let configuration: BridgeConfiguration
  private let filter: TapFilter
  private let start: TapStart
  private let logger: Logger
  private let note: @Sendable (String) -> Void
  private let queue = TapQueue()
  private let places: [String: TapPlace]
  private let ownership: MessageOwnership

  /// - Parameters:
  ///   - note: what people should know meanwhile.
  public init(
    _ configuration: BridgeConfiguration, _ filter: TapFilter, from start: TapStart, logger: Logger,
    note: @escaping @Sendable (String) -> Void
  ) {
    self.configuration = configuration
    self.filter = filter
    self.start = start
    self.logger = logger
    self.note = note
    places = Dictionary(
      uniqueKeysWithValues: filter.streams(of: configuration).map { ($0, TapPlace()) })
    // A positional id names its source; without a name in the file, ids are not judged by it.
    ownership = MessageOwnership(configuration, source: configuration.source.name)
  }

  /// Until the task is cancelled, or so many messages were shown.
  ///
  /// - Throws: `unavailable` where NATS can't be reached from the start. Later it is waited for.
  public func run(
    count: Int?, _ show: @escaping @Sendable (TapMessage) -> Void
  ) async throws(BridgeError) {
    let result = await withTaskGroup(of: Result<Void, BridgeError>.self) { group in
      group.addTask { [self] in
        var left = count ?? .max
        for await message in queue.messages {
          show(message)
          queue.printed(message)
          left -= 1
          if left == 0 { break }
        }
        return .success(())
      }
      group.addTask { [self] in
        do throws(BridgeError) {
          try await readAll()
          return .success(())
        } catch {
          return .failure(error)
        }
      }
      let first = await group.next() ?? .success(())
      group.cancelAll()
      return first
    }
    try result.get()
  }

  // MARK: - Connections

  private func readAll() async throws(BridgeError) {
    var wasConnected = false
    while !Task.isCancelled {
      let failure: BridgeError
      do throws(BridgeError) {
        try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
          if !wasConnected { try await meet(jetStream) }
          wasConnected = true
          try await read(jetStream)
        }
        return
      } catch {
        failure = error
      }
      guard wasConnected, case .unavailable = failure else { throw failure }
      if Task.isCancelled { return }
      note("\(failure); trying again")
      try? await Task.sleep(for: .seconds(1))
    }
  }

  /// Where the streams are when the command begins: what comes from then on is shown.
  private func meet(_ jetStream: JetStreamClient) async throws(BridgeError) {
    for (name, place) in places.sorted(by: { $0.key < $1.key }) {
      guard let info = try await info(name, jetStream) else {
        note("stream \(name) does not exist yet: waiting for it")
        continue
      }
      _ = place.meet(
        created: info.created, first: info.firstSequence,
        next: try await next(in: name, info, jetStream))
    }
  }

  private func next(
    in stream: String, _ info: StreamInfo, _ jetStream: JetStreamClient
  ) async throws(BridgeError) -> UInt64 {
    switch start {
    case .now: return info.lastSequence + 1
    case .first: return max(info.firstSequence, 1)
    case .position(let position):
      let search = StoredSearch(jetStream: jetStream, ownership: ownership)
      do throws(JetStreamError) {
        let near = try await search.neighbours(of: position, in: stream, info)
        if near.isOpen {
          note(
            "stream \(stream): too many messages of others around \(position) to find where to begin: reading it from its first message"
          )
          return max(info.firstSequence, 1)
        }
        if near.before == nil, info.firstSequence > 1 {
          note(
            "stream \(stream) holds nothing before \(position) any more: what it lacks is not shown"
          )
        }
        return near.found.first?.message.sequence ?? near.behind?.sequence ?? info.lastSequence + 1
      } catch {
        throw .unavailable("NATS: \(error)")
      }
    }
  }

  private func info(
    _ stream: String, _ jetStream: JetStreamClient
  ) async throws(BridgeError) -> StreamInfo? {
    do {
      return try await jetStream.stream(stream)
    } catch {
      throw .unavailable("NATS: \(error)")
    }
  }

  /// All streams over one connection, until it is lost.
  private func read(_ jetStream: JetStreamClient) async throws(BridgeError) {
    let result = await withTaskGroup(of: Result<Void, BridgeError>.self) { group in
      for (name, place) in places {
        group.addTask { [self] in
          do throws(BridgeError) {
            while !Task.isCancelled { try await read(name, place, jetStream) }
            return .success(())
          } catch {
            return .failure(error)
          }
        }
      }
      let first = await group.next() ?? .success(())
      group.cancelAll()
      return first
    }
    try result.get()
  }

  // MARK: - One stream

  /// As long as it is the same stream, and there is room for what comes.
  private func read(
    _ name: String, _ place: TapPlace, _ jetStream: JetStreamClient
  ) async throws(BridgeError) {
    guard let info = try await info(name, jetStream) else {
      try? await Task.sleep(for: Self.interval)
      return
    }
    let isAnother = place.meet(
      created: info.created, first: info.firstSequence, next: max(info.firstSequence, 1))
    if isAnother { note("stream \(name) was made again: reading it from its first message") }
    let stop = ScanStop()
    let scan = StreamScan(
      jetStream, stream: name, from: place.resume(), through: .max, follows: true
    ) { [self] view, sequence in
      let message = wanted(view, sequence, name)
      let readsOn = place.take(sequence) { message.map { queue.offer($0) } ?? true }
      if !readsOn { stop.stop() }
    }
    stop.use(scan)
    let outcome = await withTaskCancellationHandler {
      await read(scan, name, info.created, jetStream)
    } onCancel: {
      stop.stop()
    }
    if let outcome { throw outcome }
    while !queue.hasRoom, !Task.isCancelled { try? await Task.sleep(for: .milliseconds(20)) }
  }

  /// Until the scan ends, or the stream is another one. Nil: reading continues.
  private func read(
    _ scan: StreamScan, _ name: String, _ created: String, _ jetStream: JetStreamClient
  ) async -> BridgeError? {
    // Not cancelled with the others: it ends by `stopReading`, and then removes its consumer.
    let reading = Task { () -> BridgeError? in
      do throws(JetStreamError) {
        try await scan.run()
        return nil
      } catch {
        // It is looked for again.
        if error.code == JetStreamCode.streamNotFound { return nil }
        guard error.message.lowercased().contains("permissions violation") else {
          return .unavailable("NATS: \(error)")
        }
        // Waiting gives nobody a right.
        return .configuration(
          "tap needs the rights of docs/permissions.md to read stream \(name): \(error.message)")
      }
    }
    return await withTaskGroup(of: BridgeError?.self) { group in
      group.addTask { await reading.value }
      group.addTask { [self] in
        while !Task.isCancelled {
          try? await Task.sleep(for: Self.interval)
          if Task.isCancelled { return nil }
          do throws(BridgeError) {
            guard try await info(name, jetStream)?.created == created else { return nil }
          } catch {
            return error
          }
        }
        return nil
      }
      let first = await group.next() ?? nil
      scan.stopReading()
      group.cancelAll()
      return first
    }
  }

  private static let interval = Duration.seconds(1)

  /// Nil: it is not to be shown.
  private func wanted(
    _ view: borrowing NATSMessageView, _ sequence: UInt64, _ stream: String
  ) -> TapMessage? {
    guard ownership.of(stream).owner(of: MessageMarks(view.headers)) == .thisBridge else {
      return nil
    }
    let message = TapMessage(
      stream: stream, sequence: sequence, subject: String(decoding: view.subject, as: UTF8.self),
      headerBlock: Array(view.headers), body: Array(view.payload),
      storedAt: StreamScan.storedAt(view))
    return filter.takes(message) ? message : nil
  }
}

/// Ends a scan from within what it calls.
private final class ScanStop: Sendable {
  private let scan = Mutex<(StreamScan?, isStopped: Bool)>((nil, false))

  func use(_ scan: StreamScan) {
    let isStopped = self.scan.withLock { state in
      state.0 = scan
      return state.isStopped
    }
    if isStopped { scan.stopReading() }
  }

  func stop() {
    let scan = self.scan.withLock { state in
      state.isStopped = true
      return state.0
    }
    scan?.stopReading()
  }
}
