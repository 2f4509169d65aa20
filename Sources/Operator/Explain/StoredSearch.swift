import Bridge
import JSON
import JetStream
import NATS
import Oplog
import Synchronization

/// Finds the bridge's messages in a stream by the event's position, or messages by their id.
///
/// What the bridge publishes in order has ascending positions, so a message is found by halving, with one question for
/// each step. What comes out of order (letters that were replayed, what was published in a producer's place, a refill)
/// and ids are found by reading the headers through.
struct StoredSearch: Sendable {
  let jetStream: JetStreamClient
  let ownership: MessageOwnership
  /// What is read through at most, of a stream's newest.
  static let mostRead: UInt64 = 10_000_000
  /// How many messages of others are passed over, one by one.
  private static let mostPassed = 64

  /// A message, and whose it is.
  struct Found: Sendable {
    var stream: String
    var message: StoredMessage
    var own: OwnMessage
    var owner: MessageOwner
  }

  struct Neighbours: Sendable {
    /// The bridge's messages of exactly that position.
    var found: [Found] = []
    /// The nearest ones of the bridge, before and behind it.
    var before: StreamObservation.Own?
    var behind: StreamObservation.Own?
    /// Too many messages of others in a row: it can't be said so.
    var isOpen = false
  }

  /// By halving.
  func neighbours(
    of position: EventPosition, in stream: String, _ info: StreamInfo
  ) async throws(JetStreamError) -> Neighbours {
    var result = Neighbours()
    guard info.messages > 0 else { return result }
    var low = max(info.firstSequence, 1)
    var high = info.lastSequence + 1
    while low < high {
      let middle = low + (high - low) / 2
      switch try await next(in: stream, from: middle, below: high) {
      case .own(let own, _) where own.position < position:
        result.before = own
        low = own.sequence + 1
      case .own, .end: high = middle
      case .tooMany:
        result.isOpen = true
        return result
      }
    }
    var sequence = low
    while sequence <= info.lastSequence {
      guard
        case .own(let own, let message) = try await next(
          in: stream, from: sequence, below: info.lastSequence + 1)
      else { break }
      guard own.position == position else {
        result.behind = own
        break
      }
      result.found.append(found(message, in: stream))
      sequence = own.sequence + 1
    }
    return result
  }

  private enum Next {
    case own(StreamObservation.Own, StoredMessage)
    case end
    case tooMany
  }

  /// The bridge's next message that was published in order.
  private func next(
    in stream: String, from first: UInt64, below limit: UInt64
  ) async throws(JetStreamError) -> Next {
    var sequence = first
    for _ in 0..<Self.mostPassed {
      guard sequence < limit,
        let message = try await jetStream.nextMessage(in: stream, from: sequence),
        message.sequence < limit
      else { return .end }
      if let own = ownership.own(message, in: stream) { return .own(own, message) }
      sequence = message.sequence + 1
    }
    return .tooMany
  }

  /// The bridge's first message; nil: there is none, or it comes after too many of others.
  func first(in stream: String, _ info: StreamInfo) async throws(JetStreamError) -> EventPosition? {
    guard info.messages > 0,
      case .own(let own, _) = try await next(
        in: stream, from: max(info.firstSequence, 1), below: info.lastSequence + 1)
    else { return nil }
    return own.position
  }

  func found(_ message: StoredMessage, in stream: String) -> Found {
    Found(
      stream: stream, message: message, own: message.own,
      owner: ownership.of(stream).owner(of: message))
  }

  /// Messages of that id, or of the bridge and of that position, by reading headers through: the newest stretch
  /// first, each larger than the one behind it, until there are some.
  func scan(
    _ stream: String, _ info: StreamInfo, id: String?, position: EventPosition?
  ) async throws(JetStreamError) -> [Found] {
    guard info.messages > 0 else { return [] }
    let first = max(info.firstSequence, 1)
    let floor = max(first, info.lastSequence - min(info.lastSequence, Self.mostRead - 1))
    var end = info.lastSequence
    var size: UInt64 = 20_000
    while end >= floor {
      let start = max(floor, end - min(end, size - 1))
      let hits = Hits()
      let ofStream = ownership.of(stream)
      let scan = StreamScan(
        jetStream, stream: stream, from: start, through: end, headersOnly: true
      ) { view, sequence in
        let marks = MessageMarks(view.headers)
        let isNamed = id.map { marks.storedID.has($0) || marks.id.has($0) } ?? false
        let isPlaced =
          position.map {
            marks.position == $0 && ofStream.owner(of: marks) == .thisBridge
          } ?? false
        if isNamed || isPlaced { hits.add(sequence) }
      }
      try await run(scan, of: stream)
      var found: [Found] = []
      for sequence in hits.sequences {
        guard let message = try await jetStream.message(in: stream, at: sequence) else { continue }
        found.append(self.found(message, in: stream))
      }
      if !found.isEmpty || start == floor { return found }
      end = start - 1
      size *= 8
    }
    return []
  }

  /// Until its end, or until the task is cancelled.
  private func run(_ scan: StreamScan, of stream: String) async throws(JetStreamError) {
    do {
      try await withTaskCancellationHandler {
        try await scan.run()
      } onCancel: {
        scan.stopReading()
      }
      try Task.checkCancellation()
    } catch let error as JetStreamError {
      throw error
    } catch {
      throw JetStreamError(
        code: 0, operation: "reading stream \(stream)", message: "\(error)", remedy: .backOff)
    }
  }

  private final class Hits: Sendable {
    private let state = Mutex<[UInt64]>([])
    /// Of very many, the first are enough to see.
    static let most = 100

    func add(_ sequence: UInt64) {
      state.withLock { if $0.count < Self.most { $0.append(sequence) } }
    }
    var sequences: [UInt64] { state.withLock { $0 } }
  }
}

extension UnsafeRawBufferPointer? {
  fileprivate func has(_ text: String) -> Bool { self?.elementsEqual(text.utf8) ?? false }
}
