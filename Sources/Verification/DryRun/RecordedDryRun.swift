import Bridge
public import BridgeConfiguration
import Mapping
package import Oplog

/// A dry run over events that were written down: no server is asked. Not Sendable.
public final class RecordedDryRun {
  private var events: EventCoverage
  private let configuration: BridgeConfiguration
  private let sourceName: String
  private let maximumPayload: Int
  private var first: OplogPosition?
  private var last: OplogPosition?
  private var count: UInt64 = 0

  /// - Parameter maximumPayload: what the server would take, headers and body.
  public init(
    _ configuration: BridgeConfiguration, sourceName: String, maximumPayload: Int = 1 << 20
  ) {
    events = EventCoverage(
      configuration, sourceName: sourceName, maximumPayload: maximumPayload)
    self.configuration = configuration
    self.sourceName = sourceName
    self.maximumPayload = maximumPayload
  }

  package func take(_ event: ChangeEvent) {
    let at = event.position.entry
    if first == nil { first = at }
    if at != last { count += 1 }
    last = at
    events.take(event)
  }

  public var report: CoverageReport {
    var coverage = events.coverage
    coverage.entries = count
    coverage.first = first
    coverage.last = last
    return CoverageReport(
      coverage: coverage, from: first.map { "\($0)" } ?? "nothing",
      until: last.map { "\($0)" } ?? "nothing", failure: nil,
      configurationHash: configuration.hash(sourceName: sourceName), maximumPayload: maximumPayload,
      unmatchedMatters: configuration.unmatched != .ignore,
      drops: configuration.rules.map { $0.onInvalid == .drop })
  }
}
