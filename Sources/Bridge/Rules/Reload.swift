package import BridgeConfiguration
package import Foundation
import Synchronization

/// What came of reading the configuration again.
package enum ReloadResult: String, Sendable, CaseIterable {
  /// The rules in the file are in use.
  case applied
  /// They were already.
  case unchanged
  /// They are waiting for what the rules before have to settle first.
  case pending
  /// Something differs that needs a restart.
  case refused
  /// The file has errors.
  case failed

  /// The file says what the bridge does, or is about to.
  package var isGood: Bool { self != .refused && self != .failed }
}

/// One attempt to read the configuration again.
package struct ReloadReport: Sendable {
  package var result: ReloadResult
  /// Why not, each with its place in the file.
  package var errors: [String] = []
  package var at = Date.now

  package init(_ result: ReloadResult, errors: [String] = []) {
    self.result = result
    self.errors = errors
  }
}

/// What was read again and is to be done about it. Pure.
package enum ReloadDecision: Sendable {
  /// Rules change between two oplog entries, and all else that may with them.
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

/// The configuration that waits to take over, and the epoch that must settle first. Thread-safe.
final class PendingRules: Sendable {
  private struct State {
    var next: BridgeConfiguration?
    /// Of the epoch that publishes: has it end at the next boundary between two entries.
    var settle: (@Sendable () -> Void)?
  }
  private let state = Mutex(State())

  var isEmpty: Bool { state.withLock { $0.next == nil } }

  /// Takes the place of what waited before. Nil: the rules in use are right.
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

  /// From now on rules that come call this epoch; at once, if some wait already.
  func attach(_ settle: @escaping @Sendable () -> Void) {
    let waits = state.withLock { state in
      state.settle = settle
      return state.next != nil
    }
    if waits { settle() }
  }

  func detach() { state.withLock { $0.settle = nil } }
}
