import Foundation
import MongoSource
import Oplog
import Testing

/// Servers without the history, that lose it, or are down for a while.
@Suite(.serialized, .needsMongod())
struct SnapshotServerTests {
  let name = "s\(UUID().uuidString.prefix(8))"

  @Test(.since(5, "servers read the past from 5.0 on")) func theHistoryEndsMeanwhile() async throws
  {
    try await ImageServerTests.withServer(
      ["--setParameter", "minSnapshotHistoryWindowInSeconds=3"]
    ) { options, writer in
      let collections = ["t", "a", "b"].map { name + $0 }
      for collection in collections { try await SnapshotTests.fill(writer, collection, 2000) }
      let load = ImageLoad(options.uri, into: collections, documents: 3000)
      load.start(clients: 2)
      var options = options
      options.snapshotPage = 50...50
      let tap = SnapshotTap(options, collections: name)
      let began = ContinuousClock.now
      tap.start()
      try await eventually("it reads") {
        try tap.take(atMost: 30 - tap.batches)
        return tap.batches == 30
      }
      // The server guarantees only the window; a slow machine may read longer.
      #expect(tap.exactBatches == 30 || began.duration(to: .now) > .seconds(3))
      try await Task.sleep(for: .seconds(8))
      let position = try await tap.finish()
      #expect(!tap.reader.status.isExact)
      #expect(tap.exactBatches < tap.batches)
      #expect(tap.marker?.isExact == false)
      await load.finish()
      try await tap.tail(from: position)
      try await tap.expectTruth(collections, options.uri)
      tap.reader.stop()
    }
  }

  @Test(arguments: ["4.4.2", "5.0.4"])
  func olderServers(version: String) async throws {
    guard (try? MongoProgram.path(version)) != nil else { return }
    try await ImageServerTests.withServer(version: version) { options, writer in
      let collections = ["t", "a", "b"].map { name + $0 }
      for collection in collections { try await SnapshotTests.fill(writer, collection, 2000) }
      let load = ImageLoad(options.uri, into: collections, documents: 3000)
      load.start(clients: 2)
      try await eventually("it is written to") { load.count > 100 }
      var options = options
      options.snapshotPage = 50...50
      let tap = SnapshotTap(options, collections: name)
      tap.start()
      let position = try await tap.finish()
      #expect(tap.exactBatches == (version == "4.4.2" ? 0 : tap.batches))
      await load.finish()
      try await tap.tail(from: position)
      try await tap.expectTruth(collections, options.uri)
      tap.reader.stop()
      try await SnapshotTests.changeCollectionsMeanwhile(options, writer, name + "x")
    }
  }

  @Test func theServerIsKilledMeanwhile() async throws {
    let lab = try await MongoLab.start(members: 1)
    let writer = try MongoWriter(lab.uri)
    let collections = ["t", "a", "b"].map { name + $0 }
    for collection in collections { try await SnapshotTests.fill(writer, collection, 2000) }
    let load = ImageLoad(lab.uri, into: collections, documents: 3000)
    load.start(clients: 2)
    var options = MongoSourceOptions(uri: lab.uri)
    options.snapshotPage = 40...40
    let tap = SnapshotTap(options, collections: name)
    tap.start()
    for round in 1...3 {
      try await eventually("it reads") {
        try tap.take(atMost: round * 30 - tap.batches)
        return tap.batches >= round * 30
      }
      try await lab.kill()
      try await eventually("it notices") {
        try tap.take(atMost: 2)
        if case .reopening = tap.reader.status.phase { return true }
        return false
      }
      try await lab.start()
      try await lab.waitUntilUsable()
    }
    let position = try await tap.finish()
    #expect(tap.reader.status.reopens >= 3)
    await load.finish()
    for (_, ids) in tap.ids { #expect(Set(ids).count == ids.count) }
    try await tap.tail(from: position)
    try await tap.expectTruth(collections, lab.uri)
    print("snapshot through 3 kills: \(tap.exactBatches) of \(tap.batches) batches exact")
    tap.reader.stop()
    try await lab.stop()
  }
}
