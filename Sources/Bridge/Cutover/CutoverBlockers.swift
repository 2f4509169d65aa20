import Oplog

/// Why a group can't be committed now.
public struct CutoverBlocker: Sendable, Equatable {
  public var code: String
  public var detail: String
  /// Milliseconds since 1970; nil: unknown.
  public var since: Int64?

  package init(_ code: String, _ detail: String, since: Int64? = nil) {
    self.code = code
    self.detail = detail
    self.since = since
  }
}

/// What decides whether a group can be committed. Pure.
package struct CutoverFacts: Sendable {
  package var record: CutoverRecord
  package var progress: CutoverProgress?
  /// Another group that is being committed.
  package var otherCommit: String?
  /// Dead letters of the group's rules that nobody has dealt with; nil: unknown.
  package var deadLetters: UInt64?
  /// The shortest dedup window of the group's streams.
  package var duplicateWindow: Duration?
  package var grace: Duration
  package var window: Duration
  /// Milliseconds since 1970.
  package var now: Int64

  package init(
    record: CutoverRecord, progress: CutoverProgress?, grace: Duration, window: Duration, now: Int64
  ) {
    self.record = record
    self.progress = progress
    self.grace = grace
    self.window = window
    self.now = now
  }

  /// A progress older than that is no longer written.
  static let silence: Int64 = 10_000

  /// In a fixed order; empty: a commit may begin.
  package var blockers: [CutoverBlocker] {
    guard record.phase == .dual else {
      return [
        CutoverBlocker(
          "phase", "the group is in phase \(record.phase.rawValue), not in dual",
          since: record.change.at)
      ]
    }
    var found: [CutoverBlocker] = []
    if record.ranges.last?.from == nil {
      found.append(
        CutoverBlocker(
          "not_running", "the bridge has not gone over to dual yet: is it running?",
          since: record.change.at))
      return found
    }
    if let otherCommit {
      found.append(CutoverBlocker("other_cutover", "group \(otherCommit) is being committed"))
    }
    guard let progress, progress.generation == record.generation else {
      found.append(
        CutoverBlocker(
          "not_running", "the bridge has not begun to follow the group's streams: is it running?",
          since: record.change.at))
      return found
    }
    let silent = max(0, now - progress.at)
    if silent > Self.silence {
      found.append(
        CutoverBlocker(
          "not_running", "the bridge has not reported for \(silent / 1000) s", since: progress.at))
    }
    // By the clock of the bridge, which has dated both: the clock here may differ from that.
    func age(of at: Int64) -> Int64 { max(0, progress.at - at) + silent }
    let most = window.milliseconds
    func recent(_ kind: CutoverFinding.Kind, _ count: UInt64, _ words: String) {
      guard let at = progress.last[kind], age(of: at) <= most else { return }
      found.append(
        CutoverBlocker(
          kind == .filled ? "fills" : kind == .mismatched ? "mismatches" : "phantoms",
          "\(words) (\(count) in this phase, the last \(age(of: at) / 1000) s ago; they count for \(HealthReport.duration(window.seconds)))",
          since: at))
    }
    recent(.filled, progress.counts.filled, "producers were silent, and the bridge filled in")
    recent(.mismatched, progress.counts.mismatched, "producers' messages differ")
    recent(.phantom, progress.counts.phantom, "producers published what no change explains")
    if let duplicateWindow, let lag = progress.lag,
      lag + grace.seconds > duplicateWindow.seconds / 2
    {
      found.append(
        CutoverBlocker(
          "lag",
          "the bridge is \(Int(lag)) s behind: with the grace that is more than half of the dedup window of \(HealthReport.duration(duplicateWindow.seconds))"
        ))
    }
    if let deadLetters, deadLetters > 0 {
      found.append(
        CutoverBlocker(
          "dead_letters", "\(deadLetters) dead letters of the group's rules are unresolved"))
    }
    if progress.lastByProducer.map({ age(of: $0) > most }) ?? true {
      found.append(
        CutoverBlocker(
          "no_traffic",
          "no message of a producer was seen within \(HealthReport.duration(window.seconds))",
          since: progress.lastByProducer ?? record.change.at))
    }
    return found
  }
}
