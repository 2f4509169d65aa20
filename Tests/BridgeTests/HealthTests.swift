import Bridge
import JSON
import Oplog
import Testing

@Suite struct HealthTests {
  /// Connected, caught up, an event a moment ago.
  private static var healthy: HealthInputs {
    var inputs = HealthInputs()
    inputs.mongoReachable = true
    inputs.sourceReading = true
    inputs.natsConnected = true
    inputs.publishing = true
    inputs.read = OplogPosition(seconds: 1000, increment: 5)
    inputs.majority = OplogPosition(seconds: 1000, increment: 5)
    inputs.eventAge = 0.1
    inputs.lookAge = 0.1
    inputs.checkpointAge = 0.5
    inputs.window = 86_400
    inputs.headroom = 86_000
    inputs.lag = 0
    inputs.oldestAge = 0
    return inputs
  }

  private static func judged(_ change: (inout HealthInputs) -> Void) -> HealthInputs {
    var inputs = healthy
    change(&inputs)
    return inputs
  }

  struct Situation: Sendable, CustomTestStringConvertible {
    var name: String
    var inputs: HealthInputs
    var status: HealthStatus
    var isReady: Bool
    /// In the pipeline check's detail.
    var reason: String

    init(
      _ name: String, _ status: HealthStatus, ready: Bool, _ reason: String = "",
      _ change: (inout HealthInputs) -> Void
    ) {
      self.name = name
      self.status = status
      self.isReady = ready
      self.reason = reason
      inputs = HealthTests.judged(change)
    }

    var testDescription: String { name }
  }

  static let full = "maximum messages exceeded [JetStream 10077]"

