internal import Oplog

// The members of the set: their state, lag and clocks, and how many may fail.

extension DoctorFacts {
  /// In seconds. More lag delays events, or would slow down a failover.
  private static let longLag = 10
  /// Milliseconds.
  private static let largeSkew: Int64 = 1000

  var membersCheck: Diagnosis {
    let id = "mongodb.members"
    let reached = Set(members.map(\.host))
    let unreached = set.dataMembers.filter { !reached.contains($0) }
    guard let states = states.value else {
      return Diagnosis(
        id, .warn,
        "the members' states can't be seen (replSetGetStatus): "
          + "\(self.states.obstacle); \(reached.count) of \(set.dataMembers.count) with data can be "
          + "reached from here" + Self.list(unreached, ", not: "),
        remedy: self.states.isForbidden ? give(DoctorRole.doctor, as: "doctor") : nil)
    }
    let working = ["PRIMARY", "SECONDARY", "ARBITER"]
    let down = states.filter { !$0.healthy || !working.contains($0.state) }
    let primaries = states.filter { $0.healthy && $0.state == "PRIMARY" }
    if !down.isEmpty {
      let list = down.map {
        "\($0.host) is \($0.state)" + ($0.message.isEmpty ? "" : " (\($0.message))")
      }
      let stalls = stalled(down: Set(down.map(\.host)))
      return Diagnosis(
        id, stalls ? .fail : .warn,
        list.joined(separator: "; ")
          + (stalls
            ? ": no majority holds data, so nothing new can be read with majority read concern"
            : ""),
        remedy: "rs.status().members.filter(m => m.health !== 1 || ![1, 2, 7].includes(m.state))"
          + "  // then check the logs of these members")
    }
    if primaries.isEmpty {
      return Diagnosis(
        id, .fail, "there is no primary", remedy: "rs.status()  // electionCandidateMetrics, logs")
    }
    if !unreached.isEmpty {
      return Diagnosis(
        id, .warn,
        "all \(states.count) are up, but this machine can't reach "
          + unreached.joined(separator: ", ")
          + ": the bridge could not fail over to it",
        remedy: "# Names must resolve and ports be open from this machine. The members' names:\n"
          + "rs.conf().members.map(m => m.host)")
    }
    return Diagnosis(id, .ok, "\(states.count) of \(states.count) are up")
  }

  private static func list(_ hosts: [String], _ prefix: String) -> String {
    hosts.isEmpty ? "" : prefix + hosts.joined(separator: ", ")
  }

  // MARK: Lag

  var lagCheck: Diagnosis {
    let id = "mongodb.lag"
    var newest: [String: UInt32] = [:]
    for member in members { newest[member.host] = member.lastWrite?.position.seconds }
    for state in states.value ?? [] where state.healthy && state.optime > 0 {
      newest[state.host] = max(state.optime, newest[state.host] ?? 0)
    }
    let delayed = Set((configuration.value ?? []).filter { $0.delaySeconds > 0 }.map(\.host))
    let head = newest.values.max() ?? 0
    let behind = newest.filter { !delayed.contains($0.key) }
      .map { ($0.key, Int(head) - Int($0.value)) }
      .filter { $0.1 > Self.longLag }.sorted { $0.1 > $1.1 }
    let majority = zip(set.lastWrite, set.majority).map {
      max(Int($0.0.position.seconds) - Int($0.1.position.seconds), 0)
    }
    if let majority, majority > Self.longLag {
      return Diagnosis(
        id, .warn,
        "the majority is \(durationText(majority)) behind \(host), and so is every "
          + "event" + Self.list(behind.map { "\($0.0): \(durationText($0.1))" }, "; "),
        remedy: "rs.printSecondaryReplicationInfo()  // is a member with data down or too slow?")
    }
    if !behind.isEmpty {
      return Diagnosis(
        id, .warn,
        behind.map { "\($0.0) is \(durationText($0.1)) behind" }.joined(separator: "; "),
        remedy: "rs.printSecondaryReplicationInfo()")
    }
    guard head > 0 else { return Diagnosis(id, .warn, "can't be seen: \(states.obstacle)") }
    return Diagnosis(
      id, .ok, "\(newest.count) members and the majority are within \(Self.longLag) s")
  }

