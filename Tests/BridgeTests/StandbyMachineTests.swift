import Bridge
import JSON
import SeededNumbers
import Testing

@Suite("When a standby takes the lease") struct StandbyMachineTests {
  static let period = Duration.seconds(5)

  private func machine(hash: String = "h", period: Duration = period) -> StandbyMachine {
    StandbyMachine(.init(instance: "me", configurationHash: hash, period: period))
  }

  private func held(
    by holder: String = "other", epoch: UInt64 = 3, hash: String = "h",
    period: Duration = period, isReleased: Bool = false, answers: Bool = true
  ) -> LeaseRecord {
    LeaseRecord(
      holder: holder, epoch: epoch, isReleased: isReleased, configurationHash: hash,
      period: period, takeovers: 2, reason: .first, answers: answers)
  }

  @Test func `nothing is decided before the lease was read`() {
    #expect(machine().decide(at: .seconds(1000)) == .wait)
  }

  @Test func `a lease that nobody has had is taken at once`() {
    var machine = machine()
    machine.read(.init(revision: 0, record: nil), at: .zero)
    #expect(machine.decide(at: .zero) == .take(.first))
  }

  /// A process that has never seen the lease can't tell a bucket that was deleted under a leader from none.
  @Test func `where the bridge has published, a lease that is not there is waited for`() {
    var machine = machine()
    machine.hasTraces = true
    for second in 0...4 { machine.read(.init(revision: 0, record: nil), at: .seconds(second)) }
    machine.read(.init(revision: 0, record: nil), at: .milliseconds(4999))
    #expect(machine.decide(at: .seconds(60)) == .wait)
    var comesBack = machine
    machine.read(.init(revision: 0, record: nil), at: .seconds(5))
    #expect(machine.decide(at: .seconds(5)) == .take(.first))
    comesBack.read(.init(revision: 1, record: held(epoch: 1)), at: .seconds(5))
    #expect(comesBack.decide(at: .seconds(5)) == .wait)
  }

  /// One that was stopped for a minute: another instance may have led meanwhile, until the bucket was deleted again.
  @Test func `a lease that is not there has to be missing all the time`() {
    var machine = machine()
    machine.hasTraces = true
    machine.read(.init(revision: 0, record: nil), at: .zero)
    machine.read(.init(revision: 0, record: nil), at: .seconds(1))
    for second in 60...64 {
      machine.read(.init(revision: 0, record: nil), at: .seconds(second))
      #expect(machine.decide(at: .seconds(second)) == .wait)
    }
    machine.read(.init(revision: 0, record: nil), at: .seconds(65))
    #expect(machine.decide(at: .seconds(65)) == .take(.first))
  }

  /// A bucket that is made again counts from the beginning: the revision may be one that was seen before.
  @Test func `another lease under the same revision is another one`() {
    var machine = machine()
    machine.read(.init(revision: 7, record: held(epoch: 1)), at: .zero)
    machine.read(.init(revision: 7, record: held(epoch: 2)), at: .seconds(5))
    #expect(machine.decide(at: .seconds(5)) == .wait)
    machine.read(.init(revision: 7, record: held(epoch: 2)), at: .seconds(10))
    #expect(machine.decide(at: .seconds(10)) == .take(.expired))
  }

  @Test func `a released lease is taken at once, with any configuration`() {
    for hash in ["h", "another"] {
      var machine = machine(hash: hash)
      machine.read(.init(revision: 7, record: held(isReleased: true)), at: .zero)
      #expect(machine.decide(at: .zero) == .take(.released))
    }
  }

  /// A write whose answer was lost.
  @Test func `one's own lease is taken again`() {
    var machine = machine()
    machine.read(.init(revision: 7, record: held(by: "me")), at: .zero)
    #expect(machine.decide(at: .zero) == .take(.released))
  }

  @Test(arguments: [("h", 5), ("another", 20)])
  func `a silent leader is replaced after a period, or four`(hash: String, seconds: Int) {
    var machine = machine(hash: hash)
    machine.read(.init(revision: 7, record: held()), at: .seconds(100))
    for now in 100..<(100 + seconds) {
      machine.read(.init(revision: 7, record: held()), at: .seconds(now))
      #expect(machine.decide(at: .seconds(now)) == .wait)
    }
    let end = Duration.seconds(100 + seconds)
    #expect(machine.decide(at: end) == .wait, "it may have been renewed since it was read")
    machine.read(.init(revision: 7, record: held()), at: end)
    #expect(machine.decide(at: end) == .take(.expired))
  }

  @Test func `each renewal begins a period`() {
    var machine = machine()
    for step in 0..<100 {
      let now = Duration.seconds(step * 4)
      machine.read(.init(revision: UInt64(step), record: held()), at: now)
      #expect(machine.decide(at: now + .milliseconds(4999)) == .wait)
    }
  }

