import Foundation
import MongoSource
import Testing

/// A replica set with authentication: the printed role is exactly the required one.
@Suite(.serialized, .needsMongod())
struct DoctorRoleTests {
  /// The set, and a connection string for each of its users.
  private struct ConditionLock {
    let mongod: LoneMongod
    let keyFile: URL

    func uri(_ user: String) -> String {
      "mongodb://\(user):hunter2secret@127.0.0.1:\(mongod.port)/?replicaSet=guarded"
    }

    func stop() {
      mongod.stop()
      try? FileManager.default.removeItem(at: keyFile)
    }
  }

  private func start() async throws -> ConditionLock {
    let keyFile = FileManager.default.temporaryDirectory
      .appendingPathComponent("tailrace-key-\(UUID().uuidString)")
    try Data(String(repeating: "k", count: 64).utf8).write(to: keyFile)
    try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: keyFile.path)
    let mongod = try await LoneMongod.start(["--replSet", "guarded", "--keyFile", keyFile.path])
    let set = ConditionLock(mongod: mongod, keyFile: keyFile)
    // The localhost exception: the first user can be created without authentication.
    let first = try MongoWriter(mongod.uri + "?directConnection=true")
    try await eventually("the set is initiated", look: mongod.condition) {
      (try? await first.command(mongod.initiate("guarded"), database: "admin")) != nil
    }
    try await eventually("it has a first user") {
      (try? await first.command(
        #"{"createUser":"root","pwd":"hunter2secret","roles":["root"]}"#, database: "admin")) != nil
    }
    return set
  }

  /// Executes a line for mongosh.
  private func paste(_ line: Substring, as root: MongoWriter) async throws {
    let call = try #require(
      try /db\.getSiblingDB\("(\w+)"\)\.(\w+)\((.*)\)/.wholeMatch(in: String(line)),
      "not for mongosh: \(line)")
    let (database, method) = (String(call.1), String(call.2))
    let arguments = String(call.3).replacing("passwordPrompt()", with: #""hunter2secret""#)
    let json: String
    switch method {
    case "createRole":
      json = arguments.replacing(#"{"role":"#, with: #"{"createRole":"#, maxReplacements: 1)
    case "createUser":
      json = arguments.replacing(#"{"user":"#, with: #"{"createUser":"#, maxReplacements: 1)
    default:
      let parts = arguments.split(separator: ", ", maxSplits: 1)
      let list = method == "grantRolesToUser" ? "roles" : "privileges"
      json = #"{"\#(method)":\#(parts[0]),"\#(list)":\#(parts[1])}"#
    }
    try await root.command(json, database: database)
  }

  private func lines(_ remedy: String?) -> [Substring] {
    (remedy ?? "").split(separator: "\n").filter { !$0.hasPrefix("//") && !$0.hasPrefix("#") }
  }

  private func examine(_ uri: String) async -> [String: Diagnosis] {
    var demands = MongoDemands()
    demands.databases = ["test"]
    demands.maxPayload = 1 << 20
    let found = await MongoDoctor.examine(MongoSourceOptions(uri: uri), demands)
    for diagnosis in found { #expect(!"\(diagnosis)".contains("hunter2")) }
    return Dictionary(grouping: found, by: \.id).compactMapValues(\.first)
  }

  /// Reads with the program's reader.
  private func expectTailing(_ uri: String, _ writer: MongoWriter, _ root: String) async throws {
    let name = "c\(UUID().uuidString.prefix(8))"
    let options = MongoSourceOptions(uri: uri)
    let start = try await majorityPosition(MongoSourceOptions(uri: root))
    let tap = Tap(options)
    tap.restart(at: start)
    try await writer.insert(0..<10, into: name)
    try await tap.take("it reads") { $0.inserted(name).count == 10 }
    #expect(try await majorityPosition(options).position > start.position)
    #expect(try await MongoAdmin.oldestPosition(options).position <= start.position)
    tap.reader.stop()
  }

  @Test func theMinimalRoleSufficesToTail() async throws {
    let set = try await start()
    defer { set.stop() }
    let root = try MongoWriter(set.uri("root"))
    try await root.insert(0..<1, into: "first")

    // Without a user.
    let anonymous = await examine("mongodb://127.0.0.1:\(set.mongod.port)/?replicaSet=guarded")
    let refused = try #require(anonymous["mongodb.oplog_read"])
    #expect(refused.verdict == .fail)
    let commands = lines(refused.remedy)
    #expect(commands.count == 4)
    for command in commands.prefix(2) { try await paste(command, as: root) }

    let uri = set.uri(DoctorRole.name)
    try await expectTailing(uri, root, set.uri("root"))
    let minimal = await examine(uri)
    for (id, diagnosis) in minimal { #expect(diagnosis.verdict != .fail, "\(id): \(diagnosis)") }
    #expect(minimal["mongodb.oplog_read"]?.verdict == .ok)
    #expect(minimal["mongodb.read_concern"]?.verdict == .ok)
    for (id, diagnosis) in minimal
    where ["mongodb.members", "mongodb.time_series", "mongodb.feature_compatibility"].contains(id) {
      #expect(diagnosis.verdict == .warn)
      #expect(diagnosis.evidence.contains("can't be seen"))
      #expect(diagnosis.remedy != nil)
    }

    // The further privileges, from the remedies of these warnings.
    for id in ["mongodb.members", "mongodb.time_series"] {
      for line in lines(minimal[id]?.remedy) { try await paste(line, as: root) }
    }
    let whole = await examine(uri)
    // A new set has a short oplog.
    for (id, diagnosis) in whole where id != "mongodb.oplog_window" {
      #expect(diagnosis.verdict == .ok, "\(id): \(diagnosis)")
    }
  }

  @Test func documentsThatMayNotBeRead() async throws {
    let set = try await start()
    defer { set.stop() }
    let root = try MongoWriter(set.uri("root"))
    try await root.insert(0..<1, into: "first")
    // A role with another name, as for a user created by hand.
    try await root.command(
      #"{"createRole":"oplog","privileges":[{"resource":{"db":"local","collection":"oplog.rs"},"#
        + #""actions":["find"]}],"roles":[]}"#, database: "admin")
    try await root.command(
      #"{"createUser":"hand","pwd":"hunter2secret","roles":["oplog"]}"#, database: "admin")
    func look() async -> [String: Diagnosis] {
      var demands = MongoDemands()
      demands.databases = ["test"]
      demands.rules = ["first", nil].map { collection in
        RuleDemand(
          rule: "r", namespace: "test.\(collection ?? "*")", database: "test",
          collection: collection, reads: "full documents", needsReads: true,
          matches: { $0.hasPrefix("test.") })
      }
      let found = await MongoDoctor.examine(MongoSourceOptions(uri: set.uri("hand")), demands)
      return Dictionary(grouping: found, by: \.id).compactMapValues(\.first)
    }
    let lacking = await look()
    let refused = try #require(lacking["mongodb.documents"])
    #expect(refused.verdict == .fail)
    #expect(refused.evidence.contains("test.first") && refused.evidence.contains("test.*"))
    for line in lines(refused.remedy) { try await paste(line, as: root) }
    for line in lines(lacking["mongodb.feature_compatibility"]?.remedy) {
      try await paste(line, as: root)
    }
    for (id, diagnosis) in await look() where id != "mongodb.oplog_window" {
      #expect(diagnosis.verdict == .ok, "\(id): \(diagnosis)")
    }
  }

  @Test func rightsOnEveryDatabaseDontReachTheOplog() async throws {
    let set = try await start()
    defer { set.stop() }
    let root = try MongoWriter(set.uri("root"))
    try await root.command(
      #"{"createUser":"reader","pwd":"hunter2secret","roles":["readAnyDatabase"]}"#,
      database: "admin")
    let found = await examine(set.uri("reader"))
    let refused = try #require(found["mongodb.oplog_read"])
    #expect(refused.verdict == .fail)
    let tap = Tap(set.uri("reader"))
    tap.restart(at: try await majorityPosition(MongoSourceOptions(uri: set.uri("root"))))
    try await tap.wait("the reader is refused, too") { $0.lastError?.code == 13 }
    tap.reader.stop()

    // The existing user is granted the role.
    let commands = lines(refused.remedy)
    #expect(commands.dropFirst().first?.contains(#"grantRolesToUser("reader""#) == true)
    for command in commands.prefix(2) { try await paste(command, as: root) }
    try await expectTailing(set.uri("reader"), root, set.uri("root"))
  }
}
