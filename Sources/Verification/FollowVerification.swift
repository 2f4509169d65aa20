public import Bridge
public import BridgeConfiguration
import JSON
import JetStream
public import Logging
import NATS
import NIOHTTP1
import NIOPosix
import Oplog
public import Parity
public import ServiceLifecycle
import Synchronization

/// `tailrace verify --follow`: compares, stretch after stretch, what the bridge has had acknowledged
/// since, until it is stopped. What has been found stays found.
public final class FollowVerification: Service {
  let configuration: BridgeConfiguration
  private let options: VerifyOptions
  private let interval: Duration
  private let maximumRate: Int?
  private let logger: Logger
  private let each: @Sendable (Mismatch) -> Void
  private let stopRequest = StopRequest(on: MultiThreadedEventLoopGroup.singleton.next())
  private let state: Mutex<FollowState>

  /// - Parameters:
  ///   - interval: between two stretches.
  ///   - maximumRate: messages a second, on average.
  public init(
    configuration: BridgeConfiguration, options: VerifyOptions, interval: Duration,
    maximumRate: Int?, logger: Logger, each: @escaping @Sendable (Mismatch) -> Void
  ) {
    var options = options
    options.to = .acknowledged
    self.configuration = configuration
    self.options = options
    self.interval = interval
    self.maximumRate = maximumRate
    self.logger = logger
    self.each = each
    state = Mutex(FollowState(report: VerifyReport(level: "events", configuration: configuration)))
  }

  /// What has been found so far.
  public var report: VerifyReport { facts.finished }

  var facts: FollowState { state.withLock { $0 } }

  public func run() async throws {
    await withGracefulShutdownHandler {
      await self.follow()
    } onGracefulShutdown: {
      self.stopRequest.request()
    }
  }

  private func follow() async {
    var session: VerifySession?
    var connection: NATSConnection?
    let changes = LiveChanges(
      configuration, reader: options.reader ?? configuration.source.reader, logger: logger,
      patience: max(options.timeout, .seconds(15)))
    while !stopRequest.isRequested {
      let began = ContinuousClock.now
      var messages: UInt64 = 0
      do {
        let (before, known) = (session, connection)
        let done = try await stopRequest.unlessStopped { [self] in
          let open = try await self.open(known)
          var session = before
          do {
            let messages = try await step(JetStreamClient(open), changes, &session)
            return (open, session, messages)
          } catch {
            await open.close()
            throw error
          }
        }
        guard let done else { break }
        (connection, session, messages) = done
      } catch {
        let words = EventVerification.words(error)
        if facts.error != words { logger.warning("\(words)") }
        state.withLock { $0.error = words }
        await connection?.close()
        connection = nil
      }
      await pause(since: began, messages)
    }
    changes.stop()
    await connection?.close()
  }

  private func open(_ known: NATSConnection?) async throws -> NATSConnection {
    if let known { return known }
    return try await NATSConnection.connect(
      to: configuration.natsServers, options: try configuration.natsOptions(), logger: logger)
  }

  /// Compares what has come to be settled; how many messages that was.
  private func step(
    _ jetStream: JetStreamClient, _ changes: LiveChanges, _ session: inout VerifySession?
  ) async throws -> UInt64 {
    var planner = VerifyPlanner(
      configuration: configuration, options: options, jetStream: jetStream)
    if let done = session?.done { planner.options.from = .after(done.entry) }
    let plan: VerifyPlan
    do {
      plan = try await planner.plan()
    } catch is NothingToCompare {
      state.withLock { $0.note(steps: 1) }
      return 0
    }
    var present = session ?? VerifySession(plan, begun(plan))
    if let maximumRate { present.stretch = Double(maximumRate) * 5 }
    var messages: UInt64 = 0
    if let part = present.next(plan) {
      let verification = EventVerification(
        configuration: configuration, options: options, logger: logger)
      var found = VerifyReport(level: "events", configuration: configuration)
      let end = try await verification.compare(
        part, jetStream, changes, planner, until: .now, &found, each)
      found.reasons = []
      present.advance(part, found, end)
      present.report.to = part.range.upperBound
      messages = found.observed
    }
    present.report.reasons = plan.reasons
    present.report.isOtherConfiguration = plan.isOtherConfiguration
    present.report.unproven = present.report.unproven ?? plan.unproven
    session = present
    let report = present.report
    state.withLock {
      $0.report = report
      $0.done = present.done?.entry
      $0.behind = present.done.map { plan.range.upperBound.entry.seconds - $0.entry.seconds }
      $0.note(steps: 1)
    }
    return messages
  }

