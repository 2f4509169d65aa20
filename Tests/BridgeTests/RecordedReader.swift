import Bridge
import MongoSource
import Oplog
import Synchronization

/// A reader of recorded entries, in batches of a size that the test chooses.
final class RecordedReader: ChangeReader {
  private struct State {
    var batches: [[[UInt8]]] = []
    var next = 0
    var generation: UInt64 = 0
    var starts: [ResumePoint] = []
  }

  private let entries: [[UInt8]]
  private let state = Mutex(State())
  /// How many entries the batch with that number has.
  private let size: @Sendable (Int) -> Int

  init(_ entries: [[UInt8]], size: @escaping @Sendable (Int) -> Int = { _ in 3 }) {
    self.entries = entries
    self.size = size
  }

  var name: String { "recorded" }
  var readsOplog: Bool { true }
  var failure: SourceFailure? { nil }
  var status: SourceStatus { SourceStatus() }
  /// Where it was restarted, in order.
  var starts: [ResumePoint] { state.withLock { $0.starts } }

  func restart(at point: ResumePoint, after token: ResumeToken?) -> UInt64 {
    let from = entries.drop { (try? Self.position($0)).map { $0 < point.position } ?? false }
    return state.withLock { state in
      state.batches = []
      state.next = 0
      var rest = from[...]
      while !rest.isEmpty {
        let count = max(1, size(state.batches.count))
        state.batches.append(Array(rest.prefix(count)))
        rest = rest.dropFirst(count)
      }
      state.generation += 1
      state.starts.append(point)
      return state.generation
    }
  }

  func nextBatch() -> EventBatch? {
    let (batch, generation) = state.withLock { state -> ([[UInt8]]?, UInt64) in
      guard state.next < state.batches.count else { return (nil, 0) }
      state.next += 1
      return (state.batches[state.next - 1], state.generation)
    }
    guard let batch, let made = try? OplogBatch(entries: batch, generation: generation) else {
      return nil
    }
    return .oplog(made)
  }

  func stop(waiting limit: Duration) {}

  private static func position(_ entry: [UInt8]) throws -> OplogPosition? {
    try OplogBatch(entries: [entry], generation: 0).last.position
  }
}
