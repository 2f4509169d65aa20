import MongoSource
import Oplog
import Testing

/// The pure checks: facts in, verdicts out.
@Suite struct DoctorCheckTests {
  typealias Verdict = Diagnosis.Verdict

  private static func point(_ seconds: UInt32, _ increment: UInt32 = 1) -> ResumePoint {
    ResumePoint(position: OplogPosition(seconds: seconds, increment: increment), term: 1)
  }

  /// Three healthy members.
  private static var healthy: DoctorFacts {
    let hosts = ["db1:27017", "db2:27017", "db3:27017"]
    var facts = DoctorFacts()
    facts.host = hosts[0]
    facts.set.name = "rs0"
    facts.set.dataMembers = hosts
    facts.set.lastWrite = point(1_000_000)
    facts.set.majority = point(1_000_000)
    facts.access.hosts = hosts
    facts.access.usesTLS = true
    facts.access.user = ("tailrace", "admin")
    facts.version = .known("6.0.5")
    facts.feature = .known(DoctorFacts.Feature(version: "6.0"))
    facts.oplog = .known(
      DoctorFacts.OplogEnds(oldest: point(1_000_000 - 200_000), newest: point(1_000_000)))
    facts.majorityRead = .known(true)
    facts.oplogSize = .known(
      DoctorFacts.OplogSize(bytes: 990 * 1_048_576, maximum: 990 * 1_048_576))
    facts.retention = .known(0)
    facts.states = .known(
      hosts.enumerated().map {
        DoctorFacts.MemberState(
          host: $1, state: $0 == 0 ? "PRIMARY" : "SECONDARY", healthy: true, optime: 1_000_000)
      })
    facts.configuration = .known(hosts.map { DoctorFacts.Voter(host: $0) })
    facts.members = hosts.map {
      DoctorFacts.MemberView(
        host: $0, lastWrite: point(1_000_000), oldest: point(800_000), skew: 12, uncertainty: 2)
    }
    facts.collections = .known(
      DoctorFacts.Collections([DoctorFacts.Collection("chat.messages", averageSize: 400)]))
    facts.largest = .known([DoctorFacts.LargeEntry(namespace: "chat.messages", bytes: 9000)])
    return facts
  }

  private static var demands: MongoDemands {
    var demands = MongoDemands()
    demands.databases = ["chat"]
    demands.maxPayload = 1 << 20
    return demands
  }

