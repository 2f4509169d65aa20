import Foundation
import MongoSource
import Oplog
import Testing

/// The doctor on real servers, healthy and unhealthy.
@Suite(.serialized, .needsMongod())
struct DoctorTests {
  private func examine(
    _ uri: String, majority: Bool = true, _ change: (inout MongoDemands) -> Void = { _ in }
  ) async -> [String: Diagnosis] {
    var demands = MongoDemands()
    change(&demands)
    let began = ContinuousClock.now
    let found = await MongoDoctor.examine(
      MongoSourceOptions(uri: uri, readConcernMajority: majority), demands)
    #expect(ContinuousClock.now - began < demands.timeLimit + .seconds(60))
    for diagnosis in found {
      #expect(!"\(diagnosis)".contains("hunter2"), "a password is shown: \(diagnosis)")
      #expect(diagnosis.verdict != .fail || diagnosis.remedy != nil, "no remedy: \(diagnosis)")
    }
    return Dictionary(grouping: found, by: \.id).compactMapValues(\.first)
  }

  // MARK: A set of one

  @Test func aSetThatIsLeftAlone() async throws {
    let lab = try await MongoLab.shared.value
    let writer = try MongoWriter(lab.uri)
    let database = "d\(UUID().uuidString.prefix(8))"
    try await writer.command(#"{"create":"log","capped":true,"size":4096}"#, database: database)
    try await writer.command(#"{"create":"plain"}"#, database: database)
    let large = String(repeating: "x", count: 700_000)
    try await writer.command(
      #"{"insert":"files","documents":[{"text":"\#(large)"}]}"#, database: database)
    let version = try #require(
      try await MongoAdmin.identify(MongoSourceOptions(uri: lab.uri)).version
        .split(separator: ".").first.flatMap { Int($0) })
    if version >= 5 {
      try await writer.command(
        #"{"create":"weather","timeseries":{"timeField":"t"}}"#, database: database)
    }
    let checkpoint = try await majorityPosition(MongoSourceOptions(uri: lab.uri))

    func look(_ collection: String) async -> [String: Diagnosis] {
      await examine(lab.uri) { demands in
        demands.databases = [database]
        demands.maxPayload = 1 << 20
        demands.checkpoint = checkpoint
        demands.preImages = ["\(database).\(collection)"]
        demands.requiredPreImages = ["\(database).\(collection)"]
      }
    }
    let found = await look("plain")
    for id in [
      "reachable", "version", "feature_compatibility", "replica_set", "access", "oplog_read",
      "read_concern", "checkpoint", "members", "lag", "fault_tolerance", "clock",
    ] {
      #expect(
        found["mongodb.\(id)"]?.verdict == .ok, "\(String(describing: found["mongodb.\(id)"]))")
    }
    #expect(found["mongodb.capped_collections"]?.evidence.contains("\(database).log") == true)
    let size = try #require(found["mongodb.document_size"])
    #expect(size.verdict == .warn)
    #expect(size.evidence.contains("\(database).files: documents of 684 KiB"), "\(size)")
    let series = try #require(found["mongodb.time_series"])
    #expect(series.verdict == (version >= 5 ? .warn : .ok))
    #expect(series.evidence.contains("\(database).weather") == (version >= 5))

    let off = try #require(found["mongodb.pre_images"])
    #expect(off.verdict == .fail)
    if version >= 6 {
      // The remedy, executed by hand.
      #expect(off.remedy?.contains(#"collMod: "plain", changeStreamPreAndPostImages"#) == true)
      try await writer.command(
        #"{"collMod":"plain","changeStreamPreAndPostImages":{"enabled":true}}"#,
        database: database)
      #expect(await look("plain")["mongodb.pre_images"]?.verdict == .ok)
    } else {
      #expect(off.evidence.contains("6.0"))
    }
    #expect(await look("none")["mongodb.pre_images"]?.verdict == .warn)
    try await writer.command(#"{"dropDatabase":1}"#, database: database)
  }

  @Test func checkpointsThatAreNotThere() async throws {
    let lab = try await MongoLab.shared.value
    let now = try await majorityPosition(MongoSourceOptions(uri: lab.uri)).position
    func look(_ seconds: UInt32, _ increment: UInt32) async -> Diagnosis? {
      await examine(lab.uri) {
        $0.checkpoint = ResumePoint(
          position: OplogPosition(seconds: seconds, increment: increment), term: 1)
      }["mongodb.checkpoint"]
    }
    let old = await look(1_000_000, 1)
    #expect(old?.verdict == .fail)
    #expect(old?.remedy?.contains("--from oldest --force") == true)
    let future = await look(now.seconds + 86_400, 1)
    #expect(future?.verdict == .warn)
    try await eventually("an entry of a later second") {
      try await MongoWriter(lab.uri).insert(0..<1, into: "c\(UUID().uuidString.prefix(8))")
      return try await majorityPosition(MongoSourceOptions(uri: lab.uri))
        .position.seconds > now.seconds
    }
    let undone = await look(now.seconds, 4_000_000_000)
    #expect(undone?.verdict == .fail)
    #expect(undone?.evidence.contains("rolled it back") == true)
  }

  @Test func anOplogThatIsFullAndShort() async throws {
    let mongod = try await LoneMongod.start(["--replSet", "small", "--oplogSize", "1"])
    defer { mongod.stop() }
    let uri = mongod.uri + "?directConnection=true"
    try await eventually("the set is initiated") {
      (try? await MongoWriter(uri).command(mongod.initiate("small"), database: "admin")) != nil
    }
    try await eventually("it takes writes") {
      (try? await MongoWriter(uri).insert(0..<200, into: "filler", filler: 10_000)) != nil
    }
    let found = await examine(uri) { $0.maxPayload = 12_000 }
    let size = try #require(found["mongodb.document_size"])
    #expect(size.verdict == .warn)
    #expect(size.evidence.contains("test.filler: a change of 9.9 KiB"), "\(size)")
    #expect(found["mongodb.oplog_window"]?.verdict == .warn)
    #expect(found["mongodb.oplog_window"]?.remedy?.contains("Double(990)") == true)
  }

  @Test func timeThatIsUpIsTold() async throws {
    let lab = try await MongoLab.shared.value
    let found = await examine(lab.uri) { $0.timeLimit = .zero }
    #expect(found["mongodb.reachable"]?.verdict == .ok)
    #expect(found["mongodb.clock"]?.verdict == .warn)
    #expect(found["mongodb.members"]?.evidence.contains("time limit") == true)
    #expect(found["mongodb.oplog_read"]?.evidence.contains("time limit") == true)
  }

  // MARK: Nothing to tail

  @Test func serversThatHaveNoOplog() async throws {
    let alone = try await LoneMongod.start()
    let new = try await LoneMongod.start(["--replSet", "late"])
    defer {
      alone.stop()
      new.stop()
    }
    for mongod in [alone, new] {
      try await eventually("it answers") {
        (try? await MongoWriter(mongod.uri + "?directConnection=true").command(
          #"{"hello":1}"#, database: "admin")) != nil
      }
    }
    for query in ["", "?directConnection=true", "?replicaSet=rs0"] {
      let found = await examine(alone.uri + query)
      #expect(found["mongodb.replica_set"]?.verdict == .fail, "\(query): \(found)")
      #expect(found["mongodb.replica_set"]?.remedy?.contains("--replSet") == true)
      let uninitiated = await examine(new.uri + query)
      #expect(uninitiated["mongodb.replica_set"]?.verdict == .fail, "\(query): \(uninitiated)")
      #expect(
        uninitiated["mongodb.replica_set"]?.remedy?.hasPrefix("rs.initiate(") == true,
        "\(uninitiated)")
    }
  }

  @Test func whatKeepsOneOut() async throws {
    let lab = try await MongoLab.shared.value
    let host = "127.0.0.1:\(lab.members[0].port)"
    let nobody = await examine("mongodb://app:hunter2secret@127.0.0.1:9/?replicaSet=rs0")
    #expect(nobody["mongodb.reachable"]?.verdict == .fail)
    #expect(nobody["mongodb.reachable"]?.evidence.contains("127.0.0.1:9") == true)
    let refused = await examine("mongodb://app:hunter2secret@\(host)/?replicaSet=rs0")
    #expect(refused["mongodb.reachable"]?.verdict == .fail)
    #expect(refused["mongodb.reachable"]?.evidence.contains("rejected") == true)
    let wrong = await examine("mongodb://app:hunter2secret@\(host)/?replicaSet=other")
    #expect(wrong["mongodb.replica_set"]?.remedy?.contains("replicaSet=rs0") == true)
    let unescaped = await examine("mongodb://app:secret@hunter2@\(host)/")
    #expect(unescaped["mongodb.reachable"]?.verdict == .fail)
    #expect(unescaped["mongodb.reachable"]?.evidence.contains("%40") == true)
  }

  /// Only servers up to 4.4 can disable majority reads.
  @Test(.needsMongod("4.4.2")) func majorityReadsThatAreOff() async throws {
    let mongod = try await LoneMongod.start(
      ["--replSet", "old", "--enableMajorityReadConcern", "false"], version: "4.4.2")
    defer { mongod.stop() }
    let uri = mongod.uri + "?directConnection=true"
    try await eventually("the set is initiated") {
      (try? await MongoWriter(uri).command(mongod.initiate("old"), database: "admin")) != nil
    }
    try await eventually("it has a primary") {
      (try? await MongoWriter(uri).insert(0..<1, into: "first", majority: false)) != nil
    }
    let found = await examine(uri)
    #expect(found["mongodb.read_concern"]?.verdict == .fail)
    #expect(found["mongodb.oplog_read"]?.verdict == .ok)
    let local = await examine(uri, majority: false)
    #expect(local["mongodb.read_concern"]?.verdict == .warn)
  }
}
