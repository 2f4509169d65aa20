public import Bridge
import BridgeConfiguration
import DeliberateErrors
import JetStream
import Logging
import NATS
import NIOCore
public import Oplog

extension CutoverOperator {
  /// Commits a group: looks for blockers, has everything up to a fence settled, verifies it, and ends the bridge's
  /// publishing there. Whatever goes wrong, the group is in `dual` again, after `timeout` at the latest.
  ///
  /// - Parameter step: called with each step, for people.
  public func commit(
    _ group: String, timeout: Duration, verify: Verifier, step: @Sendable (String) -> Void
  ) async throws(BridgeError) -> Outcome {
    let report = try await status(group)
    guard let now = report.groups.first else { return .blocked([]) }
    switch now.phase {
    case .committed, .finalized:
      return .done("group \(group) is in phase \(now.phase.rawValue) already")
    case .committing: step("a commit of group \(group) is under way")
    case .bridge, .dual:
      guard now.blockers.isEmpty else { return .blocked(now.blockers) }
      step("no blockers")
    }
    return try await withStore { store throws(BridgeError) in
      try await asking {
        try await commit(group, timeout, store, verify, step)
      }
    }
  }

  private func commit(
    _ group: String, _ timeout: Duration, _ store: CutoverStore, _ verify: Verifier,
    _ step: @Sendable (String) -> Void
  ) async throws -> Outcome {
    var verified: OplogPosition?
    let before = try await store.load(group).record
    if before.phase == .dual {
      let progress = try await store.progress(group).0
      guard let from = before.begin, let progress else {
        return .blocked([CutoverBlocker("not_running", "the bridge does not follow the group")])
      }
      let to = progress.position.entry
      let start = Self.later(from, to, configuration.cutover.window)
      if start < to, !DeliberateError.isOn(.verificationLeftOut) {
        let result = await verify(group, start, to)
        guard result.isPass else { return .blocked([CutoverBlocker("verify", result.detail)]) }
        step("verified \(start) to \(to): \(result.detail)")
        verified = to
      } else {
        verified = start
      }
    }
    let deadline = ContinuousClock.now + timeout
    if case .blocked(let blockers) = try await change(
      group, .commit(within: timeout), "committing")
    {
      return .blocked(blockers)
    }
    step("committing: the bridge settles everything up to the fence")
    do {
      return try await complete(group, deadline, verified, store, verify, step)
    } catch {
      _ = try? await change(group, .abort, "the commit failed: \(error)")
      throw error
    }
  }

  /// The window's part of the range.
  private static func later(
    _ from: OplogPosition, _ to: OplogPosition, _ window: Duration
  ) -> OplogPosition {
    let seconds = UInt32(clamping: window.components.seconds)
    return max(from, OplogPosition(seconds: to.seconds - min(to.seconds, seconds), increment: 0))
  }

  private func complete(
    _ group: String, _ deadline: ContinuousClock.Instant, _ verified: OplogPosition?,
    _ store: CutoverStore,
    _ verify: Verifier, _ step: @Sendable (String) -> Void
  ) async throws -> Outcome {
    var fence: OplogPosition?
    while true {
      let record = try await store.load(group).record
      switch record.phase {
      case .committed, .finalized:
        return .done(
          "group \(group) is in phase \(record.phase.rawValue), from \(Self.text(record.fence)) on")
      case .dual, .bridge:
        return .blocked([
          CutoverBlocker(
            "timeout",
            "the group is back in phase \(record.phase.rawValue): \(record.change.reason)",
            since: record.change.at)
        ])
      case .committing: break
      }
      if let found = record.fence, fence == nil {
        fence = found
        step("fence at \(found)")
      }
      if ContinuousClock.now > deadline {
        return try await giveUp(
          group, "timeout", "not everything up to the fence was settled in time")
      }
      let isEarly = DeliberateError.isOn(.phaseBeforeDrain)
      guard record.isDrained || isEarly, let fence else {
        try await store.bucket.jetStream.connection.eventLoop.sleep(for: .milliseconds(100))
        continue
      }
      step("everything up to the fence is settled")
      let start =
        verified
        ?? Self.later(record.begin ?? fence, fence, configuration.cutover.window)
      if start < fence, !isEarly, !DeliberateError.isOn(.verificationLeftOut) {
        let result = await verify(group, start, fence)
        guard result.isPass else { return try await giveUp(group, "verify", result.detail) }
        step("verified \(start) to \(fence): \(result.detail)")
      }
      // Whatever the verification did not see.
      let progress = try await store.progress(group).0
      var inDual = record
      inDual.phase = .dual
      let blockers = try await blockers(inDual, progress, store, nil)
      if let blocker = blockers.first(where: { Self.faults.contains($0.code) }) {
        return try await giveUp(group, blocker.code, blocker.detail)
      }
      guard ContinuousClock.now <= deadline else {
        return try await giveUp(group, "timeout", "the verification took too long")
      }
      switch try await change(
        group, .confirm, "only producers publish, from \(Self.text(record.fence)) on")
      {
      case .done(let words): return .done(words)
      case .blocked(let blockers): return .blocked(blockers)
      }
    }
  }

  /// Blockers that are still looked for when everything up to the fence is settled.
  private static let faults: Set<String> = ["fills", "mismatches", "phantoms", "dead_letters"]

  private func giveUp(
    _ group: String, _ code: String, _ why: String
  ) async throws -> Outcome {
    _ = try await change(group, .abort, "the commit failed: \(why)")
    return .blocked([CutoverBlocker(code, "\(why); the group is back in phase dual")])
  }

  private static func text(_ position: OplogPosition?) -> String {
    position.map { "\($0)" } ?? "?"
  }
}
