import BridgeConfiguration
import HTTPTypes
import Hummingbird
import JSON
public import Logging
import MongoSource
import NIOCore
public import ServiceLifecycle

/// The HTTP side: liveness, readiness, health, status, metrics. Read-only; nothing here changes
/// state, so nothing here asks for the token.
public struct StatusServer: Service {
  private let service: BridgeService
  private let logger: Logger
  private let version: String

  public init(for service: BridgeService, version: String, logger: Logger) {
    self.service = service
    self.version = version
    self.logger = logger
  }

  public func run() async throws {
    let probe = HealthProbe(
      board: service.board, reader: service.reader, monitor: service.monitor,
      schemas: service.configuration.schemas.count { $0 != nil })
    let status = StatusReport(configuration: service.configuration, probe: probe, version: version)
    let metrics = MetricsPage(probe: probe, version: version)
    let router = Router()
    router.get("/livez") { _, _ in
      // The process answers, and nothing has halted for good.
      let failed = probe.report().status == .failed
      return Self.text(failed ? .serviceUnavailable : .ok, failed ? "failed\n" : "ok\n")
    }
    router.get("/readyz") { _, _ in
      let facts = probe.board.snapshot
      let ready = facts.natsConnected && facts.publishing && probe.monitor.snapshot.reachable
      return Self.text(ready ? .ok : .serviceUnavailable, ready ? "ready\n" : "\(facts.phase)\n")
    }
    router.get("/healthz") { _, _ in
      let report = probe.report()
      return Self.json(report.status.isServing ? .ok : .serviceUnavailable, report.json)
    }
    router.get("/status") { _, _ in Self.json(.ok, status.json) }
    router.get("/metrics") { _, _ in
      Self.text(.ok, metrics.render(), type: "text/plain; version=0.0.4; charset=utf-8")
    }
    router.get("/") { _, _ in Self.text(.ok, StatusPage.html, type: "text/html; charset=utf-8") }
    var quiet = logger
    quiet.logLevel = max(logger.logLevel, .warning)
    let listen = service.configuration.http.listen
    let application = Application(
      router: router,
      configuration: .init(
        address: .hostname(listen.host, port: listen.port), serverName: "tailrace"),
      onServerRunning: { [logger] channel in
        logger.info(
          "http",
          metadata: ["listen": "\(channel.localAddress.map { "\($0)" } ?? "\(listen.host)")"])
      },
      logger: quiet)
    try await application.run()
  }

  private static func json(_ status: HTTPResponse.Status, _ value: JSONValue) -> Response {
    text(status, value.text(pretty: true) + "\n", type: "application/json")
  }

  private static func text(
    _ status: HTTPResponse.Status, _ body: String, type: String = "text/plain; charset=utf-8"
  ) -> Response {
    Response(
      status: status, headers: [.contentType: type, .cacheControl: "no-store"],
      body: .init(byteBuffer: ByteBuffer(string: body)))
  }
}
