import BSON
import Foundation
import MongoSource
import Oplog
import Testing

/// Full documents of updates, read during concurrent writes.
@Suite(.serialized, .needsMongod())
struct ImageTests {
  let lab: MongoLab
  let options: MongoSourceOptions
  let name = "i\(UUID().uuidString.prefix(8))"

  init() async throws {
    lab = try await MongoLab.shared.value
    options = MongoSourceOptions(uri: lab.uri)
  }

  @Test(.since(5, "servers read the past from 5.0 on")) func everyPostImageIsWhatItsUpdateLeft()
    async throws
  {
    let start = try await majorityPosition(options)
    let tap = ImageTap(options, collections: name)
    tap.start(at: start)
    let load = ImageLoad(lab.uri, into: ["\(name)t", "\(name)a", "\(name)b"], documents: 5)
    load.start()
    try await tap.read("it reads", until: { $0.seen.count >= 8000 })
    await load.finish()
    let end = try await majorityPosition(options)
    try await tap.read("all is read", until: { $0.last.map { $0 >= end.position } ?? false })
    tap.expectExact()
    // Only states that a transaction overwrites itself can't be read.
    #expect(tap.count(.post) > tap.seen.count * 8 / 10)
    let expectedGone = tap.seen.filter { $0.kind == .none }
    #expect(expectedGone.isEmpty)
    let status = tap.images.status
    print(
      "images: \(tap.seen.count) of hot documents (15 documents, \(tap.count(.lookup)) hidden in "
        + "transactions) in \(status.roundTrips) round trips, "
        + "\(Int(Double(tap.seen.count) / (tap.waited / .seconds(1)))) images/s")
    tap.stop()
  }