  /// A leader stops by its own period; a standby that is set to a shorter one must not be first.
  @Test func `the longer of both periods counts`() {
    for (own, leaders) in [(2, 10), (10, 2)] {
      var machine = machine(period: .seconds(own))
      let reading = StandbyMachine.Reading(revision: 7, record: held(period: .seconds(leaders)))
      machine.read(reading, at: .zero)
      machine.read(reading, at: .milliseconds(9900))
      #expect(machine.decide(at: .milliseconds(9900)) == .wait)
      machine.read(reading, at: .seconds(10))
      #expect(machine.decide(at: .seconds(10)) == .take(.expired))
    }
  }

  @Test func `a leader whose connection is gone is replaced at once`() {
    var machine = machine()
    machine.connected(at: .zero)
    machine.read(.init(revision: 7, record: held()), at: .seconds(10))
    machine.heard(.nobody, at: .seconds(10))
    machine.heard(.nobody, at: .milliseconds(10050))
    #expect(machine.isSuspicious)
    #expect(machine.decide(at: .milliseconds(10200)) == .wait, "two are not enough")
    machine.heard(.nobody, at: .milliseconds(10100))
    #expect(machine.decide(at: .milliseconds(10100)) == .wait, "it may have been renewed")
    #expect(machine.wantsReading)
    machine.read(.init(revision: 7, record: held()), at: .milliseconds(10101))
    #expect(machine.decide(at: .milliseconds(10101)) == .take(.connectionGone))
  }

  @Test func `an answer, silence or a renewal in between begins the count again`() {
    let interruptions: [(inout StandbyMachine) -> Void] = [
      { $0.heard(.answered, at: .milliseconds(10060)) },
      { $0.heard(.silence, at: .milliseconds(10060)) },
      { $0.read(.init(revision: 8, record: self.held()), at: .milliseconds(10060)) },
      { $0.connected(at: .seconds(7)) },
    ]
    for interrupt in interruptions {
      var machine = machine()
      machine.connected(at: .zero)
      machine.read(.init(revision: 7, record: held()), at: .seconds(10))
      machine.heard(.nobody, at: .seconds(10))
      machine.heard(.nobody, at: .milliseconds(10050))
      interrupt(&machine)
      machine.heard(.nobody, at: .milliseconds(10100))
      if machine.wantsReading { machine.read(machine.last!, at: .milliseconds(10110)) }
      #expect(machine.decide(at: .milliseconds(10200)) == .wait)
    }
  }

  /// After a server's restart everybody connects again, some later than others.
  @Test func `a young connection proves nothing`() {
    var machine = machine()
    machine.read(.init(revision: 7, record: held()), at: .zero)
    machine.connected(at: .seconds(10) - StandbyMachine.settling + .seconds(1))
    for step in 0..<10 { machine.heard(.nobody, at: .seconds(1) + .milliseconds(100 * step)) }
    #expect(machine.decide(at: .milliseconds(4900)) == .wait)
  }

  @Test func `a leader that may not answer is replaced when its lease expires`() {
    var machine = machine()
    machine.connected(at: .zero)
    machine.read(.init(revision: 7, record: held(answers: false)), at: .seconds(10))
    for step in 0..<10 { machine.heard(.nobody, at: .seconds(10) + .milliseconds(100 * step)) }
    #expect(machine.decide(at: .milliseconds(14900)) == .wait)
    machine.read(.init(revision: 7, record: held(answers: false)), at: .seconds(15))
    #expect(machine.decide(at: .seconds(15)) == .take(.expired))
  }

  @Test func `a stray instance with another configuration doesn't follow a dead leader at once`() {
    var machine = machine(hash: "another")
    machine.connected(at: .zero)
    machine.read(.init(revision: 7, record: held()), at: .seconds(10))
    for step in 0..<10 { machine.heard(.nobody, at: .seconds(10) + .milliseconds(100 * step)) }
    #expect(machine.decide(at: .milliseconds(29900)) == .wait)
    machine.read(.init(revision: 7, record: held()), at: .seconds(30))
    #expect(machine.decide(at: .seconds(30)) == .take(.expired))
  }

  /// A running leader makes the bucket again.
  @Test func `a lease that vanishes is not taken at once`() {
    var machine = machine()
    machine.read(.init(revision: 7, record: held(epoch: 9)), at: .zero)
    for second in 1...5 { machine.read(.init(revision: 0, record: nil), at: .seconds(second)) }
    #expect(machine.decide(at: .milliseconds(5900)) == .wait)
    machine.read(.init(revision: 0, record: nil), at: .seconds(6))
    #expect(machine.decide(at: .seconds(6)) == .take(.expired))
    #expect(machine.highestEpoch == 9, "epochs grow all the same")
  }

  @Test func `a standby is one that has seen its leader`() {
    var machine = machine()
    machine.connected(at: .zero)
    machine.read(.init(revision: 7, record: held()), at: .zero)
    #expect(!machine.isStandby(at: .seconds(1)), "it may have died")
    machine.heard(.answered, at: .seconds(1))
    #expect(machine.isStandby(at: .seconds(1)))
  }

