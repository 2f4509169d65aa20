import MongoSource
import Oplog
import Testing

/// The rules' collections: whether they exist and can be read, and the commands that grant the privilege.
@Suite struct DoctorReadTests {
  private static func demand(_ namespace: String, rule: String = "r") -> RuleDemand {
    let parts = namespace.split(separator: ".", maxSplits: 1).map(String.init)
    return RuleDemand(
      rule: rule, namespace: namespace, database: parts[0],
      collection: parts[1] == "*" ? nil : parts[1],
      matches: { name in parts[1] == "*" ? name.hasPrefix(parts[0] + ".") : name == namespace })
  }

  private func facts(roles: [DoctorFacts.Role]? = nil, user: String? = "u") -> DoctorFacts {
    var facts = DoctorFacts()
    facts.access.user = user.map { ($0, "admin") }
    facts.access.roles = roles
    facts.collections = .known(
      DoctorFacts.Collections([.init("chat.rooms"), .init("shop.Orders")]))
    return facts
  }

  private func check(_ id: String, _ facts: DoctorFacts, _ rules: [RuleDemand] = []) -> Diagnosis? {
    var demands = MongoDemands()
    demands.rules = rules
    return facts.diagnose(demands).first { $0.id == id }
  }

  @Test func collectionsThatAreMissingAreNamed() throws {
    let id = "mongodb.namespaces"
    #expect(check(id, facts()) == nil)
    #expect(check(id, facts(), [Self.demand("chat.rooms"), Self.demand("chat.*")])?.verdict == .ok)
    let found = try #require(
      check(
        id, facts(),
        [
          Self.demand("chat.romos", rule: "typo"), Self.demand("shop.orders", rule: "case"),
          Self.demand("none.*", rule: "all"), Self.demand("chat.rooms"),
        ]))
    #expect(found.verdict == .warn)
    #expect(
      found.evidence == "no such collection (yet): chat.romos (rule typo), shop.orders (rule case; "
        + "there is shop.Orders), none.* (rule all)")
    var hidden = facts()
    hidden.collections = .known(DoctorFacts.Collections([], hidden: ["chat"]))
    #expect(check(id, hidden, [Self.demand("chat.rooms")])?.verdict == .ok)
  }

  @Test(arguments: [(true, Diagnosis.Verdict.fail), (false, .warn)])
  func documentsThatMayNotBeRead(isNeeded: Bool, verdict: Diagnosis.Verdict) throws {
    var facts = facts()
    facts.reads = [
      .init("a", "b", rules: ["x"], purpose: "full documents", isNeeded: true, .known(true)),
      .init(
        "c", "d", rules: ["y", "z"], purpose: "full documents", isNeeded: isNeeded, .forbidden),
      .init("e", "", rules: ["y"], purpose: "snapshots", isNeeded: false, .forbidden),
    ]
    let found = try #require(check("mongodb.documents", facts))
    #expect(found.verdict == verdict)
    #expect(
      found.evidence == "the user u may not read c.d (full documents: rules y, z), e.* (snapshots: "
        + "rule y)")
    #expect(found.remedy?.contains(#"{"db": "c", "collection": ""}"#) == true)
    #expect(found.remedy?.contains(#"{"db": "e", "collection": ""}"#) == true)
    facts.reads = [facts.reads[0]]
    #expect(check("mongodb.documents", facts)?.verdict == .ok)
  }

  @Test func rolesThatAreGrantedToExist() throws {
    func remedy(_ roles: [DoctorFacts.Role]?, user: String? = "u") -> String {
      var facts = facts(roles: roles, user: user)
      facts.states = .forbidden
      return check("mongodb.members", facts)?.remedy ?? ""
    }
    let own = remedy([.init("tailrace", in: "admin"), .init("read", in: "x")])
    #expect(own.hasPrefix(#"db.getSiblingDB("admin").grantPrivilegesToRole("tailrace", "#))
    let other = remedy([.init("readAnyDatabase", in: "admin"), .init("tailrace", in: "x")])
    let lines = other.split(separator: "\n")
    #expect(lines.count == 2)
    #expect(lines[0].contains(#"createRole({"role": "tailrace_doctor", "#))
    #expect(
      lines[1].contains(#"grantRolesToUser("u", [{"role": "tailrace_doctor", "db": "admin"}])"#))
    let again = remedy([.init("tailrace_doctor", in: "admin")])
    #expect(again.contains(#"grantPrivilegesToRole("tailrace_doctor", "#))
    // The remedy for the oplog creates the role.
    #expect(remedy(nil, user: nil).contains(#"grantPrivilegesToRole("tailrace", "#))
  }

  @Test func aRoleIsMadeOnce() {
    var facts = facts(roles: [])
    facts.states = .forbidden
    facts.feature = .forbidden
    let made = facts.diagnose(MongoDemands()).compactMap(\.remedy)
      .filter { $0.contains("tailrace_doctor") }
    #expect(made.count == 1)
  }

  @Test func documentsBeforeChangesThatMayNotBeRead() throws {
    var facts = facts(roles: [])
    facts.reads = [
      .init("a", "b", rules: ["x"], purpose: "full documents", isNeeded: true, .known(true)),
      .init(
        "config", "system.preimages", rules: ["x"], purpose: "documents before changes",
        isNeeded: true, .forbidden),
    ]
    let found = try #require(check("mongodb.documents", facts))
    #expect(found.verdict == .fail)
    #expect(found.evidence.contains("config.system.preimages (documents before changes: rule x)"))
    let remedy = try #require(found.remedy)
    #expect(
      remedy.contains(#"{"db": "config", "collection": "system.preimages"}, "actions": ["find"]"#))
    // Not for all of that database.
    #expect(!remedy.contains(#""collection": """#))
  }

  /// By what change streams answer: the verdict of that check, and of the oplog's.
  @Test(arguments: [
    (Answer.known(OplogPosition(seconds: 5, increment: 1)), false, false, ["ok", "ok"]),
    (.forbidden, false, false, ["fail", "ok"]),
    (.forbidden, true, false, ["fail", "fail"]),
    (.known(OplogPosition(seconds: 5, increment: 1)), true, false, ["ok", "fail"]),
    (.known(OplogPosition(seconds: 5, increment: 1)), false, true, ["ok", "warn"]),
    (.notAsked("no time"), false, false, ["warn", "ok"]),
  ])
  func changeStreams(
    answer: Answer<OplogPosition>, starts: Bool, onLoss: Bool, verdicts: [String]
  ) throws {
    var facts = facts(roles: [])
    facts.oplog = .forbidden
    facts.changeStream = answer
    var demands = MongoDemands()
    demands.readsOplog = false
    demands.startsWithSnapshot = starts
    demands.snapshotsOnLoss = onLoss
    let found = ["mongodb.change_stream", "mongodb.oplog_read"].compactMap { id in
      facts.diagnose(demands).first { $0.id == id }
    }
    #expect(found.map(\.verdict.rawValue) == verdicts)
    // What fails is granted to the very user.
    for bad in found where bad.verdict == .fail {
      #expect(bad.remedy?.contains(#"grantRolesToUser("u", "#) == true)
      #expect(bad.remedy?.contains("<") == false)
    }
    // Nobody: a user is made once, with all of it.
    facts.access.user = nil
    facts.access.roles = nil
    guard case .forbidden = answer else { return }
    let remedies = facts.diagnose(demands).compactMap(\.remedy).filter { $0.contains("createUser") }
    #expect(remedies.count == 1)
    #expect(remedies.first?.contains("changeStream") == true)
    #expect(remedies.first?.split(separator: "\n")[1].contains("oplog.rs") == starts)
  }
}