  private func zip<A, B>(_ a: A?, _ b: B?) -> (A, B)? {
    guard let a, let b else { return nil }
    return (a, b)
  }

  // MARK: Fault tolerance

  /// The voting members as configured, else those that `hello` lists.
  private var voters: [Voter] {
    configuration.value?.filter { $0.votes > 0 }
      ?? set.dataMembers.map { Voter(host: $0) }
      + set.arbiters.map { Voter(host: $0, isArbiter: true) }
  }

  /// The voting members with data, and how many of them a majority commit needs.
  private static func needed(_ voters: [Voter]) -> (data: Int, writeMajority: Int) {
    let data = voters.count { !$0.isArbiter }
    return (data, min(voters.count / 2 + 1, data))
  }

  private func stalled(down: Set<String>) -> Bool {
    let needed = Self.needed(voters)
    return voters.count { !$0.isArbiter && !down.contains($0.host) } < needed.writeMajority
  }

  var toleranceCheck: Diagnosis {
    let id = "mongodb.fault_tolerance"
    let needed = Self.needed(voters)
    let arbiters = voters.count - needed.data
    let spare = needed.data - needed.writeMajority
    var evidence = "\(voters.count) voting members, \(needed.data) with data"
    if arbiters > 0 { evidence += ", \(arbiters) arbiters" }
    evidence += ": a majority commit needs \(needed.writeMajority) of them"
    if configuration.value == nil {
      evidence += " (from hello; local.system.replset: \(configuration.obstacle))"
    }
    if arbiters > 0, spare == 0 {
      let arbiter = voters.first(where: \.isArbiter)?.host ?? ""
      return Diagnosis(
        id, .warn,
        evidence + ". When one with data is down, writes continue, but the "
          + "majority commit point stops, and so do all events",
        remedy: """
          // Replace the arbiter with a member that holds data:
          rs.remove(\(jsonText(arbiter)))
          rs.add("new-host:27017")
          // Until then, remove the vote of a member with data while it is down (and restore it after):
          c = rs.conf(); m = c.members.find(m => m.host === "the.member:27017"); \
          m.votes = 0; m.priority = 0; rs.reconfig(c)
          """)
    }
    if spare == 0, needed.data > 1 {
      return Diagnosis(
        id, .warn, evidence + ": none of them may fail", remedy: "rs.add(\"new-host:27017\")")
    }
    if needed.data <= 1 {
      return Diagnosis(id, .ok, evidence + "; no other member can take over")
    }
    return Diagnosis(id, .ok, evidence + ", so \(spare) may fail")
  }

  // MARK: Clocks

  var clockCheck: Diagnosis {
    let id = "mongodb.clock"
    let seen = members.compactMap { member in member.skew.map { (member, $0) } }
    guard let least = seen.min(by: { $0.1 < $1.1 }), let most = seen.max(by: { $0.1 < $1.1 })
    else { return Diagnosis(id, .warn, "can't be seen: no member reported its time") }
    let remedy = "# On the machine whose clock is wrong:\nchronyc tracking || timedatectl status"
    let apart = most.1 - least.1 - most.0.uncertainty - least.0.uncertainty
    if apart > Self.largeSkew {
      return Diagnosis(
        id, .warn,
        "the clock of \(most.0.host) is \(most.1 - least.1) ms ahead of that of "
          + "\(least.0.host); after a failover, cluster time and wall time drift apart",
        remedy: remedy)
    }
    let worst = abs(least.1) > abs(most.1) ? least : most
    if abs(worst.1) - worst.0.uncertainty > Self.largeSkew {
      return Diagnosis(
        id, .warn,
        "this machine's clock differs from that of \(worst.0.host) by \(-worst.1) ms; "
          + "lag and headroom are off by as much", remedy: remedy)
    }
    return Diagnosis(
      id, .ok, "\(seen.count) members within \(max(abs(least.1), abs(most.1))) ms of this machine")
  }
}
