import Foundation
import Synchronization

/// Inserts documents 0, 1, 2, … one at a time with majority write concern, and retries each until it is
/// acknowledged.
final class Load: Sendable {
  let uri: String
  private let collection: String
  private let written = Atomic<Int>(0)
  private let over = Atomic<Bool>(false)
  private let task = Mutex<Task<Void, Never>?>(nil)

  var count: Int { written.load(ordering: .acquiring) }

  init(_ uri: String, into collection: String) {
    self.uri = uri
    self.collection = collection
  }

  func start() {
    task.withLock { $0 = Task { await run() } }
  }

  /// Returns the number of documents when the last one is acknowledged.
  func finish() async -> Int {
    over.store(true, ordering: .releasing)
    await task.withLock { $0 }?.value
    return count
  }

  private func run() async {
    var writer: MongoWriter?
    while !over.load(ordering: .acquiring) {
      let n = count
      do {
        let current = try writer ?? MongoWriter(uri)
        writer = current
        try await current.insert(n..<n + 1, into: collection)
        written.store(n + 1, ordering: .releasing)
      } catch {
        // A new client selects a server at once; an old one would wait for seconds.
        writer = nil
        try? await Task.sleep(for: .milliseconds(20))
      }
    }
  }
}
