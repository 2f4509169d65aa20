package import BridgeConfiguration
package import Foundation
import Synchronization

/// The result of a reload.
package enum ReloadResult: String, Sendable, CaseIterable {
  /// The rules in the file are in use.
  case applied
  /// They were already in use.
  case unchanged
  /// They wait until the previous rules have settled their events.
  case pending
  /// A change needs a restart.
  case refused
  /// The file has errors.
  case failed

  /// The bridge follows the file, or is about to.
  package var isGood: Bool { self != .refused && self != .failed }
}

/// One reload.
package struct ReloadReport: Sendable {
  package var result: ReloadResult
  /// Why it was refused, each problem with its position in the file.
  package var errors: [String] = []
  package var at = Date.now

  package init(_ result: ReloadResult, errors: [String] = []) {
    self.result = result
    self.errors = errors
  }
}

/// The decision about a configuration that was read again. Pure.
package enum ReloadDecision: Sendable {
  /// Rules change between two oplog entries, together with everything else that may.
  case changeRules(BridgeConfiguration)
  /// The rules are the same; anything else that changes takes effect at once.
  case keepRules(BridgeConfiguration)
  case reject(ReloadReport)

  /// - Parameter read: the file as it is now, or what is wrong with it.
  package init(
    running: BridgeConfiguration, read: Result<BridgeConfiguration, ConfigurationProblems>
  ) {
    do throws(ConfigurationProblems) {
      let new = try read.get()
      do throws(ConfigurationProblems) {
        let next = try running.reloaded(with: new)
        self = next.hasSameRules(as: running) ? .keepRules(next) : .changeRules(next)
      } catch {
        self = .reject(ReloadReport(.refused, errors: error.problems.map(\.description)))
      }
    } catch {
      self = .reject(ReloadReport(.failed, errors: error.problems.map(\.description)))
    }
  }
}

/// The configuration that waits to be applied, and the epoch that must settle first. Thread-safe.
final class PendingRules: Sendable {
  private struct State {
    var next: BridgeConfiguration?
    /// Ends the publishing epoch at the next boundary between two entries.
    var settle: (@Sendable () -> Void)?
  }
  private let state = Mutex(State())

  var isEmpty: Bool { state.withLock { $0.next == nil } }

  /// Replaces the waiting configuration. Nil: the rules in use are current.
  func set(_ next: BridgeConfiguration?) {
    let settle = state.withLock { state in
      state.next = next
      return next == nil ? nil : state.settle
    }
    settle?()
  }

  func take() -> BridgeConfiguration? {
    state.withLock { state in
      defer { state.next = nil }
      return state.next
    }
  }

  /// From now on, new rules end this epoch; at once, if some are waiting.
  func attach(_ settle: @escaping @Sendable () -> Void) {
    let waits = state.withLock { state in
      state.settle = settle
      return state.next != nil
    }
    if waits { settle() }
  }

  func detach() { state.withLock { $0.settle = nil } }
}
