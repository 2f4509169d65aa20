import MongoSource
import Oplog
import Testing

/// The set's members.
extension DoctorCheckTests {
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
}
