import BSON
import Bridge
import MongoSource
import Oplog
import Synchronization

/// Reads documents for the prefetcher when a test says so. What it answers names what was asked for.
final class RecordedDocuments: DocumentReader {
  struct Asked {
    var request: ImageRequest
    var generation: UInt64
    var onAnswer: @Sendable (ImageAnswer) -> Void
  }

  private struct State {
    var generation: UInt64 = 0
    var isRefusing = false
    var asked: [Asked] = []
    /// The sizes of all requests.
    var counts: [Int] = []
    var bytes: [Int] = []
  }

  private let state = Mutex(State())

  /// As if the system refused a thread.
  var isRefusing: Bool {
    get { state.withLock { $0.isRefusing } }
    set { state.withLock { $0.isRefusing = newValue } }
  }

  /// Requests that nobody has answered.
  var open: Int { state.withLock { $0.asked.count } }
  var counts: [Int] { state.withLock { $0.counts } }
  var bytes: [Int] { state.withLock { $0.bytes } }
  var status: ImageStatus { ImageStatus() }

  /// As a thread that is already answering would, it keeps what was asked before.
  func restart() -> UInt64 {
    state.withLock { state in
      state.generation += 1
      return state.generation
    }
  }

  func submit(
    _ request: ImageRequest, generation: UInt64,
    onAnswer: @escaping @Sendable (ImageAnswer) -> Void
  ) -> Bool {
    state.withLock { state in
      guard !state.isRefusing, generation == state.generation else { return false }
      state.asked.append(Asked(request: request, generation: generation, onAnswer: onAnswer))
      state.counts.append(request.count)
      state.bytes.append(request.byteCount)
      return true
    }
  }

  /// Answers the oldest request, with `most` images at most.
  func answer(_ most: Int = .max) throws {
    let asked = state.withLock { state in state.asked.isEmpty ? nil : state.asked.removeFirst() }
    guard let asked else { return }
    let documents = (0..<min(most, asked.request.count)).map { number in
      asked.request.subject(ofImage: number).map {
        Self.document($0.entry, $0.key, $0.operation)
      }
    }
    asked.onAnswer(try ImageAnswer(generation: asked.generation, documents: documents))
  }

  /// What is answered for a change: where it is, and of which document.
  static func document(_ entry: OplogPosition, _ key: [UInt8], _ operation: Int64?) -> [UInt8] {
    var fields: [Value.Field] = [.init("at", .timestamp(entry.seconds, entry.increment))]
    fields.append(operation.map { .init("operation", .int64($0)) } ?? .init("key", .binary(0, key)))
    return Value.document(fields).bson
  }
}