  static let situations = [
    Situation("an event a moment ago", .ok, ready: true) { _ in },
    Situation("no event for an hour", .idle, ready: true, "caught up") { $0.eventAge = 3600 },
    Situation("never an event", .idle, ready: true) { $0.eventAge = nil },
    Situation("noops are told of before they are read", .idle, ready: true) {
      $0.eventAge = 3600
      $0.stillFor = 0.8
      $0.majority = OplogPosition(seconds: 1010, increment: 1)
    },
    Situation("no event for an hour, but something to do", .ok, ready: true) {
      $0.eventAge = 3600
      $0.hasWork = true
    },
    Situation("hours behind, and moving", .ok, ready: true) {
      $0.majority = OplogPosition(seconds: 9000, increment: 1)
      $0.hasWork = true
      $0.stillFor = 0.2
      $0.lag = 8000
      $0.oldestAge = 8001
    },
    Situation("the oldest event does not move for a while", .ok, ready: true, "3 messages wait") {
      $0.hasWork = true
      $0.stillFor = 9
      $0.waiting = [("CHAT", 3)]
    },
    Situation(
      "the oldest event does not move", .stalled, ready: false,
      "event 1000.6.2 has not moved for 11 s: stream CHAT: 3 messages wait for their ack"
    ) {
      $0.hasWork = true
      $0.stillFor = 11
      $0.oldest = EventPosition(entry: OplogPosition(seconds: 1000, increment: 6), index: 2)
      $0.waiting = [("OTHER", 0), ("CHAT", 3)]
    },
    Situation("it does not move, while events are derived", .stalled, ready: false) {
      $0.hasWork = true
      $0.stillFor = 30
      $0.eventAge = 0.1
    },
    Situation(
      "entries are not read", .stalled, ready: false,
      "the oplog is at 1020.1, processed up to 1000.5, reopening"
    ) {
      $0.majority = OplogPosition(seconds: 1020, increment: 1)
      $0.sourceDetail = "reopening, attempt 4: not authorized"
      $0.hasWork = true
      $0.stillFor = 12
    },
    Situation(
      "refused a moment ago", .degraded, ready: false, "stream CHAT: \(full) (4 times in 3 s)"
    ) {
      $0.hasWork = true
      $0.stillFor = 3
      $0.refusals = [("stream CHAT", full, 3, 4)]
    },
    Situation(
      "refused for long, between two epochs", .stalled, ready: false,
      "event 1000.6.0 has not moved for 40 s: stream CHAT: \(full) (25 times in 41 s)"
    ) {
      $0.hasWork = true
      $0.publishing = false
      $0.stillFor = 40
      $0.oldest = EventPosition(entry: OplogPosition(seconds: 1000, increment: 6), index: 0)
      $0.refusals = [("stream CHAT", full, 41, 25)]
      $0.pipelineDetail = "reconnecting, epoch 26"
    },
    Situation("a file that can't be taken over", .degraded, ready: true, "t.yaml:1:1: it is empty")
    {
      $0.reloadError = "the configuration is not reloaded (failed): t.yaml:1:1: it is empty"
    },
    Situation("between two epochs", .degraded, ready: false, "resuming, epoch 2") {
      $0.publishing = false
      $0.closedFor = 0.2
      $0.pipelineDetail = "resuming, epoch 2"
    },
    Situation("the streams never open", .stalled, ready: false, "nothing could be published") {
      $0.publishing = false
      $0.closedFor = 11
    },
    Situation("NATS was lost", .degraded, ready: false, "NATS is not connected: refused") {
      $0.natsConnected = false
      $0.natsDetail = "refused"
      $0.publishing = false
      $0.closedFor = 2
    },
    Situation("NATS has been lost for long", .stalled, ready: false, "NATS is not connected") {
      $0.natsConnected = false
      $0.publishing = false
      $0.closedFor = 12
    },
    Situation("MongoDB was lost", .degraded, ready: false, "MongoDB can't be reached: no route") {
      $0.mongoReachable = false
      $0.mongoDetail = "no route"
      $0.mongoLostFor = 2
    },
    Situation("MongoDB has been lost for long", .stalled, ready: false, "has not answered for") {
      $0.mongoReachable = false
      $0.mongoLostFor = 12
    },
    Situation("nothing was reached since the start", .degraded, ready: false) {
      $0 = HealthInputs()
      $0.closedFor = 3
      $0.mongoLostFor = 3
    },
    Situation("nothing was ever reached", .stalled, ready: false) {
      $0 = HealthInputs()
      $0.closedFor = 30
      $0.mongoLostFor = 30
    },
    Situation("the event loop hangs", .stalled, ready: false, "the event loop has been busy") {
      $0.lookAge = 14
    },
    Situation("the position is lost", .gap, ready: true, "rolled over") {
      $0.positionLost = "rolled over"
    },
    Situation("lost messages are written again", .gap, ready: true, "stream A") {
      $0.refilling = "stream A"
    },
    Situation("they can't be", .gap, ready: false, "stream A; stream A: \(full)") {
      $0.refilling = "stream A"
      $0.refusals = [("stream A", full, 20, 1)]
    },
    Situation("halted", .failed, ready: true, "unknown entry") { $0.failure = "unknown entry" },
    Situation("a short window with a lag", .degraded, ready: true) {
      $0.headroom = 100
      $0.lag = 79_000
    },
    Situation("the checkpoint can't be written", .degraded, ready: true) {
      $0.checkpointError = "KV put"
    },
  ]

  @Test(arguments: situations)
  func `a situation has its status, readiness and reason`(_ situation: Situation) {
    let report = HealthReport.judge(situation.inputs)
    #expect(report.status == situation.status)
    #expect(HealthReport.isReady(situation.inputs) == situation.isReady)
    let detail = report.checks.first { $0.name == "pipeline" }?.detail ?? ""
    #expect(situation.reason.isEmpty || detail.contains(situation.reason), "\(detail)")
  }

  @Test func `only stalled, gap and failed answer 503`() {
    let serving: [HealthStatus] = [.ok, .idle, .degraded]
    for status in [HealthStatus.ok, .idle, .degraded, .stalled, .gap, .failed] {
      #expect(status.isServing == serving.contains(status))
    }
  }

  @Test func `the report has every check of the interface`() {
    let names = HealthReport.judge(Self.healthy).checks.map(\.name)
    #expect(
      names == ["mongodb", "nats", "pipeline", "checkpoint", "oplog_window", "schema", "lease"])
    let report = HealthReport.judge(
      Self.judged {
        $0.lag = 0.25
        $0.oldestAge = 1.0625
      })
    let json = report.json
    #expect(json["status"]?.stringValue == "ok")
    #expect(json["checks"]?["pipeline"]?["status"]?.stringValue == "ok")
    #expect(json["position"]?.stringValue == "1000.5")
    #expect(json["lag_seconds"]?.doubleValue == 0.25)
    #expect(json["oldest_unsettled_seconds"]?.doubleValue == 1.063)
  }
}