  /// Whatever the order of readings and answers: a leader that renews in time, whose subject is there, keeps its
  /// lease; and one that is silent for the period loses it.
  @Test(arguments: 0..<200)
  func `random courses`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    var machine = machine()
    var now = Duration.zero
    var revision: UInt64 = 1
    var renewedAt = Duration.zero
    let diesAt = Duration.milliseconds(Int.random(in: 5_000...60_000, using: &random))
    machine.connected(at: .zero)
    machine.read(.init(revision: revision, record: held()), at: now)
    while true {
      now += .milliseconds(Int.random(in: 10...700, using: &random))
      if now < diesAt, now - renewedAt > .milliseconds(1250) {
        revision += 1
        renewedAt = now
      }
      if Int.random(in: 0..<2, using: &random) == 0 {
        machine.read(.init(revision: revision, record: held()), at: now)
      }
      if Int.random(in: 0..<2, using: &random) == 0 {
        // Frozen: its subject is still there.
        machine.heard(now < diesAt ? .answered : .silence, at: now)
      }
      let decision = machine.decide(at: now)
      if now < diesAt {
        #expect(decision == .wait || now - renewedAt >= Self.period)
      } else if case .take = decision {
        #expect(now - renewedAt >= Self.period)
        return
      }
      guard now < diesAt + .seconds(30) else {
        Issue.record("a frozen leader was never replaced")
        return
      }
    }
  }
}

@Suite("The lease's record") struct LeaseRecordTests {
  @Test func `it is read as it was written`() {
    let record = LeaseRecord(
      holder: "k3", epoch: 12, isReleased: true, configurationHash: "abc", period: .seconds(7),
      takeovers: 4, reason: .connectionGone, answers: false)
    #expect(LeaseRecord(parsing: record.json.utf8) == record)
    var operators = record
    operators.heardAt = ServerTime(seconds: 1_767_225_600)
    #expect(LeaseRecord(parsing: operators.json.utf8) == operators)
    operators.heardAt = ServerTime(seconds: .min)
    #expect(LeaseRecord(parsing: operators.json.utf8) == record)
  }

  @Test(arguments: [
    "", "{}", "[]", "{\"holder\":\"x\"}", "{\"holder\":1,\"epoch\":1,\"lease_ms\":5}",
  ])
  func `what somebody else wrote is no record`(text: String) {
    #expect(LeaseRecord(parsing: Array(text.utf8)) == nil)
  }

  @Test(arguments: [(1, 1_000), (1_000_000, 60_000), (-5, 1_000)])
  func `periods stay within the limits of the setting`(written: Int, used: Int) {
    let text = "{\"holder\":\"x\",\"epoch\":1,\"lease_ms\":\(written)}"
    #expect(LeaseRecord(parsing: Array(text.utf8))?.period == .milliseconds(used))
  }

  @Test func `a tenure ends by its own clock, and at once when another instance leads`() {
    let tenure = Tenure(epoch: 1, reason: .first, sentAt: .now, period: .seconds(5))
    #expect(tenure.mayPublish)
    let lapsed = Tenure(epoch: 1, reason: .first, sentAt: .now - .seconds(5), period: .seconds(5))
    #expect(!lapsed.mayPublish)
    lapsed.renewed(sentAt: .now, period: .seconds(5), on: 1)
    #expect(lapsed.mayPublish)
    tenure.end(by: "other")
    #expect(!tenure.mayPublish)
    #expect(tenure.endedBy == "other")
  }

  @Test func `a leader that nobody finds publishes again after a renewal on another link`() {
    let tenure = Tenure(epoch: 1, reason: .first, sentAt: .now, period: .seconds(5))
    tenure.lost(link: 1)
    #expect(!tenure.mayPublish && tenure.isCurrent && tenure.isPaused)
    // The answer came on the connection that is gone, and is only now looked at.
    tenure.renewed(sentAt: .now, period: .seconds(5), on: 1)
    #expect(!tenure.mayPublish)
    tenure.renewed(sentAt: .now, period: .seconds(5), on: 2)
    #expect(tenure.mayPublish)
    // The end of a connection that was replaced long ago.
    tenure.lost(link: 1)
    #expect(tenure.mayPublish)
    tenure.lost(link: 2)
    #expect(!tenure.mayPublish)
    tenure.end(by: "other")
    tenure.renewed(sentAt: .now, period: .seconds(5), on: 3)
    #expect(tenure.endedBy == "other")
  }

  @Test func `a renewal shows who leads from when it was sent, not from when it was answered`() {
    let begin = ContinuousClock.now
    let tenure = Tenure(epoch: 1, reason: .first, sentAt: begin, period: .seconds(5))
    let connected = begin + .milliseconds(300)
    #expect(tenure.isRenewed(since: begin))
    #expect(!tenure.isRenewed(since: connected))
    // Sent before the connection was made: a standby may have found nobody in between.
    tenure.renewed(sentAt: begin + .milliseconds(200), period: .seconds(5), on: 1)
    #expect(!tenure.isRenewed(since: connected))
    tenure.renewed(sentAt: begin + .milliseconds(301), period: .seconds(5), on: 1)
    #expect(tenure.isRenewed(since: connected))
    // Answers may be looked at out of turn.
    tenure.renewed(sentAt: begin + .milliseconds(250), period: .seconds(5), on: 1)
    #expect(tenure.isRenewed(since: connected))
  }
}
