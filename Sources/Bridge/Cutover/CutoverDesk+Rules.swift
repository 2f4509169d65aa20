import BridgeConfiguration
import JetStream
import Oplog

/// Rules of groups that are on their way to their producers keep what producers know of them.
extension CutoverDesk {
  /// Why the rules can't change while the bridge runs; empty: they can.
  func refusals(
    of next: BridgeConfiguration, instead running: BridgeConfiguration
  ) -> [String] {
    var found: [String] = []
    for record in records.sorted(by: { $0.group < $1.group }) where record.bindsRules {
      let before = record.contract ?? RuleContract(record.group, in: running)
      found += Self.differences(of: record, before, next)
    }
    return found
  }

  /// At a start, before anything is made or changed.
  ///
  /// - Throws: `BridgeError.configuration` where a group's rules are not what they were when it was handed over.
  func examine(
    _ configuration: BridgeConfiguration, _ jetStream: JetStreamClient
  ) async throws {
    guard isServed else { return }
    let store = store(jetStream, configuration)
    var found: [String] = []
    for group in try await store.groups().sorted() {
      let record = try await store.load(group).record
      guard record.bindsRules, let contract = record.contract else { continue }
      found += Self.differences(of: record, contract, configuration)
    }
    guard found.isEmpty else { throw BridgeError.configuration(found.joined(separator: "\n")) }
  }

  private static func differences(
    of record: CutoverRecord, _ before: RuleContract, _ configuration: BridgeConfiguration
  ) -> [String] {
    let new = RuleContract(record.group, in: configuration)
    return before.differences(to: new).map { difference in
      let rule = difference.rule
      let what =
        if difference.key != "group" {
          "\(difference.key) of rule \(rule) can't change"
        } else if new.rules[rule] == nil {
          "rule \(rule) can't be taken out"
        } else {
          "rule \(rule) can't be added"
        }
      return
        "\(what) while its group \(record.group) is in phase \(record.phase.rawValue): \(remedy(record.phase))"
    }
  }

  private static func remedy(_ phase: CutoverPhase) -> String {
    switch phase {
    case .bridge: "restore the old value until the bridge has taken the group back (about a second)"
    case .dual, .committing:
      "restore the old value, or let tailrace cutover cancel return the group to bridge first"
    case .committed, .finalized:
      "restore the old value, or finalize the group first, or roll it back and cancel"
    }
  }
}
