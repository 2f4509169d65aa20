import BSON
import Foundation
import MongoSource
import Oplog
import Testing

/// Servers without the history, or that lose it.
@Suite(.serialized, .needsMongod())
struct ImageServerTests {
  let name = "i\(UUID().uuidString.prefix(8))"

  /// A replica set of one member.
  static func withServer(
    _ arguments: [String] = [], version: String? = nil,
    _ body: (MongoSourceOptions, MongoWriter) async throws -> Void
  ) async throws {
    let mongod = try await LoneMongod.start(["--replSet", "one"] + arguments, version: version)
    defer { mongod.stop() }
    let options = MongoSourceOptions(uri: mongod.uri + "?directConnection=true")
    try await eventually("the set is initiated") {
      (try? await MongoWriter(options.uri).command(
        mongod.initiate("one"), database: "admin")) != nil
    }
    let writer = try MongoWriter(options.uri)
    try await eventually("there is a primary") {
      (try? await writer.insert(0..<1, into: "ready")) != nil
    }
    try await body(options, writer)
  }

  func update(_ writer: MongoWriter, _ value: Int, documents: Range<Int>) async throws {
    let updates = documents.map { #"{"q":{"_id":\#($0)},"u":{"$set":{"a":\#(value)}}}"# }
    try await writer.command(
      #"{"update":"\#(name)","updates":[\#(updates.joined(separator: ","))],"#
        + #""writeConcern":{"w":"majority"}}"#)
  }

  @Test(.since(5, "servers read the past from 5.0 on")) func whatIsOlderThanTheHistoryIsLookedUp()
    async throws
  {
    try await Self.withServer(["--setParameter", "minSnapshotHistoryWindowInSeconds=1"]) {
      options, writer in
      try await writer.insert(0..<50, into: name)
      let start = try await majorityPosition(options)
      try await update(writer, 1, documents: 0..<50)
      try await update(writer, 2, documents: 0..<50)
      for n in 0..<25 {
        try await writer.insert(n..<n + 1, into: "other")
        try await Task.sleep(for: .milliseconds(100))
      }
      let tap = ImageTap(options, collections: name)
      tap.start(at: start)
      try await tap.read("the old ones are read", until: { $0.seen.count >= 100 })
      #expect(tap.count(.lookup) == 100)
      #expect(tap.seen.allSatisfy { $0.found?["a"] == 2 })
      // One refusal and one lookup per answer, not one refusal per read.
      #expect(tap.images.status.roundTrips <= 4)
      try await update(writer, 3, documents: 0..<50)
      try await tap.read("the new ones are read", until: { $0.seen.count >= 150 })
      #expect(tap.count(.post) == 50)
      tap.expectExact()
      tap.stop()
    }
  }

  /// Before 5.0 there are no reads at a past time, and before 6.0 no check of a collection's UUID.
  @Test(arguments: ["4.4.2", "5.0.4"])
  func olderServersGiveWhatTheyCan(version: String) async throws {
    guard (try? MongoProgram.path(version)) != nil else { return }
    try await Self.withServer(version: version) { options, writer in
      try await writer.insert(0..<20, into: name)
      let start = try await majorityPosition(options)
      try await update(writer, 1, documents: 0..<20)
      try await update(writer, 2, documents: 0..<20)
      try await writer.command(
        #"{"delete":"\#(name)","deletes":[{"q":{"_id":0},"limit":1}],"#
          + #""writeConcern":{"w":"majority"}}"#)
      let tap = ImageTap(options, collections: name)
      tap.start(at: start)
      try await tap.read("all is read", until: { $0.seen.count >= 40 })
      if version == "4.4.2" {
        #expect(tap.count(.post) == 0)
        #expect(tap.count(.none) == 2)
        #expect(tap.seen.allSatisfy { $0.kind == .none || $0.found?["a"] == 2 })
      } else {
        #expect(tap.count(.post) == 40)
        tap.expectExact()
      }
      tap.stop()
    }
  }

  @Test(arguments: ["4.4.2", "5.0.4"])
  func olderServersNeverReadACollectionThatTookTheName(version: String) async throws {
    guard (try? MongoProgram.path(version)) != nil else { return }
    try await Self.withServer(version: version) { options, writer in
      let start = try await majorityPosition(options)
      try await ImageTests.replaceCollections(writer, name)
      let end = try await majorityPosition(options)
      let tap = ImageTap(options, collections: name)
      tap.start(at: start)
      try await tap.read("all is read", until: { $0.last.map { $0 >= end.position } ?? false })
      #expect(tap.seen.map(\.kind) == [.none, .lookup, .none])
      #expect(tap.seen[1].found?["a"] == 2)
      #expect(tap.seen.allSatisfy { $0.found?["wrong"] == nil })
      tap.stop()
    }
  }

  @Test(.since(6, "servers keep pre-images from 6.0 on")) func preImagesAreFound() async throws {
    let lab = try await MongoLab.shared.value
    let options = MongoSourceOptions(uri: lab.uri)
    let writer = try MongoWriter(lab.uri)
    try await writer.command(
      #"{"create":"\#(name)","changeStreamPreAndPostImages":{"enabled":true}}"#)
    try await writer.insert(0..<300, into: name)
    let start = try await majorityPosition(options)
    try await update(writer, 1, documents: 0..<300)
    // The same document twice: two operations of one entry.
    let steps = [2, 3].map { #"{"q":{"_id":0},"u":{"$set":{"a":\#($0)}}}"# }
    try await writer.transaction(
      #"{"update":"\#(name)","updates":[\#(steps.joined(separator: ","))]}"#)
    try await writer.command(
      #"{"delete":"\#(name)","deletes":[{"q":{"_id":0},"limit":1}],"#
        + #""writeConcern":{"w":"majority"}}"#)
    let end = try await majorityPosition(options)

    let images = ImageReader(options: options, logger: silentLogger)
    let oplog = OplogReader(options: options, logger: silentLogger) {}
    oplog.restart(at: start)
    var request = ImageRequest()
    var expected: [Int?] = []
    var decoder = OplogDecoder()
    var last = start.position
    while last < end.position {
      guard let batch = oplog.next() else {
        try #require(oplog.failure == nil)
        try await Task.sleep(for: .milliseconds(5))
        continue
      }
      defer { withExtendedLifetime(batch) {} }
      last = batch.last.position
      var walk = batch.entries()
      while let element = try walk.next() {
        let header = try decoder.begin(BSONView(element.value))
        while let event = try decoder.next() {
          guard header.position > start.position,
            String(decoding: event.namespace, as: UTF8.self) == "test.\(name)",
            let uuid = event.collectionUUID
          else { continue }
          let number = request.addPreImage(
            collection: uuid, entry: event.position.entry, operation: Int64(event.position.index))
          #expect(number == expected.count)
          let id = try event.documentKey?.first("_id")?.integer
          expected.append(id == 0 ? expected.count { $0 != nil } : nil)
        }
      }
    }
    // This one was not recorded.
    let missing = [UInt8](repeating: 7, count: 16).withUnsafeBytes {
      request.addPreImage(collection: $0, entry: end.position, operation: 0)
    }
    let asked = request
    let answer = await withCheckedContinuation { continuation in
      images.submit(asked, generation: 0) { continuation.resume(returning: $0) }
    }
    defer { withExtendedLifetime(answer) {} }
    #expect(answer.count == 304)
    #expect(answer[missing].kind == .none)
    let found = try (0..<missing).map { index in
      #expect(answer[index].kind == .pre)
      return try answer[index].document.map { try ImageModel.fields($0) } ?? [:]
    }
    #expect(found.prefix(300).allSatisfy { $0["a"] == nil })
    #expect(found.suffix(3).map { $0["a"] } == [1, 2, 3])
    #expect(images.status.roundTrips == 2)
    images.stop()
    oplog.stop()
  }

  @Test(.since(5, "servers read the past from 5.0 on")) func theServerIsKilledWhileItIsAsked()
    async throws
  {
    let lab = try await MongoLab.start(members: 1)
    let options = MongoSourceOptions(uri: lab.uri)
    let start = try await majorityPosition(options)
    let tap = ImageTap(options, collections: name)
    tap.start(at: start)
    let load = ImageLoad(lab.uri, into: ["\(name)t", "\(name)a"], documents: 20)
    load.start(clients: 2)
    var retried = false
    for round in 1...4 {
      try await tap.read("it reads", until: { $0.seen.count >= round * 400 })
      let seen = tap.seen.count
      let delay = Duration.milliseconds(Int.random(in: 0...60))
      let fault = Task {
        try await Task.sleep(for: delay)
        try await lab.kill()
        try await lab.start()
        try await lab.waitUntilUsable()
      }
      try await tap.read("it reads on", until: { $0.seen.count >= seen + 400 })
      try await fault.value
      retried = retried || tap.images.status.lastError != nil
    }
    await load.finish()
    let end = try await majorityPosition(options)
    try await tap.read("all is read", until: { $0.last.map { $0 >= end.position } ?? false })
    tap.expectExact()
    #expect(retried)
    #expect(tap.count(.post) > tap.seen.count / 2)
    print(
      "images through 4 kills: \(tap.count(.post)) exact, \(tap.count(.lookup)) looked up, "
        + "\(tap.count(.none)) none")
    tap.stop()
    try await lab.stop()
  }

  /// Lagging members have not reached the requested times yet.
  @Test(.since(5, "servers read the past from 5.0 on"))
  func secondariesAreAskedAndThePrimaryIsKilled() async throws {
    let lab = try await MongoLab.start(members: 3)
    let options = MongoSourceOptions(uri: lab.uri + "&readPreference=secondaryPreferred")
    let start = try await majorityPosition(options)
    let tap = ImageTap(options, collections: name)
    tap.start(at: start)
    let load = ImageLoad(lab.uri, into: ["\(name)t", "\(name)a"], documents: 20)
    load.start(clients: 2)
    try await tap.read("it reads", until: { $0.seen.count >= 1000 })
    let primary = try await lab.primary()
    try await lab.kill(primary)
    let seen = tap.seen.count
    try await tap.read("it reads on", until: { $0.seen.count >= seen + 1000 })
    try await lab.start(primary)
    let back = tap.seen.count
    try await tap.read("it reads on", until: { $0.seen.count >= back + 1000 })
    await load.finish()
    tap.expectExact()
    let hidden = tap.seen.count { $0.kind == .lookup && $0.found?["u"] != nil }
    print(
      "images of secondaries: \(tap.count(.post)) exact, \(tap.count(.lookup)) looked up, "
        + "\(hidden) of them in transactions, \(tap.count(.none)) none; "
        + "last error: \(tap.images.status.lastError?.description ?? "none")")
    #expect(tap.count(.post) > tap.seen.count / 2)
    tap.stop()
    try await lab.stop()
  }
}
