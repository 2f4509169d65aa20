import BSON
import Foundation
import MongoSource
import Oplog
import TestRandom
import Testing

/// Existing documents, read during concurrent writes, and the oplog after them.
@Suite(.serialized, .needsMongod())
struct SnapshotTests {
  let lab: MongoLab
  let options: MongoSourceOptions
  let name = "s\(UUID().uuidString.prefix(8))"

  init() async throws {
    lab = try await MongoLab.shared.value
    var options = MongoSourceOptions(uri: lab.uri)
    options.snapshotPage = 7...50
    self.options = options
  }

  static func fill(_ writer: MongoWriter, _ collection: String, _ count: Int) async throws {
    for n in stride(from: 0, to: count, by: 1000) {
      try await writer.insert(n..<min(n + 1000, count), into: collection)
    }
  }

  @Test(.since(6, "clustered collections come with 5.3")) func everyDocumentComesOnce() async throws
  {
    let writer = try MongoWriter(lab.uri)
    try await writer.command(#"{"create":"\#(name)empty"}"#)
    try await writer.command(#"{"create":"\#(name)capped","capped":true,"size":1000000}"#)
    try await writer.command(
      #"{"create":"\#(name)clustered","clusteredIndex":{"key":{"_id":1},"unique":true}}"#)
    try await writer.command(#"{"create":"\#(name)view","viewOn":"\#(name)plain"}"#)
    try await writer.command(
      #"{"create":"\#(name)series","timeseries":{"timeField":"t"}}"#)
    for collection in ["plain", "capped", "clustered"] {
      try await Self.fill(writer, name + collection, 2345)
    }
    let tap = SnapshotTap(options, collections: name)
    tap.start()
    let position = try await tap.finish()
    let namespaces = ["capped", "clustered", "empty", "plain"].map { "test.\(name)\($0)" }
    #expect(tap.ended.sorted() == namespaces)
    let all = (0..<2345).map { n in
      [16] + withUnsafeBytes(of: Int32(n).littleEndian) { Array($0) }
    }
    for collection in ["plain", "capped", "clustered"] {
      #expect(tap.ids["test.\(name)\(collection)"] == all)
    }
    // Servers refuse reads of capped collections at a past time.
    #expect(tap.inexact == ["test.\(name)capped"])
    let status = tap.reader.status
    #expect(!status.isExact)
    #expect(status.position == position)
    #expect(status.progress.documents == 3 * 2345)
    #expect(status.progress.estimatedDocuments == 3 * 2345)
    #expect(status.progress.fraction == 1)
    #expect(status.progress.collectionsDone == 4)
    #expect(status.progress.collections == 4)
    try await tap.tail(from: position)
    try await tap.expectTruth(
      ["plain", "capped", "clustered"].map { name + $0 }, lab.uri)
    tap.reader.stop()
  }

  static let ids = [
    "null", "1", #"{"$numberLong":"2"}"#, "1.5", #"{"$numberDecimal":"7.25"}"#,
    #"{"$numberDouble":"NaN"}"#, #"{"$numberDouble":"-Infinity"}"#, #"{"$numberDouble":"-0.0"}"#,
    #""a""#, #""""#, #""b\u0000c""#, #""x1""#, #""x10""#, #""x2""#, #"{"x":1}"#,
    #"{"x":{"y":[1,2]}}"#, "{}", #"{"$binary":{"base64":"eA==","subType":"00"}}"#,
    #"{"$binary":{"base64":"","subType":"05"}}"#, #"{"$oid":"5f3a1b2c3d4e5f6071829304"}"#,
    "true", "false", #"{"$date":{"$numberLong":"-5"}}"#, #"{"$timestamp":{"t":1,"i":1}}"#,
    #"{"$minKey":1}"#, #"{"$maxKey":1}"#, #"{"$ref":"c","$id":1}"#, #"{"$code":"f"}"#,
    #"{"$code":"f","$scope":{"a":1}}"#, #"{"$symbol":"s"}"#,
  ]

  /// Clustered ones come with 5.3.
  private static let kindsOfCollections = [
    "", #","collation":{"locale":"en","strength":1}"#,
    #","collation":{"locale":"en","numericOrdering":true}"#,
    #","capped":true,"size":100000"#, #","clusteredIndex":{"key":{"_id":1},"unique":true}"#,
    #","clusteredIndex":{"key":{"_id":1},"unique":true},"collation":{"locale":"de"}"#,
  ].filter { MongoProgram.major >= 6 || !$0.contains("clustered") }

  @Test(arguments: kindsOfCollections)
  func idsOfAllTypesAreRead(collection: String) async throws {
    let writer = try MongoWriter(lab.uri)
    try await writer.command(#"{"create":"\#(name)"\#(collection)}"#)
    // With a collation, the server rejects symbols.
    let ids = collection.contains("collation") ? Self.ids.dropLast() : Self.ids[...]
    let documents = ids.map { #"{"_id":\#($0)}"# }.joined(separator: ",")
    try await writer.command(
      #"{"insert":"\#(name)","documents":[\#(documents)],"writeConcern":{"w":"majority"}}"#)
    let count = try await writer.command(#"{"count":"\#(name)"}"#)
    try #require(count.contains(#""n" : \#(ids.count),"#), "\(count)")
    for (size, usesIndex) in [
      (2, true), (3, true), (ids.count, true), (ids.count + 1, true), (3, false),
    ] {
      var options = options
      options.snapshotPage = size...size
      options.snapshotUsesIndex = usesIndex
      let tap = SnapshotTap(options, collections: name)
      tap.start()
      _ = try await tap.finish()
      let found = tap.ids["test.\(name)"] ?? []
      #expect(found.count == ids.count, "page of \(size)")
      #expect(Set(found).count == found.count, "page of \(size)")
      tap.reader.stop()
    }
  }

  @Test func documentsLargerThanAReply() async throws {
    let writer = try MongoWriter(lab.uri)
    for n in 0..<4 { try await writer.insert(n..<n + 1, into: name, filler: 16_000_000) }
    for n in stride(from: 4, to: 30, by: 13) {
      try await writer.insert(n..<n + 13, into: name, filler: 1 << 20)
    }
    let tap = SnapshotTap(options, collections: name)
    tap.start()
    let position = try await tap.finish()
    #expect(tap.ids["test.\(name)"]?.count == 30)
    try await tap.tail(from: position)
    #expect(tap.model.documents.count == 30)
    tap.reader.stop()
  }

  @Test func snapshotAndOplogGiveThePresent() async throws {
    let writer = try MongoWriter(lab.uri)
    let collections = ["t", "a", "b", "c"].map { name + $0 }
    for collection in collections { try await Self.fill(writer, collection, 3000) }
    let load = ImageLoad(lab.uri, into: collections, documents: 4000)
    load.start()
    try await eventually("it is written to") { load.count > 200 }
    let tap = SnapshotTap(options, collections: name)
    tap.start()
    let position = try await tap.finish()
    let during = load.count
    try await eventually("it is written to after the end") { load.count > during + 200 }
    await load.finish()
    // Servers read the past from 5.0 on.
    #expect(tap.exactBatches == (MongoProgram.major >= 5 ? tap.batches : 0))
    try await tap.tail(from: position)
    try await tap.expectTruth(collections, lab.uri)
    tap.reader.stop()
  }

  @Test func interruptedAnywhereItContinues() async throws {
    let writer = try MongoWriter(lab.uri)
    let collections = ["t", "a", "b", "c", "d"].map { name + $0 }
    for collection in collections { try await Self.fill(writer, collection, 1500) }
    let load = ImageLoad(lab.uri, into: collections, documents: 2000)
    load.start()
    var random = SeededRandom(seed: UInt64.random(in: 0...1000))
    var options = options
    options.snapshotPage = 40...40
    let tap = SnapshotTap(options, collections: name)
    tap.start()
    for _ in 0..<25 {
      let wanted = tap.batches + Int.random(in: 0...9, using: &random)
      try await eventually("batches come") {
        if let failure = tap.reader.failure { throw failure }
        try tap.take(atMost: wanted - tap.batches)
        if case .finished = tap.reader.status.phase { return true }
        return tap.batches >= wanted
      }
      tap.start(from: tap.marker)
    }
    // And by another reader, from the stored marker.
    let marker = try #require(tap.marker)
    let position = try await tap.finish()
    #expect(position == marker.position)
    await load.finish()
    // Servers read the past from 5.0 on.
    #expect(tap.exactBatches == (MongoProgram.major >= 5 ? tap.batches : 0))
    // Without duplicates: a marker is exact.
    for (_, ids) in tap.ids { #expect(Set(ids).count == ids.count) }
    try await tap.tail(from: position)
    try await tap.expectTruth(collections, lab.uri)
    tap.reader.stop()
  }

  @Test func collectionsComeGoAndChangeNamesMeanwhile() async throws {
    try await Self.changeCollectionsMeanwhile(options, MongoWriter(lab.uri), name)
  }

  static func changeCollectionsMeanwhile(
    _ options: MongoSourceOptions, _ writer: MongoWriter, _ name: String
  ) async throws {
    let collections = (0..<8).map { "\(name)c\($0)" }
    for collection in collections { try await fill(writer, collection, 500) }
    var options = options
    options.queuedBatches = 1
    options.snapshotPage = 50...50
    let tap = SnapshotTap(options, collections: name)
    tap.start()
    try await eventually("it reads") {
      try tap.take(atMost: 5 - tap.batches)
      return tap.batches == 5
    }
    // One that is being read or done, and others that are not.
    for (n, collection) in collections.enumerated() {
      switch n % 4 {
      case 0: try await writer.command(#"{"drop":"\#(collection)"}"#)
      case 1:
        try await writer.command(
          #"{"renameCollection":"test.\#(collection)","to":"test.\#(collection)new"}"#,
          database: "admin")
      case 2:
        try await writer.command(#"{"drop":"\#(collection)"}"#)
        try await writer.insert(200..<220, into: collection)
      default: try await writer.insert(500..<510, into: collection)
      }
    }
    try await writer.insert(0..<10, into: "\(name)made")
    let position = try await tap.finish()
    #expect(!tap.reader.status.isExact)
    try await tap.tail(from: position)
    let now =
      [1, 5].map { "\(name)c\($0)new" } + [2, 6, 3, 7].map { "\(name)c\($0)" } + ["\(name)made"]
    try await tap.expectTruth(now, options.uri)
    tap.reader.stop()
  }

  /// The oplog after the position repeats the renames, so documents are reported under the names at the
  /// position, however much later collections are listed.
  @Test func collectionsTakeEachOthersNamesWhileInterrupted() async throws {
    let writer = try MongoWriter(lab.uri)
    func collection(_ n: Int) -> String { "\(name)c\(n)" }
    func rename(_ from: String, _ to: String, dropping: Bool = false) async throws {
      try await writer.command(
        #"{"renameCollection":"test.\#(from)","to":"test.\#(to)","dropTarget":\#(dropping)}"#,
        database: "admin")
    }
    for n in 0..<24 {
      try await writer.insert((100 * n)..<(100 * n + 100), into: collection(n))
    }
    var options = options
    options.queuedBatches = 1
    options.snapshotPage = 50...50
    let tap = SnapshotTap(options, collections: name)
    tap.start()
    // Some are done, one is started; most are not read.
    try await eventually("it reads") {
      try tap.take(atMost: 13 - tap.batches)
      return tap.batches == 13
    }
    var now = [String]()
    for n in stride(from: 0, to: 24, by: 4) {
      // One is renamed, and another is created under the old name.
      try await rename(collection(n), collection(n) + "new")
      try await writer.insert(5000..<5020, into: collection(n))
      // Two swap their names.
      try await rename(collection(n + 1), "\(name)between")
      try await rename(collection(n + 2), collection(n + 1))
      try await rename("\(name)between", collection(n + 2))
      now += [collection(n), collection(n) + "new", collection(n + 1)]
      // One replaces another.
      try await rename(collection(n + 3), collection(n + 2), dropping: true)
      now.append(collection(n + 2))
    }
    tap.start(from: tap.marker)
    let position = try await tap.finish()
    #expect(!tap.reader.status.isExact)
    try await tap.tail(from: position)
    try await tap.expectTruth(now, lab.uri)
    tap.reader.stop()
  }

  @Test func nothingToReadIsFinishedAtOnce() async throws {
    let tap = SnapshotTap(options, collections: "nothing-is-called-so")
    tap.start()
    let position = try await tap.finish()
    #expect(tap.batches == 0)
    try await tap.tail(from: position)
    tap.reader.stop()
    #expect(tap.reader.status.phase == .stopped)
  }

  @Test func aMarkerThatTheOplogHasLostIsRefused() async throws {
    let writer = try MongoWriter(lab.uri)
    try await Self.fill(writer, name, 100)
    let tap = SnapshotTap(options, collections: name)
    tap.start()
    _ = try await tap.finish()
    var marker = try #require(tap.marker)
    marker.position.position = OplogPosition(seconds: 1_600_000_000, increment: 1)
    tap.start(from: marker)
    try await eventually("it fails") { tap.reader.failure != nil }
    guard case .positionLost(let lost) = tap.reader.failure else {
      Issue.record("not a lost position: \(String(describing: tap.reader.failure))")
      return
    }
    #expect(lost.reason == .rolledOver)
    #expect(tap.reader.status.phase == .failed)
    tap.reader.stop()
  }

  @Test func throughput() async throws {
    let writer = try MongoWriter(lab.uri)
    let total = 100_000
    for n in stride(from: 0, to: total, by: 2000) {
      try await writer.insert(n..<n + 2000, into: name, filler: 230)
    }
    let prefix = name
    let reader = SnapshotReader(
      options: MongoSourceOptions(uri: lab.uri), filter: { $0 == "test" && $1 == prefix },
      logger: silentLogger, onChange: {})
    let began = ContinuousClock.now
    reader.restart()
    var documents = 0
    var batches = 0
    while documents < total {
      guard let batch = reader.next() else {
        try #require(reader.failure == nil)
        try await Task.sleep(for: .milliseconds(1))
        continue
      }
      documents += batch.count
      batches += 1
    }
    let seconds = (ContinuousClock.now - began) / .seconds(1)
    print(
      "snapshot: \(documents) documents in \(batches) batches, \(Int(Double(documents) / seconds))/s"
    )
    reader.stop()
  }
}
