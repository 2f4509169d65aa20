import BSON
import Logging
import Mapping
import MongoSource
import Oplog

/// Finds one event in the oplog again, by its position.
struct EventLookup {
  private let reader: OplogReader
  private let options: MongoSourceOptions
  private let changes: AsyncStream<Void>
  private let signal: AsyncStream<Void>.Continuation
  /// How long MongoDB may be out of reach on the way.
  private static let patience = Duration.seconds(10)

  init(_ options: MongoSourceOptions, logger: Logger) {
    let (changes, signal) = AsyncStream.makeStream(
      of: Void.self, bufferingPolicy: .bufferingNewest(1))
    self.changes = changes
    self.signal = signal
    self.options = options
    reader = OplogReader(options: options, logger: logger) { signal.yield() }
  }

  /// The event in canonical Extended JSON.
  func text(at position: EventPosition) async throws(BridgeError) -> String {
    defer { reader.stop() }
    do {
      guard try await MongoAdmin.entryExists(options, at: position.entry) else {
        throw BridgeError.positionLost("the oplog no longer holds \(position.entry)")
      }
      var start = position.entry
      while true {
        switch try await search(position, from: start) {
        case .found(let text): return text
        case .absent:
          throw BridgeError.positionLost("the entry at \(position.entry) has no event \(position)")
        case .beginsEarlier(let previous):
          let first = try await MongoAdmin.transactionStart(options, from: previous)
          guard let first, first < start else {
            throw BridgeError.positionLost(
              "earlier entries of the transaction at \(position.entry) are no longer in the oplog")
          }
          start = first
        }
      }
    } catch let error as BridgeError {
      throw error
    } catch {
      throw .unavailable("MongoDB: \(error)")
    }
  }

  private enum Outcome {
    case found(String)
    case absent
    case beginsEarlier(OplogPosition)
  }

  private func search(
    _ position: EventPosition, from start: OplogPosition
  ) async throws -> Outcome {
    var decoder = OplogDecoder()
    let generation = reader.restart(at: ResumePoint(position: start, term: nil))
    var signals = changes.makeAsyncIterator()
    let ticker = Task { [signal] in
      while !Task.isCancelled {
        try? await Task.sleep(for: .milliseconds(200))
        signal.yield()
      }
    }
    defer { ticker.cancel() }
    var patience = Patience(Self.patience)
    while true {
      while let batch = reader.next() {
        guard batch.generation == generation else { continue }
        if let outcome = try Self.look(at: batch, for: position, &decoder) { return outcome }
      }
      switch reader.failure {
      case nil: break
      case .positionLost(let lost): throw BridgeError.positionLost("\(lost)")
      case .unsupported(let why): throw BridgeError.configuration(why)
      case .corruptReply(let why): throw BridgeError.halted(why)
      case .refused(let why): throw BridgeError.unavailable(why)
      }
      let status = reader.status
      try patience.check(status.entriesRead) { status.silence }
      _ = await signals.next()
    }
  }

  /// Nil: further on, perhaps.
  private static func look(
    at batch: OplogBatch, for position: EventPosition, _ decoder: inout OplogDecoder
  ) throws -> Outcome? {
    try withExtendedLifetime(batch) {
      var entries = batch.entries()
      while let element = try entries.next() {
        do throws(OplogError) {
          let header: OplogEntryHeader
          do {
            header = try decoder.begin(try view(element))
          }
          if header.position > position.entry { return .absent }
          while let event = try decoder.next() {
            if event.position == position { return .found(text(event)) }
          }
        } catch {
          if case .missingEarlierEntries(let previous) = error.reason,
            error.position == position.entry
          {
            return .beginsEarlier(previous)
          }
          // Another transaction that began earlier is of no interest.
          guard case .missingEarlierEntries = error.reason else { throw error }
        }
      }
      return nil
    }
  }

  private static func view(_ element: BSONElement) throws(OplogError) -> BSONView {
    guard let view = element.document else {
      throw OplogError(.wrongType(field: "", found: element.type))
    }
    return view
  }

  private static func text(_ event: ChangeEvent) -> String {
    var mapper = Mapper(rules: [], sourceName: "")
    var out = ByteWriter(capacity: 4096)
    mapper.writeDeadLetterBody(event: event, into: &out)
    return String(decoding: out.bytes, as: UTF8.self)
  }
}
