import BridgeConfiguration
import JSON
import JetStream
import Logging
import Oplog

/// What is reported of the checkpoint that an epoch begins with, and the marks of its streams.
extension EpochRunner {
  /// Messages on their way when another life ended, under other rules.
  func noteConfiguration(_ checkpoint: Checkpoint?, _ base: Checkpoint, _ plan: ResumePlan) {
    if let since = base.configurationSince, plan.start < since, !plan.refilling.isEmpty {
      let what = """
        the rules have changed since, at \(since). What streams lack from before that is made again by \
        the present rules: an event that had another destination then is written there or left out \
        accordingly. tailrace verify --from \(plan.start) shows the streams as the present rules want them
        """
      board.note(error: what)
      logger.error("\(what)")
    }
    if let earlier = plan.earlierRules {
      logger.warning(
        "the rules have changed; events that the earlier ones may have published are looked up",
        metadata: [
          "up_to": "\(earlier.to)", "found": "\(earlier.count)",
          "streams": "\(earlier.streams.sorted().joined(separator: " "))",
        ])
      if !earlier.gone.isEmpty {
        let what = """
          among the messages behind the checkpoint are some of rules that no longer exist \
          (\(earlier.gone.map(\.name).sorted().joined(separator: ", "))). Where a present rule makes a \
          message with the same id of the same event, that is the message; otherwise the event is \
          published by the present rules besides
          """
        board.note(error: what)
        logger.warning("\(what)")
      }
    }
    guard let checkpoint, checkpoint.configurationHash != base.configurationHash else { return }
    let settled = checkpoint.settled ?? EventPosition(entry: checkpoint.resume, index: 0)
    let isCertain = plan.losses.isEmpty && plan.refilling.isEmpty
    let lookedUp = plan.earlierRules?.streams ?? []
    let isAhead = plan.watermarks.contains { name, end in
      end.position > settled && !lookedUp.contains(name)
    }
    guard !isCertain || isAhead else { return }
    let what = """
      the rules have changed since the last checkpoint, and events behind it are looked at again \
      by the new ones. Where an event now has another destination (a stream, the dead-letter stream, \
      none), it may be in both or in neither. tailrace verify shows them
      """
    board.note(error: what)
    logger.warning("\(what)")
  }

  /// What the streams themselves say of this bridge.
  func marks(_ streams: [PreparedStream]) -> [String: StreamMark] {
    var known: [String: StreamMark] = [:]
    for stream in streams {
      known[stream.name] = StreamMarks.mark(of: configuration.bridge.name, in: stream.info)
    }
    return known
  }

  /// Notes in each stream's metadata whether it has held messages of this bridge.
  func mark(
    _ streams: [PreparedStream], _ base: Checkpoint, _ plan: ResumePlan,
    since checkpoint: Checkpoint?, isFirst: Bool, _ kept: inout KeptState
  ) async {
    let used = StreamMark.used(from: plan.origin.position, inclusive: plan.origin.inclusive)
    let resume = plan.isFresh ? nil : checkpoint?.resume
    let unused = StreamMark.unused(.init(at: resume ?? plan.floor, of: plan.origin))
    let occasion: StreamMark.Occasion =
      plan.isFresh || (isFirst && resume != nil) ? .decided : .repeated
    for stream in streams where plan.halted[stream.name] == nil {
      let hasHeld =
        base.streams[stream.name] != nil || base.states[stream.name]?.hadTo != nil
        || plan.refilling[stream.name] != nil
        || plan.lacksUpTo[stream.name] != nil
      await kept.marks.set(hasHeld ? used : unused, on: stream.name, occasion)
    }
  }
}
