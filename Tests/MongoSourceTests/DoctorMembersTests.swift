import Foundation
import MongoSource
import Testing

/// The doctor on sets of three with unhealthy members.
@Suite(.serialized, .needsMongod())
struct DoctorMembersTests {
  private func examine(_ uri: String) async -> [String: Diagnosis] {
    let found = await MongoDoctor.examine(MongoSourceOptions(uri: uri))
    return Dictionary(grouping: found, by: \.id).compactMapValues(\.first)
  }

  @Test func aMemberIsDownOrStandsStill() async throws {
    let lab = try await MongoLab.start(members: 3)
    var found = await examine(lab.uri)
    for id in ["members", "lag", "fault_tolerance", "clock"] {
      #expect(
        found["mongodb.\(id)"]?.verdict == .ok, "\(String(describing: found["mongodb.\(id)"]))")
    }
    #expect(found["mongodb.fault_tolerance"]?.evidence.contains("so 1 may fail") == true)

    let primary = try await lab.primary()
    let victim = (primary + 1) % 3
    let host = "127.0.0.1:\(lab.members[victim].port)"
    let pid = try await lab.pid(victim)
    kill(pid, SIGSTOP)
    let began = ContinuousClock.now
    found = await examine(lab.uri)
    #expect(ContinuousClock.now - began < .seconds(120))
    #expect(found["mongodb.reachable"]?.verdict == .ok)
    #expect(found["mongodb.members"]?.verdict == .warn)
    kill(pid, SIGCONT)

    try await lab.kill(victim)
    try await eventually("the set has noticed") {
      found = await examine(lab.uri)
      return found["mongodb.members"]?.evidence.contains("\(host) is (not reachable") == true
    }
    #expect(found["mongodb.members"]?.verdict == .warn)

    // One member is no majority, so it becomes a secondary.
    try await lab.kill((primary + 2) % 3)
    try await eventually("the set has noticed") {
      found = await examine(lab.uri)
      return found["mongodb.members"]?.verdict == .fail
    }
    #expect(found["mongodb.members"]?.evidence.contains("no majority") == true)
    #expect(found["mongodb.oplog_read"]?.verdict == .ok)
    try await lab.stop()
  }

  @Test func anArbiterHoldsNoData() async throws {
    var members: [LoneMongod] = []
    for _ in 0..<3 { members.append(try await LoneMongod.start(["--replSet", "psa"])) }
    defer { for member in members { member.stop() } }
    let list = members.enumerated().map { index, member in
      #"{"_id":\#(index),"host":"127.0.0.1:\#(member.port)","arbiterOnly":\#(index == 2)}"#
    }
    let direct = members[0].uri + "?directConnection=true"
    try await eventually(
      "the set is initiated", look: members.map(\.condition).joined(separator: "\n")
    ) {
      (try? await MongoWriter(direct).command(
        #"{"replSetInitiate":{"_id":"psa","members":[\#(list.joined(separator: ","))]}}"#,
        database: "admin")) != nil
    }
    let uri = members[0].uri + "?replicaSet=psa"
    var found: [String: Diagnosis] = [:]
    try await eventually("the set is complete") {
      found = await examine(uri)
      return found["mongodb.members"]?.verdict == .ok
    }
    let tolerance = try #require(found["mongodb.fault_tolerance"])
    #expect(tolerance.verdict == .warn)
    #expect(tolerance.evidence.contains("1 arbiters"))
    #expect(tolerance.remedy?.contains("127.0.0.1:\(members[2].port)") == true)
  }
}
