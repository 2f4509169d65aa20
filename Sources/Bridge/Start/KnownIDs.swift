import JetStream
import NATS
import NIOCore

/// Reads through what a stream holds, headers only, before a lane looks ids up: delivered in one go, a message
/// costs the server a fraction of what a question for its id does.
///
/// Only what came within the duplicate window, as the server finds no id beyond it, and only so many of the
/// newest: the rest is asked for.
struct KnownIDs: Sendable {
  let jetStream: JetStreamClient

  static let most: UInt64 = 500_000
  /// For the servers' clocks, and what takes its time between a question and its answer.
  private static let margin = 5

  /// Nil where that says nothing, or can't be done.
  func read(_ stream: PreparedStream, _ judge: DuplicateJudge?) async -> StoredIDs? {
    guard stream.screening != .never, !stream.isDeadLetter, PublishLane.takesKnownIDs(stream.mode)
    else { return nil }
    let asked = NIODeadline.now()
    guard let info = try? await jetStream.stream(stream.name), info.messages > 0,
      let now = info.answeredAt.flatMap({ ServerTime($0) })
    else { return nil }
    let window = Int(info.duplicateWindow.components.seconds)
    guard window > 2 * Self.margin,
      let first = try? await first(in: info, stream.name, since: now.seconds - window + Self.margin)
    else { return nil }
    let count = min(info.messages, info.lastSequence - first + 1)
    let search = Search(Int(count), judge) { seconds in
      asked + .seconds(Int64(seconds + window - now.seconds - Self.margin))
    }
    let scan = StreamScan(
      jetStream, stream: stream.name, from: first, through: info.lastSequence, headersOnly: true
    ) { view, sequence in search.take(view, sequence) }
    do { try await scan.run() } catch { return nil }
    return await search.found(on: jetStream.connection.eventLoop)
  }

  /// The first sequence from which on no message is older. Nil: there is none.
  private func first(
    in info: StreamInfo, _ stream: String, since seconds: Int
  ) async throws(JetStreamError) -> UInt64? {
    let last = info.lastSequence
    var low = max(info.firstSequence, 1, last - min(last, Self.most) + 1)
    var high = last + 1
    while low < high {
      let middle = low + (high - low) / 2
      guard let message = try await jetStream.nextMessage(in: stream, from: middle),
        message.sequence <= last
      else {
        high = middle
        continue
      }
      if ServerTime(message.time).map({ $0.seconds < seconds }) ?? true {
        low = message.sequence + 1
      } else {
        high = middle
      }
    }
    return low <= last ? low : nil
  }

  /// Sendable invariant: changed on the connection's event loop while a scan runs, read there when it is over.
  private final class Search: @unchecked Sendable {
    private var ids: StoredIDs
    private let judge: DuplicateJudge?
    private let expiry: @Sendable (Int) -> NIODeadline

    init(_ count: Int, _ judge: DuplicateJudge?, expiry: @escaping @Sendable (Int) -> NIODeadline) {
      ids = StoredIDs(capacity: count)
      self.judge = judge
      self.expiry = expiry
    }

    func take(_ view: borrowing NATSMessageView, _ sequence: UInt64) {
      let marks = MessageMarks(view.headers)
      // Whether the server finds what it copied from another stream is not documented.
      guard let id = marks.storedID, !marks.isCopy, let stored = StreamScan.storedAt(view)
      else { return }
      ids.add(
        id,
        StoredIDs.Message(
          sequence: sequence, expires: expiry(Int(stored / 1000)),
          mark: judge?.mark(view.headers) ?? StoredIDs.unclear))
    }

    func found(on eventLoop: any EventLoop) async -> StoredIDs? {
      try? await eventLoop.submit { self.ids }.get()
    }
  }
}
