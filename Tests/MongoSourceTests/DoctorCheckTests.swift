import MongoSource
import Oplog
import Testing

/// The pure checks: facts in, verdicts out.
@Suite struct DoctorCheckTests {
  typealias Verdict = Diagnosis.Verdict

  static func point(_ seconds: UInt32, _ increment: UInt32 = 1) -> ResumePoint {
    ResumePoint(position: OplogPosition(seconds: seconds, increment: increment), term: 1)
  }

  /// Three healthy members.
  static var healthy: DoctorFacts {
    let hosts = ["db1:27017", "db2:27017", "db3:27017"]
    var facts = DoctorFacts()
    facts.host = hosts[0]
    facts.set.name = "rs0"
    facts.set.dataMembers = hosts
    facts.set.lastWrite = point(1_000_000)
    facts.set.majority = point(1_000_000)
    facts.access.hosts = hosts
    facts.access.usesTLS = true
    facts.access.library = "1.27.4"
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

  static var demands: MongoDemands {
    var demands = MongoDemands()
    demands.databases = ["chat"]
    demands.maxPayload = 1 << 20
    return demands
  }

  func check(
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

  @Test func aLibraryThatCrashesOnMalformedRepliesIsAWarningWithoutTLS() throws {
    func found(_ version: String, _ change: (inout DoctorFacts) -> Void = { _ in }) throws
      -> Diagnosis
    {
      try check("mongodb.client_library") { facts in
        facts.access.usesTLS = false
        facts.access.library = version
        change(&facts)
      }
    }
    for old in ["1.23.1", "1.25.0", "1.27.3", "1.9.4"] {
      let remote = try found(old)
      #expect(remote.verdict == .warn, "\(old)")
      #expect(remote.evidence.contains("fixed in 1.27.4"))
      #expect(remote.remedy?.contains("tls=true") == true)
      #expect(try found(old) { $0.access.usesTLS = true }.verdict == .ok)
      let local = try found(old) { facts in
        facts.access.hosts = ["127.0.0.1:27017"]
        facts.set.dataMembers = ["127.0.0.1:27017"]
      }
      #expect(local.verdict == .ok)
    }
    for new in ["1.27.4", "1.30.4", "2.0.0", "1.28.0-pre"] {
      #expect(try found(new).verdict == .ok, "\(new)")
    }
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
}
