import BridgeConfiguration
import Foundation
package import Logging
import MongoSource
import NIOHTTP1
public import ServiceLifecycle

/// The HTTP side: liveness, readiness, health, status, metrics. Read-only.
public struct StatusServer: Service {
  /// Opens when it listens.
  public let listening = ListeningGate()
  private let service: BridgeService
  private let logger: Logger
  private let version: String
  private let explain: PositionExplainer?

  /// - Parameter explain: answers `/explain`; nil: there is none.
  package init(
    for service: BridgeService, version: String, logger: Logger, explain: PositionExplainer?
  ) {
    self.service = service
    self.version = version
    self.explain = explain
    self.logger = logger
  }

  public func run() async throws {
    let probe = HealthProbe(
      board: service.board, reader: service.reader, monitor: service.monitor)
    let status = StatusReport(service: service, probe: probe, version: version)
    let metrics = MetricsPage(probe: probe, version: version)
    var pages: [String: @Sendable () -> HTTPPage] = [:]
    pages["/livez"] = {
      // The process answers, and has not halted.
      let failed = probe.report().status == .failed
      return .text(failed ? .serviceUnavailable : .ok, failed ? "failed\n" : "ok\n")
    }
    pages["/readyz"] = {
      let inputs = probe.inputs()
      guard HealthReport.isReady(inputs) else {
        let why = HealthReport.judge(inputs).checks.first { $0.name == "pipeline" }?.detail ?? ""
        return .text(.serviceUnavailable, "\(probe.board.snapshot.phase): \(why)\n")
      }
      return .text(.ok, "ready\n")
    }
    pages["/healthz"] = {
      let report = probe.report()
      return .json(report.status.isServing ? .ok : .serviceUnavailable, report.json)
    }
    // What takes time to write, however many ask.
    let history = StatusHistory()
    let long = [
      "/status": RecentPage { .json(.ok, status.json) },
      "/metrics": RecentPage { .metrics(metrics.render()) },
      "/history": RecentPage { .json(.ok, history.json) },
    ]
    for (path, recent) in long { pages[path] = { recent.page() } }
    pages["/"] = { .html(StatusPage.html, policy: StatusPage.policy) }
    let sampling = Task {
      while !Task.isCancelled {
        sample(probe, into: history)
        try? await Task.sleep(for: .seconds(StatusHistory.interval))
      }
    }
    defer { sampling.cancel() }
    let http = service.configuration.http
    var server = ReadOnlyServer(
      host: http.listen.host, port: http.listen.port, key: "http.listen", pages: pages,
      logger: logger)
    if let explain {
      let desk = ExplainDesk()
      server.slowPages["/explain"] = { [service] query in
        await desk.page(query, of: service, explain)
      }
    }
    if let token = http.token {
      server.token = { (try? token.current()).map { .required($0) } ?? .unreadable }
    }
    defer { listening.close() }
    try await server.run { [listening, logger] address in
      logger.info("http", metadata: ["listen": "\(address)"])
      listening.open()
    }
  }

  private func sample(_ probe: HealthProbe, into history: StatusHistory) {
    let facts = probe.board.snapshot
    let inputs = probe.inputs()
    let health = HealthReport.judge(inputs)
    history.add(
      at: Int64(Date.now.timeIntervalSince1970),
      published: facts.counters?.outcomes.published ?? 0, delays: facts.measures.writeToStored,
      lag: health.lag, oldestUnsettled: health.oldestUnsettled, headroom: inputs.headroom)
  }
}