  private func check(
    _ id: String, _ demands: MongoDemands = Self.demands,
    sourceLocation: SourceLocation = #_sourceLocation, _ change: (inout DoctorFacts) -> Void
  ) throws -> Diagnosis {
    var facts = Self.healthy
    change(&facts)
    return try #require(
      facts.diagnose(demands).first { $0.id == id }, "no check \(id)",
      sourceLocation: sourceLocation)
  }

  @Test func aHealthySetPassesEverything() {
    var demands = Self.demands
    demands.checkpoint = Self.point(999_990)
    var facts = Self.healthy
    facts.checkpointEntry = .known(demands.checkpoint)
    let found = facts.diagnose(demands)
    for diagnosis in found {
      #expect(diagnosis.verdict == .ok, "\(diagnosis)")
      #expect(diagnosis.remedy == nil)
      #expect(!diagnosis.evidence.isEmpty)
    }
    #expect(Set(found.map(\.id)).count == found.count, "an id is used twice")
    #expect(found.allSatisfy { $0.id.hasPrefix("mongodb.") })
  }

  @Test(arguments: [
    ("4.2.24", Verdict.fail), ("3.6.0", .fail), ("4.4.2", .ok), ("5.0.31", .ok), ("6.0.27", .ok),
    ("6.1.0", .warn), ("7.0.16", .warn), ("8.0.4", .warn), ("8.2.0", .warn), ("9.0.0", .warn),
    ("strange", .warn),
  ])
  func versions(version: String, verdict: Verdict) throws {
    let found = try check("mongodb.version") { $0.version = .known(version) }
    #expect(found.verdict == verdict)
    #expect(found.evidence.contains(version))
    #expect((found.remedy == nil) == (verdict == .ok))
  }

  @Test func featureCompatibility() throws {
    let id = "mongodb.feature_compatibility"
    #expect(try check(id) { $0.feature = .known(.init(version: "4.2")) }.verdict == .warn)
    let moving = try check(id) { $0.feature = .known(.init(version: "5.0", target: "6.0")) }
    #expect(moving.verdict == .warn)
    #expect(moving.evidence.contains("from 5.0 to 6.0"))
    let hidden = try check(id) { $0.feature = .forbidden }
    #expect(hidden.verdict == .warn)
    #expect(hidden.remedy?.contains(#""collection": "system.version""#) == true)
  }

  @Test func aShardIsToldAsOne() throws {
    let found = try check("mongodb.replica_set") {
      $0.feature = .known(.init(version: "6.0", shard: "shard01"))
    }
    #expect(found.verdict == .warn)
    #expect(found.evidence.contains("shard01"))
  }

  // MARK: Access

  @Test func missingRightsOnTheOplogFailWithTheRoleToPaste() throws {
    let found = try check("mongodb.oplog_read") { $0.oplog = .forbidden }
    #expect(found.verdict == .fail)
    let remedy = try #require(found.remedy)
    #expect(
      remedy.contains(
        #"createRole({"role": "tailrace", "privileges": [{"resource": {"db": "local", "#
          + #""collection": "oplog.rs"}, "actions": ["find"]}], "roles": []})"#))
    #expect(
      remedy.contains(
        #"grantRolesToUser("tailrace", [{"role": "tailrace", "db": "admin"}])"#))
    #expect(remedy.contains(#"{"db": "chat", "collection": ""}"#))
    #expect(!remedy.contains("createUser"))

    let anonymous = try check("mongodb.oplog_read") {
      $0.oplog = .forbidden
      $0.access.user = nil
    }
    #expect(anonymous.remedy?.contains("createUser") == true)
  }

  @Test func namesAreEscapedInCommands() {
    let text = DoctorRole.commands(databases: ["a\"b\\c\n"], user: ("o'ne\"", "x"))
    #expect(text.contains(#""a\"b\\c\u000a""#))
    #expect(text.contains(#"grantRolesToUser("o'ne\"", "#))
  }

  @Test func aNetworkWithoutEncryptionOrPasswordsIsAWarning() throws {
    let id = "mongodb.access"
    let bare = try check(id) { facts in
      facts.access.usesTLS = false
      facts.access.user = nil
    }
    #expect(bare.verdict == .warn)
    #expect(bare.evidence.contains("not encrypted"))
    #expect(bare.evidence.contains("without a password"))
    #expect(bare.remedy?.contains("tls=true") == true)
    let local = try check(id) { facts in
      facts.access.usesTLS = false
      facts.access.user = nil
      facts.access.hosts = ["127.0.0.1:27017", "localhost:27018", "[::1]:27019"]
      facts.set.dataMembers = ["127.0.0.1:27017"]
    }
    #expect(local.verdict == .ok)
    // The address is local, but the members' own addresses are not.
    let tunnel = try check(id) { facts in
      facts.access.usesTLS = false
      facts.access.hosts = ["127.0.0.1:27017"]
    }
    #expect(tunnel.verdict == .warn)
  }

  @Test func majorityReads() throws {
    let id = "mongodb.read_concern"
    let off = MongoError(
      domain: .server, code: 148, message: "off", place: "find", isTransient: false)
    let disabled = try check(id) { $0.majorityRead = .failed(off) }
    #expect(disabled.verdict == .fail)
    #expect(disabled.remedy?.contains("enableMajorityReadConcern") == true)
    let local = try check(id) {
      $0.majorityRead = .failed(off)
      $0.readsMajority = false
    }
    #expect(local.verdict == .warn)
    #expect(try check(id) { $0.readsMajority = false }.verdict == .warn)
    #expect(try check(id) { $0.majorityRead = .notAsked("no time") }.verdict == .warn)
  }

  // MARK: The window

  private static func ends(_ seconds: UInt32) -> Answer<DoctorFacts.OplogEnds> {
    .known(DoctorFacts.OplogEnds(oldest: point(1_000_000 - seconds), newest: point(1_000_000)))
  }

  private static func size(_ share: Double) -> Answer<DoctorFacts.OplogSize> {
    .known(DoctorFacts.OplogSize(bytes: share * 2e9, maximum: 2e9))
  }

  static let windowCases: [(Int, Double, Double, Verdict)] = [
    // A full oplog of six hours, of half an hour.
    (6 * 3600, 1.0, 0, .warn), (1800, 1.0, 0, .warn), (1800, 1.2, 0, .warn),
    // Minimum retention compensates.
    (1800, 1.2, 24, .ok), (1800, 1.0, 12, .warn),
    // Young and far from full; filling fast; too young to predict.
    (6 * 3600, 0.1, 0, .ok), (6 * 3600, 0.5, 0, .warn),
  ]

  @Test(arguments: windowCases)
  func windows(
    seconds: Int, filled: Double, retention: Double, verdict: Verdict
  ) throws {
    let found = try check("mongodb.oplog_window") { facts in
      facts.oplog = Self.ends(UInt32(seconds))
      facts.members = []
      facts.oplogSize = Self.size(filled)
      facts.retention = .known(retention)
    }
    #expect(found.verdict == verdict, "\(found)")
    if verdict != .ok {
      #expect(
        found.remedy?.contains(
          "db.adminCommand({ replSetResizeOplog: 1, size: Double(1907), minRetentionHours: 24 })")
          == true, "\(found)")
    }
  }

  @Test func aYoungOplogIsNotTrustedYet() throws {
    let found = try check("mongodb.oplog_window") { facts in
      facts.oplog = Self.ends(60)
      facts.members = []
      facts.oplogSize = Self.size(0.5)
    }
    #expect(found.verdict == .warn)
    #expect(found.evidence.contains("reaches back 1 min") && found.evidence.contains("young"))
  }

  @Test func theShortestOplogCounts() throws {
    let found = try check("mongodb.oplog_window") { facts in
      facts.members[2].oldest = Self.point(1_000_000 - 7200)
    }
    #expect(found.verdict == .warn)
    #expect(found.evidence.contains("2 h at db3:27017"))
  }

  @Test func aWindowWithoutItsSizeIsStillJudged() throws {
    let wide = try check("mongodb.oplog_window") { $0.oplogSize = .forbidden }
    #expect(wide.verdict == .ok)
    let narrow = try check("mongodb.oplog_window") {
      $0.oplogSize = .forbidden
      $0.oplog = Self.ends(600)
    }
    #expect(narrow.verdict == .warn)
    #expect(narrow.evidence.contains("can't be seen"))
    #expect(narrow.remedy?.contains("Double(990)") == true)
  }

  /// The reader tries every member, and a change stream doesn't need the entry.
  @Test func placesThatAreGoneHere() throws {
    var demands = Self.demands
    demands.start = OplogPosition(seconds: 700_000, increment: 1)
    let gone = try check("mongodb.start", demands) { _ in }
    #expect(gone.verdict == .fail)
    #expect(gone.evidence.contains("no longer holds 700000.1"))
    let elsewhere = try check("mongodb.start", demands) {
      $0.members[2].oldest = Self.point(600_000)
    }
    #expect(elsewhere.verdict == .warn)
    #expect(elsewhere.evidence.contains("db3:27017"))
    demands.snapshotsOnLoss = true
    #expect(try check("mongodb.start", demands) { _ in }.verdict == .warn)

    demands = Self.demands
    demands.checkpoint = Self.point(700_000)
    let kept = try check("mongodb.checkpoint", demands) {
      $0.checkpointEntry = .known(Self.point(800_000))
      $0.members[1].oldest = Self.point(600_000)
    }
    #expect(kept.verdict == .warn)
    demands.readsOplog = false
    #expect(
      try check("mongodb.checkpoint", demands) {
        $0.checkpointEntry = .known(Self.point(800_000))
      }.verdict == .warn)
    #expect(try check("mongodb.oplog_read", demands) { $0.oplog = .forbidden }.verdict == .ok)
  }

  @Test func checkpoints() throws {
    func checkpoint(
      _ seconds: UInt32, found: Answer<ResumePoint?>
    ) throws -> Diagnosis {
      var demands = Self.demands
      demands.checkpoint = Self.point(seconds)
      return try check("mongodb.checkpoint", demands) { $0.checkpointEntry = found }
    }
    let good = try checkpoint(999_000, found: .known(Self.point(999_000)))
    #expect(good.verdict == .ok)
    #expect(good.evidence.contains("16 min 40 s behind"))
    let gone = try checkpoint(700_000, found: .known(Self.point(800_000)))
    #expect(gone.verdict == .fail)
    #expect(gone.evidence.contains("800000.1"))
    #expect(gone.remedy?.contains("--from oldest --force") == true)
    let undone = try checkpoint(999_000, found: .known(Self.point(999_001)))
    #expect(undone.verdict == .fail)
    #expect(undone.evidence.contains("rolled it back"))
    #expect(try checkpoint(2_000_000, found: .known(nil)).verdict == .warn)
    let close = try checkpoint(801_000, found: .known(Self.point(801_000)))
    #expect(close.verdict == .warn)
    #expect(close.evidence.contains("16 min 40 s after the oldest"))
    #expect(try checkpoint(999_000, found: .notAsked("no time")).verdict == .warn)
  }

  // MARK: Members

  @Test func membersThatAreDown() throws {
    let id = "mongodb.members"
    let one = try check(id) { facts in
      guard case .known(var states) = facts.states else { return }
      states[2].healthy = false
      states[2].state = "(not reachable/healthy)"
      facts.states = .known(states)
    }
    #expect(one.verdict == .warn)
    #expect(one.evidence.contains("db3:27017"))
    let two = try check(id) { facts in
      guard case .known(var states) = facts.states else { return }
      for i in [0, 2] { states[i].healthy = false }
      facts.states = .known(states)
    }
    #expect(two.verdict == .fail)
    #expect(two.evidence.contains("no majority"))
    let recovering = try check(id) { facts in
      guard case .known(var states) = facts.states else { return }
      states[1].state = "RECOVERING"
      facts.states = .known(states)
    }
    #expect(recovering.verdict == .warn)
    let hidden = try check(id) {
      $0.states = .forbidden
      $0.members.removeLast()
    }
    #expect(hidden.verdict == .warn)
    #expect(hidden.evidence.contains("can't be seen"))
    #expect(hidden.evidence.contains("2 of 3"))
    #expect(hidden.remedy?.contains("replSetGetStatus") == true)
    let unreached = try check(id) { $0.members.removeLast() }
    #expect(unreached.verdict == .warn)
    #expect(unreached.evidence.contains("can't reach db3:27017"))
  }

  @Test func lag() throws {
    let id = "mongodb.lag"
    let behind = try check(id) { $0.members[1].lastWrite = Self.point(999_900) }
    // replSetGetStatus knows better.
    #expect(behind.verdict == .ok)
    let both = try check(id) { facts in
      facts.members[1].lastWrite = Self.point(999_900)
      facts.states = .forbidden
    }
    #expect(both.verdict == .warn)
    #expect(both.evidence.contains("db2:27017 is 1 min 40 s behind"))
    let delayed = try check(id) { facts in
      facts.members[1].lastWrite = Self.point(999_900)
      facts.states = .forbidden
      facts.configuration = .known([
        DoctorFacts.Voter(host: "db1:27017"),
        DoctorFacts.Voter(host: "db2:27017", votes: 0, isHidden: true, delaySeconds: 100),
      ])
    }
    #expect(delayed.verdict == .ok)
    let stalled = try check(id) { $0.set.majority = Self.point(999_000) }
    #expect(stalled.verdict == .warn)
    #expect(stalled.evidence.contains("majority is 16 min 40 s behind"))
  }

  @Test func faultTolerance() throws {
    let id = "mongodb.fault_tolerance"
    func voters(_ data: Int, arbiters: Int) throws -> Diagnosis {
      try check(id) { facts in
        facts.configuration = .known(
          (0..<data).map { DoctorFacts.Voter(host: "d\($0):1") }
            + (0..<arbiters).map { DoctorFacts.Voter(host: "a\($0):1", isArbiter: true) })
      }
    }
    let arbiter = try voters(2, arbiters: 1)
    #expect(arbiter.verdict == .warn)
    #expect(arbiter.evidence.contains("commit point stops"))
    #expect(arbiter.remedy?.contains(#"rs.remove("a0:1")"#) == true)
    #expect(try voters(1, arbiters: 0).verdict == .ok)
    #expect(try voters(2, arbiters: 0).verdict == .warn)
    #expect(try voters(3, arbiters: 0).evidence.contains("so 1 may fail"))
    #expect(try voters(5, arbiters: 0).evidence.contains("so 2 may fail"))
    #expect(try voters(4, arbiters: 1).verdict == .ok)
    // From hello only, without any privilege.
    let seen = try check(id) { facts in
      facts.configuration = .forbidden
      facts.set.dataMembers = ["d0:1", "d1:1"]
      facts.set.arbiters = ["a0:1"]
    }
    #expect(seen.verdict == .warn)
    // Members without a vote don't delay the majority.
    let silent = try check(id) { facts in
      facts.configuration = .known(
        (0..<3).map { DoctorFacts.Voter(host: "d\($0):1") }
          + [DoctorFacts.Voter(host: "d3:1", votes: 0)])
    }
    #expect(silent.evidence.hasPrefix("3 voting members, 3 with data: a majority commit needs 2"))
  }

  @Test func clocks() throws {
    let id = "mongodb.clock"
    let apart = try check(id) { $0.members[2].skew = 3000 }
    #expect(apart.verdict == .warn)
    #expect(apart.evidence.contains("db3:27017 is 2988 ms ahead"))
    let here = try check(id) { facts in
      for i in facts.members.indices { facts.members[i].skew = -5000 }
    }
    #expect(here.verdict == .warn)
    #expect(here.evidence.contains("this machine's clock"))
    #expect(here.evidence.contains("by 5000 ms"))
    // A difference within the network delay is not skew.
    let slow = try check(id) { facts in
      for i in facts.members.indices {
        facts.members[i].skew = 2000
        facts.members[i].uncertainty = 1900
      }
    }
    #expect(slow.verdict == .ok)
    #expect(try check(id) { $0.members = [] }.verdict == .warn)
  }

  // MARK: Data

  @Test func collectionsOfASpecialKind() throws {
    let facts = DoctorFacts.Collections([
      DoctorFacts.Collection("chat.weather", isTimeSeries: true),
      DoctorFacts.Collection("chat.log", isCapped: true),
    ])
    let series = try check("mongodb.time_series") { $0.collections = .known(facts) }
    #expect(series.verdict == .warn)
    #expect(series.evidence.contains("chat.weather"))
    let capped = try check("mongodb.capped_collections") { $0.collections = .known(facts) }
    #expect(capped.evidence.contains("chat.log"))
    #expect(capped.evidence.contains("published as deletes"))
    let silently = try check("mongodb.capped_collections") {
      $0.collections = .known(facts)
      $0.version = .known("5.0.4")
    }
    #expect(silently.evidence.contains("without an event"))
    let unseen: [Answer<DoctorFacts.Collections>] = [
      .forbidden, .known(DoctorFacts.Collections(hidden: ["chat"])), .notAsked("no time"),
    ]
    for hidden in unseen {
      let found = try check("mongodb.time_series") { $0.collections = hidden }
      #expect(found.verdict == .warn)
      #expect(found.evidence.contains("can't be seen"))
    }
  }

  @Test func preImages() throws {
    let id = "mongodb.pre_images"
    var demands = Self.demands
    demands.preImages = ["chat.messages", "chat.rooms.x"]
    let optional = try check(id, demands) { _ in }
    #expect(optional.verdict != .fail, "the rule can do without")
    demands.requiredPreImages = Set(demands.preImages)
    func found(_ collections: [DoctorFacts.Collection], version: String = "6.0.5") throws
      -> Diagnosis
    {
      try check(id, demands) {
        $0.collections = .known(DoctorFacts.Collections(collections))
        $0.version = .known(version)
      }
    }
    let on = DoctorFacts.Collection("chat.messages", hasPreImages: true)
    #expect(
      try found([on, .init("chat.rooms.x", hasPreImages: true)]).verdict == .ok)
    let off = try found([on, .init("chat.rooms.x")])
    #expect(off.verdict == .fail)
    #expect(
      off.remedy == #"db.getSiblingDB("chat").runCommand({ collMod: "rooms.x", "#
        + "changeStreamPreAndPostImages: { enabled: true } })")
    #expect(try found([on, .init("chat.rooms.x")], version: "5.0.4").evidence.contains("6.0"))
    #expect(try found([on]).verdict == .warn)
    #expect(Self.healthy.diagnose(Self.demands).allSatisfy { $0.id != id }, "nobody wants them")
  }

  @Test func sizes() throws {
    let id = "mongodb.document_size"
    let entry = try check(id) {
      $0.largest = .known([.init(namespace: "chat.files", bytes: 900_000)])
    }
    #expect(entry.verdict == .warn)
    #expect(entry.evidence.contains("chat.files"))
    #expect(entry.remedy?.contains("max_payload") == true)
    let average = try check(id) {
      $0.collections = .known(
        DoctorFacts.Collections([.init("chat.files", averageSize: 300_000)]))
    }
    #expect(average.verdict == .warn)
    #expect(try check(id) { $0.largest = .notAsked("no time") }.verdict == .warn)
    #expect(try check(id) { $0.largest = .known([]) }.verdict == .ok)
  }

  // MARK: No contact

  @Test func whoeverAnswersInsteadIsNamed() throws {
    let error = MongoError(
      domain: .selection, message: "No suitable servers found: connection refused",
      place: "server selection",
      isTransient: true)
    func found(_ kind: NoContact.ProbedServer.Kind) throws -> Diagnosis {
      let found = NoContact(error, found: [.init(host: "db1:27017", kind: kind)])
        .diagnose(MongoDemands())
      #expect(found.count == 1)
      return try #require(found.first)
    }
    let router = try found(.router)
    #expect(router.id == "mongodb.replica_set")
    #expect(router.remedy?.contains("change_stream") == true)
    #expect(try found(.standalone).remedy?.contains("rs.initiate(") == true)
    #expect(try found(.uninitiated).remedy?.contains(#"host: "db1:27017""#) == true)
    #expect(try found(.member(set: "other")).remedy?.contains("replicaSet=other") == true)
    let silent = try found(.silent("no answer"))
    #expect(silent.id == "mongodb.reachable")
    #expect(silent.evidence.contains("connection refused"))
    for verdict in [router, silent] { #expect(verdict.verdict == .fail) }
  }

  @Test func figures() {
    #expect(durationText(0) == "0 s")
    #expect(durationText(59) == "59 s")
    #expect(durationText(3600) == "1 h")
    #expect(durationText(90_061) == "1 d 1 h")
    #expect(sizeText(0) == "0 B")
    #expect(sizeText(1536) == "1.5 KiB")
    #expect(sizeText(990 * 1_048_576) == "990 MiB")
    #expect(sizeText(16_777_216) == "16 MiB")
  }
}
