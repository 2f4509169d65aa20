public import BridgeConfiguration
import Foundation
import Logging
import NIOCore
import Synchronization

/// Rules change while the bridge runs.
extension BridgeService {
  /// Reads the configuration again. Rules, schemas, `unmatched` and the log level take effect between two
  /// oplog entries; a file with errors, or with other changes, leaves everything as it is.
  ///
  /// One call at a time.
  ///
  /// - Parameter read: reads the file.
  public func reload(
    _ read: @Sendable () throws(ConfigurationProblems) -> BridgeConfiguration
  ) {
    let file: Result<BridgeConfiguration, ConfigurationProblems>
    do throws(ConfigurationProblems) {
      file = .success(try read())
    } catch {
      file = .failure(error)
    }
    var decision = ReloadDecision(running: configuration, read: file)
    if case .changeRules(let next) = decision {
      let errors = cutover.refusals(of: next, instead: configuration)
      if !errors.isEmpty { decision = .reject(ReloadReport(.refused, errors: errors)) }
    }
    switch decision {
    case .reject(let report):
      // What waited was in a file that is no longer there.
      pendingRules.set(nil)
      reject(report)
    case .keepRules(let next):
      pendingRules.set(nil)
      use(next)
      board.note(ReloadReport(.unchanged))
      logger.notice("the configuration is reloaded: the rules are the same")
    case .changeRules(let next):
      for warning in next.warnings {
        logger.warning("\(warning)", metadata: ["id": "\(warning.id.rawValue)"])
      }
      board.note(ReloadReport(.pending))
      logger.notice("the configuration is read again: the rules change at the next boundary")
      pendingRules.set(next)
    }
  }

  private func reject(_ report: ReloadReport) {
    for error in report.errors {
      logger.error("the configuration is not reloaded", metadata: ["reason": "\(error)"])
      board.note(error: "the configuration is not reloaded: \(error)")
    }
    board.note(report)
  }

  /// Takes over the rules that wait, if there are any: the next epoch publishes by them.
  func adoptPendingRules(after rules: RuleSet, _ pipeline: Pipeline) async throws -> RuleSet {
    guard let next = pendingRules.take() else { return rules }
    // A group may have been handed over meanwhile.
    let errors = cutover.refusals(of: next, instead: configuration)
    guard errors.isEmpty else {
      reject(ReloadReport(.refused, errors: errors))
      return rules
    }
    let new = next.ruleSet(sourceName: rules.sourceName, version: rules.version + 1)
    let wishes = wishes(next)
    try await eventLoop.submit { pipeline.use(new, wishes) }.get()
    use(next)
    board.note(new)
    board.note(ReloadReport(.applied))
    logger.notice(
      "the rules have changed",
      metadata: [
        "version": "\(new.version)", "config_hash": "\(new.hash)", "rules": "\(new.rules.count)",
      ])
    return new
  }

  private func use(_ next: BridgeConfiguration) {
    let before = configuration.log.level
    live.withLock { $0 = next }
    snapshotChoice.rules = next.rules
    if next.log.level != before { setLogLevel(next.log.level) }
  }
}
