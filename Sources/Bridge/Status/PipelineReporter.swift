import BridgeConfiguration
import Logging
import Mapping
import MongoSource
import NIOCore
import Oplog

/// Ten times a second, normally: copies the pipeline's numbers to the board and checks its timeouts, so that
/// nothing of status, health or metrics happens per event.
///
/// Sendable invariant: the stored variables are touched on the pipeline's event loop only.
final class PipelineReporter: @unchecked Sendable {
  private let pipeline: Pipeline
  private let board: StatusBoard
  private let monitor: any MongoWatching
  private let interval: TimeAmount
  private let logger: Logger
  private var task: RepeatedTask?

  private var lastDerived: UInt64 = 0
  private var rateMark: (at: ContinuousClock.Instant, published: UInt64)?

  init(
    pipeline: Pipeline, board: StatusBoard, monitor: any MongoWatching, interval: TimeAmount,
    logger: Logger
  ) {
    self.interval = interval
    self.pipeline = pipeline
    self.board = board
    self.monitor = monitor
    self.logger = logger
  }

  func start() {
    pipeline.eventLoop.execute {
      // An ending epoch is examined once more: its unsettled events show what was refused.
      self.pipeline.beforeEnd = { [weak self] in self?.report() }
      self.task = self.pipeline.eventLoop.scheduleRepeatedTask(
        initialDelay: .milliseconds(20), delay: self.interval
      ) { _ in
        self.pipeline.checkTimeouts()
        self.report()
      }
    }
  }

  func stop() {
    pipeline.eventLoop.execute {
      self.task?.cancel()
      self.report()
      self.tellOfLetters(self.pipeline.letterLog.rest())
    }
  }

  private func report() {
    var counters = pipeline.counters
    counters.entries = pipeline.feed.count
    let outcomes = counters.outcomes
    let now = ContinuousClock.now
    let derived = counters.derived != lastDerived
    let mark = pipeline.mark()
    let streams = pipeline.streams()
    let feed = pipeline.feed.facts
    let waitsForDocuments = pipeline.epoch != nil && pipeline.feed.isWaiting
    var snapshot: SnapshotStatus?
    if pipeline.epoch?.snapshot != nil, case .snapshot(let reader) = pipeline.feed.source {
      snapshot = reader.status
    }
    let rate = publishRate(outcomes.published, now)
    let sight = sight(now)
    let published = measures()
    let letters = pipeline.letterLog.totals
    let schemaRefusals = pipeline.schemaRefusals.entries
    if let wall = sight.polledWall {
      pipeline.mongoAhead = wall - Int64(NIODeadline.now().uptimeNanoseconds / 1_000_000)
    }
    let over = board.update { facts in
      facts.counters = counters
      facts.measures = published
      facts.letters = letters
      facts.schemaRefusals = schemaRefusals
      if derived { facts.eventAt = now }
      if let rate { facts.rate = rate }
      if facts.firstPublishedAfter == nil, outcomes.published > 0 {
        facts.firstPublishedAfter = now - board.started
      }
      facts.feed = feed
      if mark == nil, !facts.leadership.isLeader { facts.feed.endTransactions() }
      facts.waitsForDocuments = waitsForDocuments
      facts.snapshot = snapshot
      if snapshot != nil, let base = facts.snapshotBase { facts.snapshotOutcomes = outcomes - base }
      let over = settle(sight, &facts)
      guard let mark else {
        facts.inFlight = 0
        for index in facts.streams.indices {
          facts.streams[index].inFlight = 0
          facts.streams[index].waitingSince = nil
        }
        return over
      }
      facts.read = mark.read ?? facts.read
      facts.resume = mark.resume
      facts.origin = mark.origin.position
      facts.inFlight = mark.inFlight
      facts.streams = streams
      // Events are refilled up to the low-water mark: another message of the stream is no proof.
      facts.losses.removeAll { loss in
        loss.remedy == .refill && mark.settled.map { $0 >= loss.to } ?? false
      }
      return over
    }
    for refusal in over {
      logger.info(
        "no longer refused",
        metadata: [
          "what": "\(refusal.scope)", "times": "\(refusal.count)",
          "seconds": "\(Int((now - refusal.since).seconds))", "reason": "\(refusal.reason)",
        ])
    }
    tellOfLetters(pipeline.letterLog.due(at: now))
    lastDerived = counters.derived
  }

  private func measures() -> PublishMeasures {
    var measures = pipeline.measures
    measures.validation = pipeline.maker.validationTimes
    return measures
  }

  private func tellOfLetters(_ lines: [DeadLetterLog.Line]) {
    for line in lines {
      logger.warning(
        "dead letters",
        metadata: [
          "rule": "\(line.rule)", "error": "\(line.error)", "count": "\(line.count)",
          "first": "\(line.first)", "detail": "\(line.detail)",
        ])
    }
  }

  private func sight(_ now: ContinuousClock.Instant) -> SettlementWatch.Sight {
    var sight = pipeline.sight()
    let mongo = monitor.snapshot
    sight.at = now
    sight.majority = mongo.majority?.position
    sight.majorityWall = mongo.majorityWallTime
    if let polled = mongo.localTime, let at = mongo.reachedAt {
      sight.polledWall = polled + Int64((now - at).seconds * 1000)
    }
    return sight
  }

  /// Progress, open work, and refusals that are over.
  private func settle(
    _ sight: SettlementWatch.Sight, _ facts: inout StatusBoard.Facts
  ) -> [Refusals.Refusal] {
    var sight = sight
    let now = sight.at
    sight.epoch = facts.epoch
    let before = facts.settlement.frontier
    facts.settlement.observe(sight)
    facts.lookedAt = now
    if !facts.publishing {
      facts.publishingSince = nil
    } else if facts.publishingSince == nil {
      facts.publishingSince = now
    }
    let open = facts.publishingSince.map { (now - $0).seconds }
    if let open, open >= 1 || facts.settlement.frontier != before {
      facts.closedSince = nil
    } else if facts.closedSince == nil, open == nil {
      facts.closedSince = now
    }
    return facts.refusals.clear(
      frontier: facts.settlement.frontier, isUnsettled: facts.settlement.hasWork, publishing: open,
      at: now)
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
}
