import Foundation
import Synchronization

/// Inserts documents 0, 1, 2, … one by one with majority write concern, whatever happens to the
/// server: each is repeated until it is acknowledged.
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

  /// Returns when the last document is acknowledged: how many there are.
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
        // A new client looks for servers at once; an old one would pause for seconds.
        writer = nil
        try? await Task.sleep(for: .milliseconds(20))
      }
    }
  }
}
