import Metrics
import MongoSource
import NIOCore
import Oplog

/// Ten times a second: copies the pipeline's numbers to the board and checks its timeouts, so that
/// nothing of status, health or metrics happens per event.
///
/// Sendable invariant: the stored variables are touched on the pipeline's event loop only.
final class PipelineReporter: @unchecked Sendable {
  private let pipeline: Pipeline
  private let board: StatusBoard
  private var task: RepeatedTask?

  private var lastOutcomes = Outcomes()
  private var lastEntries: UInt64 = 0
  private var lastAcked: UInt64 = 0
  private var lastDerived: UInt64 = 0
  private var furthest: OplogPosition?
  private var lastEpoch = (number: UInt64(0), began: ContinuousClock.now)
  private var rateMark: (at: ContinuousClock.Instant, published: UInt64)?

  init(pipeline: Pipeline, board: StatusBoard) {
    self.pipeline = pipeline
    self.board = board
  }

  func start() {
    pipeline.eventLoop.execute {
      self.task = self.pipeline.eventLoop.scheduleRepeatedTask(
        initialDelay: .milliseconds(20), delay: .milliseconds(100)
      ) { _ in self.report() }
    }
  }

  func stop() {
    pipeline.eventLoop.execute {
      self.task?.cancel()
      self.report()
    }
  }

  private func report() {
    pipeline.checkTimeouts()
    var counters = pipeline.counters
    counters.entries = pipeline.feed.count
    let outcomes = counters.outcomes
    let now = ContinuousClock.now
    let settled = outcomes.total
    let moved = settled != lastAcked || isReadingOn(counters.entries, now)
    let derived = counters.derived != lastDerived
    let mark = pipeline.mark()
    let streams = pipeline.streams()
    let feed = pipeline.feed.facts
    var snapshot: SnapshotStatus?
    if pipeline.epoch?.snapshot != nil, case .snapshot(let reader) = pipeline.feed.source {
      snapshot = reader.status
    }
    let rate = publishRate(outcomes.published, now)
    board.update { facts in
      facts.counters = counters
      if moved { facts.progressAt = now }
      if derived { facts.eventAt = now }
      if let rate { facts.rate = rate }
      if facts.firstPublishedAfter == nil, outcomes.published > 0 {
        facts.firstPublishedAfter = now - board.started
      }
      facts.feed = feed
      facts.snapshot = snapshot
      guard let mark else { return }
      facts.read = mark.read ?? facts.read
      facts.resume = mark.resume
      facts.origin = mark.origin.position
      facts.inFlight = mark.inFlight
      facts.streams = streams
      facts.losses.removeAll { loss in
        streams.contains { $0.name == loss.stream && ($0.position.map { $0 >= loss.to } ?? false) }
      }
    }
    emit(outcomes, counters)
    lastEntries = counters.entries
    lastAcked = settled
    lastDerived = counters.derived
  }

  /// Entries that are read for the first time are progress. So is reading again for a while, as a
  /// long transaction may need; but not what each of many failing epochs begins with.
  private func isReadingOn(_ entries: UInt64, _ now: ContinuousClock.Instant) -> Bool {
    let epoch = board.snapshot.epoch
    if epoch != lastEpoch.number { lastEpoch = (epoch, now) }
    if let read = pipeline.feed.lastEntry?.position, furthest.map({ read > $0 }) ?? true {
      furthest = read
      return true
    }
    return entries != lastEntries && now - lastEpoch.began > .seconds(2)
  }

  private func publishRate(_ published: UInt64, _ now: ContinuousClock.Instant) -> Double? {
    guard let mark = rateMark else {
      rateMark = (now, published)
      return nil
    }
    let elapsed = (now - mark.at).seconds
    guard elapsed >= 1 else { return nil }
    rateMark = (now, published)
    return Double(published &- mark.published) / elapsed
  }

  /// For whatever backend the process has bootstrapped swift-metrics with.
  private func emit(_ outcomes: Outcomes, _ counters: PipelineCounters) {
    guard outcomes != lastOutcomes else { return }
    for (new, old) in zip(outcomes.named, lastOutcomes.named) where new.count > old.count {
      Counter(label: "tailrace_events_total", dimensions: [("outcome", new.name)])
        .increment(by: Int64(clamping: new.count - old.count))
    }
    lastOutcomes = outcomes
  }
}
