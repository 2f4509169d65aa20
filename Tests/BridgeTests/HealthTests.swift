import Bridge
import JSON
import Oplog
import Testing

@Suite struct HealthTests {
  /// Connected, caught up, an event a moment ago.
  private var healthy: HealthInputs {
    var inputs = HealthInputs()
    inputs.mongoReachable = true
    inputs.sourceReading = true
    inputs.natsConnected = true
    inputs.publishing = true
    inputs.read = OplogPosition(seconds: 1000, increment: 5)
    inputs.majority = OplogPosition(seconds: 1000, increment: 5)
    inputs.progressAge = 0.1
    inputs.eventAge = 0.1
    inputs.checkpointAge = 0.5
    inputs.window = 86_400
    inputs.headroom = 86_000
    inputs.uptime = 100
    return inputs
  }

  private func status(_ change: (inout HealthInputs) -> Void) -> HealthStatus {
    var inputs = healthy
    change(&inputs)
    return HealthReport.judge(inputs).status
  }

  @Test func `ok and idle differ by the last event`() {
    #expect(status { _ in } == .ok)
    #expect(status { $0.eventAge = 3600 } == .idle)
    #expect(status { $0.eventAge = nil } == .idle)
  }

  @Test func `idle for hours is not stalled`() {
    #expect(
      status {
        $0.eventAge = 7200
        $0.progressAge = 7200
      } == .idle)
  }

  @Test func `something to do and no progress is stalled, whatever the connections say`() {
    #expect(
      status {
        $0.majority = OplogPosition(seconds: 1020, increment: 1)
        $0.progressAge = 11
      } == .stalled)
    #expect(
      status {
        $0.inFlight = 3
        $0.progressAge = 11
      } == .stalled)
  }

  @Test func `behind but moving is ok`() {
    #expect(status { $0.majority = OplogPosition(seconds: 1020, increment: 1) } == .ok)
  }

  @Test func `a lost server degrades first and stalls after ten seconds`() {
    for change in [
      { (inputs: inout HealthInputs) in inputs.natsConnected = false },
      { (inputs: inout HealthInputs) in inputs.mongoReachable = false },
    ] {
      #expect(
        status {
          change(&$0)
          $0.progressAge = 2
        } == .degraded)
      #expect(
        status {
          change(&$0)
          $0.progressAge = 12
        } == .stalled)
    }
  }

  @Test func `never connected at all stalls by uptime`() {
    var inputs = HealthInputs()
    inputs.uptime = 3
    #expect(HealthReport.judge(inputs).status == .degraded)
    inputs.uptime = 30
    #expect(HealthReport.judge(inputs).status == .stalled)
  }

  @Test func `a lost position and a refill are gaps, a halt is failed`() {
    #expect(status { $0.positionLost = "rolled over" } == .gap)
    #expect(status { $0.refilling = "stream A" } == .gap)
    #expect(status { $0.failure = "unknown entry" } == .failed)
  }

  @Test func `a short window with a lag degrades`() {
    #expect(
      status {
        $0.headroom = 100
        $0.majority = OplogPosition(seconds: 80_000, increment: 1)
      } == .degraded)
  }

  @Test func `only stalled, gap and failed answer 503`() {
    let serving: [HealthStatus] = [.ok, .idle, .degraded]
    for status in [HealthStatus.ok, .idle, .degraded, .stalled, .gap, .failed] {
      #expect(status.isServing == serving.contains(status))
    }
  }

  @Test func `the report has every check of the interface`() {
    let names = HealthReport.judge(healthy).checks.map(\.name)
    #expect(
      names == ["mongodb", "nats", "pipeline", "checkpoint", "oplog_window", "schema", "lease"])
    let json = HealthReport.judge(healthy).json
    #expect(json["status"]?.stringValue == "ok")
    #expect(json["checks"]?["pipeline"]?["status"]?.stringValue == "ok")
    #expect(json["position"]?.stringValue == "1000.5")
    #expect(json["lag_seconds"]?.doubleValue == 0)
  }
}