  @Test(.since(5, "servers read the past from 5.0 on")) func aThousandUpdatesCostAFewRoundTrips()
    async throws
  {
    let writer = try MongoWriter(lab.uri)
    let total = 20_000
    for n in stride(from: 0, to: total, by: 2000) {
      try await writer.insert(n..<n + 2000, into: name, filler: 230)
    }
    let start = try await majorityPosition(options)
    for n in stride(from: 0, to: total, by: 1000) {
      let updates = (n..<n + 1000).map { #"{"q":{"_id":\#($0)},"u":{"$set":{"a":\#($0)}}}"# }
      try await writer.command(
        #"{"update":"\#(name)","updates":[\#(updates.joined(separator: ","))],"#
          + #""writeConcern":{"w":"majority"}}"#)
    }
    let tap = ImageTap(options, collections: name)
    tap.start(at: start)
    try await tap.read("all is read", until: { $0.seen.count >= total })
    #expect(tap.count(.post) == total)
    let right = tap.seen.allSatisfy { $0.found?["a"] == $0.expected?["a"] && $0.found?["a"] != nil }
    #expect(right)
    // One for each batch of the oplog, whose size is the server's affair: other entries, and its load, make them
    // smaller.
    let trips = tap.images.status.roundTrips
    #expect(trips == tap.images.status.requests)
    #expect(trips == tap.asking && trips < UInt64(total / 20))
    print(
      "images: \(total) of different documents in \(trips) round trips, "
        + "\(Int(Double(total) / (tap.waited / .seconds(1)))) images/s")
    tap.stop()
  }

  @Test(.since(5, "servers read the past from 5.0 on")) func largeDocumentsAreAnsweredInParts()
    async throws
  {
    let writer = try MongoWriter(lab.uri)
    for n in 0..<10 { try await writer.insert(n..<n + 1, into: name, filler: 3 << 20) }
    let start = try await majorityPosition(options)
    let updates = (0..<10).map { #"{"q":{"_id":\#($0)},"u":{"$set":{"a":\#($0)}}}"# }
    try await writer.command(
      #"{"update":"\#(name)","updates":[\#(updates.joined(separator: ","))],"#
        + #""writeConcern":{"w":"majority"}}"#)
    let tap = ImageTap(options, collections: name, bytesPerAnswer: 8 << 20)
    tap.start(at: start)
    try await tap.read("all is read", until: { $0.seen.count >= 10 })
    #expect(tap.seen.map { $0.found?["a"] } == (0..<10).map { $0 })
    #expect(tap.count(.post) == 10)
    // 30 MB also exceed one reply of the server.
    let whole = ImageTap(options, collections: name)
    whole.start(at: start)
    try await whole.read("all is read", until: { $0.seen.count >= 10 })
    #expect(whole.seen.map { $0.found?["a"] } == (0..<10).map { $0 })
    tap.stop()
    whole.stop()
  }

  @Test(.since(5, "servers read the past from 5.0 on")) func idsOfAllTypesAreFound() async throws {
    let writer = try MongoWriter(lab.uri)
    let ids = [
      "null", "1", #"{"$numberLong":"2"}"#, "1.5", #"{"$numberDecimal":"7.25"}"#,
      #"{"$numberDouble":"NaN"}"#, #""a""#, #""""#, #"{"x":1}"#, #"{"x":{"y":[1,2]}}"#, "{}",
      #"{"$binary":{"base64":"eA==","subType":"00"}}"#,
      #"{"$oid":"5f3a1b2c3d4e5f6071829304"}"#, "true", "false",
      #"{"$date":{"$numberLong":"5"}}"#, #"{"$timestamp":{"t":1,"i":1}}"#, #"{"$minKey":1}"#,
      #"{"$maxKey":1}"#, #"{"$ref":"c","$id":1}"#, #"{"$code":"f"}"#,
    ]
    let documents = ids.map { #"{"_id":\#($0)}"# }.joined(separator: ",")
    try await writer.command(#"{"insert":"\#(name)","documents":[\#(documents)]}"#)
    let start = try await majorityPosition(options)
    for (n, id) in ids.enumerated() {
      try await writer.command(
        #"{"update":"\#(name)","updates":[{"q":{"_id":{"$eq":\#(id)}},"u":{"$set":{"a":\#(n)}}}]}"#)
    }
    let tap = ImageTap(options, collections: name)
    tap.start(at: start)
    try await tap.read("all is read", until: { $0.seen.count >= ids.count })
    #expect(tap.seen.map { $0.found?["a"] } == ids.indices.map { $0 })
    #expect(tap.count(.post) == ids.count)
    tap.stop()
  }

  @Test(.since(5, "servers read the past from 5.0 on")) func anUpdateShowsWhatADeleteTookAway()
    async throws
  {
    let writer = try MongoWriter(lab.uri)
    let start = try await majorityPosition(options)
    try await writer.insert(0..<1, into: name)
    try await writer.command(
      #"{"update":"\#(name)","updates":[{"q":{"_id":0},"u":{"$set":{"a":1}}}]}"#)
    try await writer.command(
      #"{"delete":"\#(name)","deletes":[{"q":{"_id":0},"limit":1}]}"#)
    try await writer.insert(0..<1, into: name)
    try await writer.command(
      #"{"update":"\#(name)","updates":[{"q":{"_id":0},"u":{"$set":{"a":2}}}]}"#)
    let tap = ImageTap(options, collections: name)
    tap.start(at: start)
    try await tap.read("all is read", until: { $0.seen.count >= 2 })
    #expect(tap.seen.map(\.kind) == [.post, .post])
    #expect(tap.seen.map { $0.found?["a"] } == [1, 2])
    tap.stop()
  }

  /// Updates a document in each of three collections. Then the first is dropped and created again, the
  /// second renamed and replaced by another, and the third replaced by a view.
  static func replaceCollections(_ writer: MongoWriter, _ name: String) async throws {
    for (collection, mark) in [("\(name)d", 1), ("\(name)r", 2), ("\(name)v", 3)] {
      try await writer.insert(0..<1, into: collection)
      try await writer.command(
        #"{"update":"\#(collection)","updates":[{"q":{"_id":0},"u":{"$set":{"a":\#(mark)}}}]}"#)
    }
    try await writer.command(#"{"drop":"\#(name)d"}"#)
    try await writer.command(
      #"{"renameCollection":"test.\#(name)r","to":"test.\#(name)s"}"#, database: "admin")
    try await writer.command(#"{"drop":"\#(name)v"}"#)
    for collection in ["\(name)d", "\(name)r", "\(name)w"] {
      try await writer.command(
        #"{"insert":"\#(collection)","documents":[{"_id":0,"wrong":1}],"#
          + #""writeConcern":{"w":"majority"}}"#)
    }
    try await writer.command(#"{"create":"\#(name)v","viewOn":"\#(name)w"}"#)
  }

  @Test func aCollectionThatTookTheNameIsNeverRead() async throws {
    let start = try await majorityPosition(options)
    try await Self.replaceCollections(MongoWriter(lab.uri), name)
    let end = try await majorityPosition(options)
    let tap = ImageTap(options, collections: name)
    tap.start(at: start)
    try await tap.read("all is read", until: { $0.last.map { $0 >= end.position } ?? false })
    // The renamed collection is found under its new name; the dropped ones have no images.
    #expect(tap.seen.map(\.kind) == [.none, .lookup, .none])
    #expect(tap.seen[1].found?["a"] == 2)
    #expect(tap.seen.allSatisfy { $0.found?["wrong"] == nil })
    tap.stop()
  }

  @Test(.since(5, "servers read the past from 5.0 on")) func inATransactionTheLastUpdateShows()
    async throws
  {
    let writer = try MongoWriter(lab.uri)
    try await writer.insert(0..<2, into: name)
    let start = try await majorityPosition(options)
    let steps = [(0, 1), (1, 2), (0, 3)].map { id, n in
      #"{"q":{"_id":\#(id)},"u":{"$set":{"a":\#(n)}}}"#
    }
    try await writer.transaction(
      #"{"update":"\#(name)","updates":[\#(steps.joined(separator: ","))]}"#)
    let tap = ImageTap(options, collections: name)
    tap.start(at: start)
    try await tap.read("all is read", until: { $0.seen.count >= 3 })
    #expect(tap.seen.map(\.kind) == [.lookup, .post, .post])
    #expect(tap.seen.map { $0.found?["a"] } == [3, 2, 3])
    #expect(tap.images.status.roundTrips == 1)
    tap.stop()
  }

  @Test(.since(5, "servers read the past from 5.0 on")) func cappedCollectionsAreLookedUp()
    async throws
  {
    let writer = try MongoWriter(lab.uri)
    try await writer.command(#"{"create":"\#(name)","capped":true,"size":100000}"#)
    // Servers before 6.0 reject updates that change the size of a document in a capped collection.
    try await writer.command(
      #"{"insert":"\#(name)","documents":[{"_id":0,"a":0}],"writeConcern":{"w":"majority"}}"#)
    let start = try await majorityPosition(options)
    for n in 1...2 {
      try await writer.command(
        #"{"update":"\#(name)","updates":[{"q":{"_id":0},"u":{"$set":{"a":\#(n)}}}],"#
          + #""writeConcern":{"w":"majority"}}"#)
    }
    let tap = ImageTap(options, collections: name)
    tap.start(at: start)
    try await tap.read("all is read", until: { $0.seen.count >= 2 })
    #expect(tap.seen.last?.found?["a"] == 2)
    #expect(tap.count(.lookup) == 2)
    tap.stop()
  }

  /// Document keys of sharded collections have more than an id, and the rest must match too.
  @Test(
    .since(5, "servers read the past from 5.0 on"),
    arguments: [
      (#"{"x":1,"s.k":5,"_id":0}"#, true), (#"{"x":2,"s.k":5,"_id":0}"#, false),
      (#"{"x":1,"s.k":"5","_id":0}"#, false), (#"{"x":1,"s.k":5,"none":null,"_id":0}"#, true),
      (#"{"_id":0,"none":1}"#, false), (#"{"_id":0}"#, true),
    ])
  func aKeyFitsAsAWhole(key: String, fits: Bool) async throws {
    let writer = try MongoWriter(lab.uri)
    try await writer.command(
      #"{"insert":"\#(name)","documents":[{"_id":0,"x":1,"s":{"j":0,"k":5}}],"#
        + #""writeConcern":{"w":"majority"}}"#)
    let position = try await majorityPosition(options).position
    let keyBytes = try MongoWriter.bson(key)
    let namespace = Array("test.\(name)".utf8)
    var request = ImageRequest()
    try namespace.withUnsafeBytes { namespace in
      try keyBytes.withUnsafeBytes { key in
        let event = ChangeEvent(
          operation: .update, position: EventPosition(entry: position, index: 0),
          namespace: namespace, databaseLength: 4, documentKey: try BSONView(key))
        _ = request.add(event, wanted: true)
      }
    }
    let reader = ImageReader(options: options, logger: silentLogger)
    let asked = request
    let answer = await withCheckedContinuation { continuation in
      reader.submit(asked, generation: 0) { continuation.resume(returning: $0) }
    }
    #expect(answer.count == 1)
    #expect(answer[0].kind == (fits ? .post : .none))
    reader.stop()
  }

  @Test func nothingIsAnsweredAfterARestart() async throws {
    let reader = ImageReader(options: options, logger: silentLogger)
    let first = reader.restart()
    let second = reader.restart()
    #expect(second > first)
    reader.submit(ImageRequest(), generation: first) { _ in Issue.record("it was superseded") }
    let answer = await withCheckedContinuation { continuation in
      reader.submit(ImageRequest(), generation: second) { continuation.resume(returning: $0) }
    }
    #expect(answer.generation == second)
    #expect(answer.count == 0)
    reader.stop()
    #expect(reader.status.phase == .stopped)
    reader.submit(ImageRequest(), generation: second) { _ in Issue.record("it is stopped") }
  }
}