  private func begun(_ plan: VerifyPlan) -> VerifyReport {
    var report = VerifyReport(level: "events", configuration: configuration)
    report.begin(plan)
    return report
  }

  private func pause(since began: ContinuousClock.Instant, _ messages: UInt64) async {
    var rest = interval
    if let maximumRate, maximumRate > 0 {
      let least = Duration.seconds(Double(messages) / Double(maximumRate))
      rest = max(messages > 0 ? .zero : interval, least - (.now - began))
    } else if let behind = facts.behind, behind > 0 {
      rest = .zero
    }
    let end = ContinuousClock.now + rest
    while ContinuousClock.now < end, !stopRequest.isRequested {
      try? await Task.sleep(for: min(.milliseconds(100), end - .now))
    }
  }
}

/// What a follower knows, as of one moment.
struct FollowState: Sendable {
  var report: VerifyReport
  /// Everything up to here has been compared.
  var done: OplogPosition?
  /// Oplog seconds from there to what is settled.
  var behind: UInt32?
  /// Why the last step failed; nil while all is well.
  var error: String?
  var steps: UInt64 = 0
  var steppedAt: ContinuousClock.Instant?

  init(report: VerifyReport) { self.report = report }

  mutating func note(steps more: UInt64) {
    steps += more
    steppedAt = .now
    error = nil
  }

  /// The report with its verdict.
  var finished: VerifyReport {
    var report = report
    report.settledTo = done
    if let error { report.addReason(error) }
    report.finish()
    return report
  }

  var status: String {
    if report.hasFailed { return "failed" }
    if error != nil || !report.reasons.isEmpty { return "degraded" }
    return steps == 0 ? "idle" : "ok"
  }
}

/// The HTTP side of a follower: /livez, /healthz, /status and /metrics. Read-only.
public struct FollowServer: Service {
  /// Opens when it listens.
  public let listening = ListeningGate()
  private let follower: FollowVerification
  private let host: String
  private let port: Int
  private let logger: Logger

  public init(for follower: FollowVerification, host: String, port: Int, logger: Logger) {
    self.follower = follower
    self.host = host
    self.port = port
    self.logger = logger
  }

  public func run() async throws {
    let follower = follower
    var pages: [String: @Sendable () -> HTTPPage] = [:]
    pages["/livez"] = { .text(.ok, "ok\n") }
    pages["/healthz"] = {
      let facts = follower.facts
      let json: JSONValue = [
        "status": .string(facts.status), "verdict": .string(facts.finished.verdict.rawValue),
        "settled_to": facts.done.map { .string($0.description) } ?? .null,
        "error": facts.error.map { .string($0) } ?? .null,
      ]
      return .json(facts.status == "failed" ? .serviceUnavailable : .ok, json)
    }
    pages["/status"] = {
      var json = follower.facts.finished.json
      json["behind_seconds"] = follower.facts.behind.map { .int($0) } ?? .null
      json["steps"] = .int(follower.facts.steps)
      return .json(.ok, json)
    }
    pages["/metrics"] = { .metrics(follower.facts.metrics) }
    defer { listening.close() }
    try await ReadOnlyServer(host: host, port: port, key: "--listen", pages: pages, logger: logger)
      .run { [listening] _ in listening.open() }
  }
}

extension FollowState {
  /// In Prometheus' text format.
  var metrics: String {
    var page = PrometheusText()
    page.family("tailrace_verify_status", "gauge", "1 for the present status.")
    for name in ["ok", "idle", "degraded", "failed"] {
      page.sample("tailrace_verify_status", ["status": name], name == status ? 1 : 0)
    }
    page.counter("tailrace_verify_expected_total", "Messages expected.", report.expected)
    page.counter("tailrace_verify_observed_total", "Messages read back.", report.observed)
    page.family("tailrace_verify_mismatches_total", "counter", "Differences found, by class.")
    for kind in MismatchClass.allCases {
      page.sample(
        "tailrace_verify_mismatches_total", ["class": kind.rawValue], Double(report.counts[kind]))
    }
    if let done {
      page.gauge(
        "tailrace_verify_settled_seconds", "Oplog time up to which everything was compared.",
        Double(done.seconds))
    }
    if let behind {
      page.gauge(
        "tailrace_verify_behind_seconds",
        "Oplog seconds from there to what the bridge has settled.",
        Double(behind))
    }
    page.counter("tailrace_verify_steps_total", "Comparisons made.", steps)
    return page.text
  }
}
