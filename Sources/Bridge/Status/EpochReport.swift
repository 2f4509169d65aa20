import BridgeConfiguration
import JetStream
public import Logging
import Oplog

/// Reports of decisions to the log, health and `/status`.
extension BridgeService {
  /// What runs, for the first line of a log: without a secret.
  public var startMetadata: Logger.Metadata {
    let settings = configuration
    return [
      "bridge": "\(settings.bridge.name)", "instance": "\(board.instance)",
      "rules": "\(settings.rules.count)",
      "mongodb": "\(settings.source.uri.hosts.joined(separator: ","))",
      "reader": "\(reader.name)",
      "nats": "\(settings.nats.servers.map(\.description).joined(separator: ","))",
    ]
  }

  func report(_ remark: EpochRemark) {
    switch remark {
    case .info(let what, let details): logger.info("\(what)", metadata: metadata(details))
    case .starting(let details):
      logger.log(level: attemptLevel, "starting", metadata: metadata(details))
    case .warning(let what, let reason):
      board.note(error: "\(what): \(reason)")
      logger.warning("\(what)", metadata: ["reason": "\(reason)"])
    case .error(let what, let reason?):
      board.note(error: "\(what): \(reason)")
      logger.error("\(what)", metadata: ["reason": "\(reason)"])
    case .error(let what, nil):
      board.note(error: what)
      logger.error("\(what)")
    case .refused(.stream(let lane), let what, let reason, let code):
      refused(scope(of: lane), what, reason, code: code)
    case .refused(let scope, let what, let reason, let code):
      refused(scope, what, reason, code: code)
    case .natsUnreachable(let why): board.noteUnreachable(why)
    case .positionLost(let why): board.update { $0.positionLost = why }
    case .resuming(let plan): report(plan)
    }
  }

  private func metadata(_ details: [String: String]) -> Logger.Metadata {
    details.mapValues { "\($0)" }
  }

  /// The lines that every epoch logs at its beginning aren't repeated for each retry of a refused request.
  var attemptLevel: Logger.Level { board.snapshot.refusals.all.isEmpty ? .info : .debug }

  /// A cause that repeats is logged once a minute, with its count.
  func refused(
    _ scope: Refusals.Scope, _ what: String, _ why: String, code: Int = 0
  ) {
    guard let times = board.refuse(scope, what, why, code: code) else { return }
    var metadata: Logger.Metadata = ["what": "\(scope)", "reason": "\(why)"]
    if times > 1 { metadata["times"] = "\(times)" }
    logger.warning("\(what)", metadata: metadata)
  }

  /// "checkpoint" is the lane of messages that are read back for the checkpoint.
  private func scope(of lane: String) -> Refusals.Scope {
    let isStream =
      lane == configuration.deadLetter.stream || configuration.streams.contains { $0.name == lane }
    return isStream ? .stream(lane) : .checkpoint
  }

  /// Findings at the position where an epoch resumes.
  private func report(_ plan: ResumePlan) {
    // Not for each retry of a refused request.
    logger.log(
      level: attemptLevel, "resuming",
      metadata: ["at": "\(plan.start)", "how": "\(plan.note)"])
    board.update { facts in
      // A refill that an earlier epoch began and has not finished.
      let open = facts.losses.filter { old in
        plan.refilling[old.stream] != nil && !plan.losses.contains { $0.stream == old.stream }
      }
      facts.losses = open + plan.losses.filter { $0.remedy != .accepted }
      for (name, to) in plan.refilling where !facts.losses.contains(where: { $0.stream == name }) {
        // A process before this one began it.
        facts.losses.append(
          ResumePlan.Loss(
            stream: name, from: plan.watermarks[name]?.position, to: to, acknowledgedSequence: 0,
            lastSequence: 0))
      }
    }
    for loss in plan.losses {
      board.update { $0.lostMessages &+= loss.count }
      board.note(error: "\(loss)")
      logger.error("\(loss)")
    }
    for (stream, unseen) in plan.unseen {
      logger.info(
        "messages behind the last known one were stored and removed: they are not sent again",
        metadata: ["stream": "\(stream)", "count": "\(unseen.count)"])
    }
    for remark in plan.remarks { logger.info("\(remark)") }
    for doubt in plan.doubts {
      board.note(error: doubt)
      logger.error("\(doubt)")
    }
  }
}
